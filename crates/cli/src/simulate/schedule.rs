//! The text of a schedule: a step a line, blank lines and comments between.

use agentbench_simulation::Step;

/// Reads the steps. An error names its line.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Step>> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let steps = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    steps.map(|(number, line)| line.parse().map_err(|why| anyhow::anyhow!("line {number}: {why}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_count_as_lines_and_not_as_steps() {
        let steps = parse("# two steps\n\ncreate 0\n  publish 0 0\n").unwrap();
        assert_eq!(steps, [Step::Create(0), Step::Publish(0, 0)]);
        let error = parse("create 0\n\nfly 1\n").unwrap_err().to_string();
        assert!(error.starts_with("line 3: \"fly 1\""), "{error}");
    }
}
