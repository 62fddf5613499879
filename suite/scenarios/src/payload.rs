//! Contents of events: the four most common types of agents under test, in turn, as JSON of a given size.

use agentbench_load::arrival::mix;

/// Words of generated logs: text that compresses like real text.
const WORDS: [&str; 16] = [
    "clicked",
    "button",
    "login",
    "form",
    "waiting",
    "for",
    "selector",
    "visible",
    "after",
    "navigation",
    "assertion",
    "passed",
    "element",
    "text",
    "matches",
    "expected",
];

/// `data` of message `index`, exactly `size` bytes unless that is too small for the type's own fields.
pub fn data(seed: u64, index: u32, size: usize) -> String {
    let step = index + 1;
    let head = match index % 4 {
        0 => format!(
            "{{\"eventType\":\"automation_step\",\"step\":{step},\"action\":\"click\",\"target\":\"#a{step}\""
        ),
        1 => format!("{{\"eventType\":\"progress\",\"step\":{step},\"percent\":{}", step % 101),
        2 => format!("{{\"eventType\":\"evidence\",\"kind\":\"dom\",\"step\":{step}"),
        _ => {
            // Never with a trailing 0: an SDK that takes objects writes numbers in their shortest form.
            let score = step % 100 * 10 + 5;
            format!("{{\"eventType\":\"score_update\",\"metric\":\"accuracy\",\"score\":0.{score:03}")
        }
    };
    let (before, after) = (",\"detail\":\"", "\"}");
    let room = size.saturating_sub(head.len() + before.len() + after.len());
    format!("{head}{before}{}{after}", text(seed ^ u64::from(index), room))
}

fn text(seed: u64, length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    let mut state = seed;
    while text.len() < length {
        state = mix(state);
        text.push_str(WORDS[(state % WORDS.len() as u64) as usize]);
        text.push(' ');
    }
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_json_of_the_size_that_was_asked_for() {
        for index in 0..1000 {
            for size in [128, 1024, 8192] {
                let data = data(7, index, size);
                assert_eq!(data.len(), size, "{data}");
                let value: serde_json::Value = serde_json::from_str(&data).unwrap();
                assert!(value["eventType"].is_string());
            }
        }
        assert_ne!(data(1, 0, 1024), data(2, 0, 1024));
    }
}
