//! The report for CI: `junit.xml` in the form that Jenkins, GitLab and GitHub Actions read. One suite per category, one
//! case per scenario.

use std::fmt::Write;

use crate::escape::markup;
use crate::fail_on::Breach;
use crate::schema::{Category, Report, ScenarioResult, Status};

/// Renders the whole file. `planned` names the planned scenarios: those that an interrupted run did not reach are
/// skipped cases. Breaches are failures of the scenario that they name, or cases of their own.
pub fn render(report: &Report, planned: &[(Category, String)], breaches: &[Breach]) -> String {
    let mut suites = String::new();
    let mut all = Counts::default();
    for category in Category::ALL {
        let (text, counts) = suite(category, report, planned, breaches);
        suites.push_str(&text);
        all.add(counts);
    }
    let (text, counts) = whole_run(report, breaches);
    suites.push_str(&text);
    all.add(counts);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"AgentBench\" {} time=\"{:.3}\">\n{suites}</testsuites>\n",
        all.attributes(),
        report.took_ms as f64 / 1e3
    )
}

#[derive(Clone, Copy, Default)]
struct Counts {
    tests: usize,
    failures: usize,
    skipped: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.tests += other.tests;
        self.failures += other.failures;
        self.skipped += other.skipped;
    }

    fn attributes(self) -> String {
        format!(
            "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\"",
            self.tests, self.failures, self.skipped
        )
    }
}

fn suite(
    category: Category,
    report: &Report,
    planned: &[(Category, String)],
    breaches: &[Breach],
) -> (String, Counts) {
    let mut counts = Counts::default();
    let mut cases = String::new();
    let mut millis = 0;
    for result in report.scenarios.iter().filter(|result| result.scenario.category == category) {
        let failures = failures(result, breaches);
        counts.add(Counts { tests: 1, failures: usize::from(failures.is_some()), skipped: 0 });
        millis += result.figures.took_ms;
        cases.push_str(&case(category, result, failures.as_deref(), report.seed));
    }
    let was_run = |name: &str| report.scenarios.iter().any(|result| result.scenario.name == name);
    for (_, name) in planned.iter().filter(|(other, name)| *other == category && !was_run(name)) {
        counts.add(Counts { tests: 1, failures: 0, skipped: 1 });
        let why = report.interrupted.as_deref().unwrap_or("not run");
        let _ = writeln!(
            cases,
            "    <testcase classname=\"agentbench.{}\" name=\"{}\" time=\"0\"><skipped message=\"{}\"/></testcase>",
            category.text(),
            markup(name),
            markup(why)
        );
    }
    (suite_of(category.text(), counts, millis, report, &cases), counts)
}

fn suite_of(name: &str, counts: Counts, millis: u64, report: &Report, cases: &str) -> String {
    if counts.tests == 0 {
        return String::new();
    }
    format!(
        "  <testsuite name=\"{name}\" {} time=\"{:.3}\" timestamp=\"{}\">\n    <properties><property name=\"seed\" value=\"{}\"/></properties>\n{cases}  </testsuite>\n",
        counts.attributes(),
        millis as f64 / 1e3,
        crate::figure::moment(report.started_at).replacen(' ', "T", 1).replace(" UTC", ""),
        report.seed
    )
}

fn failures(result: &ScenarioResult, breaches: &[Breach]) -> Option<Vec<String>> {
    let of_bounds = breaches.iter().filter(|breach| breach.scenario.as_ref() == Some(&result.scenario.name));
    let mut all: Vec<String> = result.reasons.clone();
    if result.status == Status::Failed && all.is_empty() {
        all.push("failed".to_owned());
    }
    if result.status == Status::Passed {
        all.clear();
    }
    all.extend(of_bounds.map(|breach| breach.sentence.clone()));
    (!all.is_empty()).then_some(all)
}

fn case(category: Category, result: &ScenarioResult, failures: Option<&[String]>, seed: u64) -> String {
    let mut inside = format!(
        "      <properties><property name=\"seed\" value=\"{seed}\"/><property name=\"replay\" value=\"{}\"/></properties>\n",
        markup(&result.replay)
    );
    // Writing to a string does not fail.
    if let Some(failures) = failures {
        let mut details: Vec<String> = failures.to_vec();
        details.extend(result.verdict.findings.iter().map(ToString::to_string));
        details.push(format!("to repeat with the same seed: {}", result.replay));
        let _ = writeln!(
            inside,
            "      <failure type=\"{}\" message=\"{}\">{}</failure>",
            if result.verdict.is_clean() { "failed" } else { "promise" },
            markup(&failures.join("; ")),
            markup(&details.join("\n"))
        );
    }
    if let Some(invalid) = &result.invalid {
        let _ = writeln!(
            inside,
            "      <system-out>invalid: {}; the speed figures do not count</system-out>",
            markup(invalid)
        );
    }
    format!(
        "    <testcase classname=\"agentbench.{}\" name=\"{}\" time=\"{:.3}\">\n{inside}    </testcase>\n",
        category.text(),
        markup(&result.scenario.name),
        result.figures.took_ms as f64 / 1e3
    )
}

/// Breaches without a scenario, and the interruption.
fn whole_run(report: &Report, breaches: &[Breach]) -> (String, Counts) {
    let of_no_one = breaches.iter().filter(|breach| breach.scenario.is_none());
    let mut failures: Vec<(String, String)> =
        of_no_one.map(|breach| (breach.metric.clone(), breach.sentence.clone())).collect();
    failures.extend(report.interrupted.iter().map(|why| ("interrupted".to_owned(), why.clone())));
    let cases: String = failures
        .iter()
        .map(|(name, why)| {
            format!(
                "    <testcase classname=\"agentbench.run\" name=\"{}\" time=\"0\"><failure type=\"run\" message=\"{1}\">{1}</failure></testcase>\n",
                markup(name),
                markup(why)
            )
        })
        .collect();
    let counts = Counts { tests: failures.len(), failures: failures.len(), skipped: 0 };
    (suite_of("run", counts, 0, report, &cases), counts)
}

#[cfg(test)]
mod tests;
