//! Recommended changes, each with the figure behind it. Without a figure, there is no recommendation.
//!
//! Each rule inspects one scenario and returns at most one recommendation. If several scenarios lead to the same
//! advice, the weightiest is shown and the others are counted. The settings are those of `docs/settings.md`.

use serde::Serialize;

use crate::figure;
use crate::schema::{Report, ScenarioResult};

mod rules;

/// Maximum number of recommendations: nobody would read more.
pub const MOST: usize = 8;

/// One recommendation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// How much it matters, 0 to 100.
    pub weight: u8,
    /// The figure behind it, with the scenario that has it.
    pub figure: String,
    /// What to do.
    pub advice: String,
    /// The setting, variable or command to change.
    pub setting: String,
}

/// What one rule recommends for one scenario.
struct Advice {
    rule: &'static str,
    weight: u8,
    figure: String,
    advice: String,
    setting: String,
}

/// The recommendations that follow from a report, the weightiest first.
pub fn recommendations(report: &Report) -> Vec<Recommendation> {
    let mut found: Vec<(Advice, String, usize)> = Vec::new();
    for result in &report.scenarios {
        for advice in rules::ALL.iter().filter_map(|rule| rule(result, report)) {
            let name = &result.scenario.name;
            match found.iter_mut().find(|(other, _, _)| other.rule == advice.rule) {
                None => found.push((advice, name.clone(), 0)),
                Some(same) if same.0.weight < advice.weight => *same = (advice, name.clone(), same.2 + 1),
                Some(same) => same.2 += 1,
            }
        }
    }
    let mut all: Vec<Recommendation> = found.into_iter().map(with_scenario).collect();
    all.extend(build(report));
    all.sort_by_key(|recommendation| std::cmp::Reverse(recommendation.weight));
    all.truncate(MOST);
    all
}

fn with_scenario((advice, scenario, others): (Advice, String, usize)) -> Recommendation {
    let others = match others {
        0 => String::new(),
        1 => " (and one other scenario)".to_owned(),
        count => format!(" (and {count} other scenarios)"),
    };
    Recommendation {
        weight: advice.weight,
        figure: format!("{scenario}: {}{others}", advice.figure),
        advice: advice.advice,
        setting: advice.setting,
    }
}

fn build(report: &Report) -> Option<Recommendation> {
    (!report.machine.optimised).then(|| Recommendation {
        weight: 85,
        figure: "the report's machine.optimised is false: the suite was compiled without optimisation"
            .to_owned(),
        advice: "Measure again with a release build; promises are judged in any build, speed is not."
            .to_owned(),
        setting: "cargo build --release".to_owned(),
    })
}

fn p99(micros: u64) -> String {
    format!("p99 {}", figure::micros(micros))
}

fn cores(result: &ScenarioResult) -> f64 {
    result.figures.server.map_or(0.0, |server| server.cpu_share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{perfect, sample};

    #[test]
    fn a_good_run_needs_nothing() {
        assert_eq!(recommendations(&perfect()), []);
    }

    #[test]
    fn each_names_a_figure_and_a_setting_and_the_weightiest_is_first() {
        let all = recommendations(&sample());
        assert!(!all.is_empty() && all.len() <= MOST);
        assert!(all.windows(2).all(|pair| pair[0].weight >= pair[1].weight));
        for one in &all {
            assert!(one.figure.chars().any(|c| c.is_ascii_digit()), "{one:?}");
            assert!(!one.setting.is_empty() && !one.advice.is_empty());
        }
        assert!(all[0].setting.starts_with("agentbench suite reliability --only 'High Failure Rate Test'"));
        assert!(all.iter().any(|one| one.figure.contains("was 41ms late")));
    }

    #[test]
    fn the_same_advice_is_given_once() {
        let mut report = perfect();
        for result in &mut report.scenarios {
            result.counts.refused = 5;
        }
        let all = recommendations(&report);
        assert_eq!(all.iter().filter(|one| one.setting.contains("COMMIT_BACKLOG")).count(), 1);
        assert!(all[0].figure.ends_with("(and 3 other scenarios)"), "{}", all[0].figure);
    }

    #[test]
    fn every_variable_that_is_named_is_a_setting() {
        let settings = include_str!("../../../docs/settings.md");
        let mut report = sample();
        for result in &mut report.scenarios {
            rules::tests::make_everything_bad(result);
        }
        let mut seen = 0;
        for result in &report.scenarios {
            for advice in rules::ALL.iter().filter_map(|rule| rule(result, &report)) {
                let is_variable =
                    |word: &&str| word.len() > 4 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                for word in advice.setting.split([' ', ',', '=']).filter(is_variable) {
                    assert!(settings.contains(&format!("`{word}`")) || word == "TEST_CLIENT_COUNT", "{word}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
