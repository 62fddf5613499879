//! The built-in scenarios, one TOML file each in `scenarios/`.

use crate::definition::Scenario;

/// The files, in the order of a full run.
const FILES: [&str; 19] = [
    include_str!("../scenarios/performance/small-load-test.toml"),
    include_str!("../scenarios/performance/medium-load-test.toml"),
    include_str!("../scenarios/performance/high-load-test.toml"),
    include_str!("../scenarios/performance/stress-test.toml"),
    include_str!("../scenarios/performance/latency-test.toml"),
    include_str!("../scenarios/connection/basic-connection-test.toml"),
    include_str!("../scenarios/connection/high-volume-connection-test.toml"),
    include_str!("../scenarios/connection/reconnection-stress-test.toml"),
    include_str!("../scenarios/reliability/normal-operation-test.toml"),
    include_str!("../scenarios/reliability/low-failure-rate-test.toml"),
    include_str!("../scenarios/reliability/high-failure-rate-test.toml"),
    include_str!("../scenarios/reliability/extreme-conditions-test.toml"),
    include_str!("../scenarios/further/rolling-restart.toml"),
    include_str!("../scenarios/further/reconnect-storm.toml"),
    include_str!("../scenarios/further/slow-readers.toml"),
    include_str!("../scenarios/further/late-joiners.toml"),
    include_str!("../scenarios/further/large-payloads.toml"),
    include_str!("../scenarios/further/find-the-limit.toml"),
    include_str!("../scenarios/further/soak.toml"),
];
/// How many of them belong to the three categories; the rest are the further scenarios.
const OF_CATEGORIES: usize = 12;

/// All built-in scenarios.
pub fn all() -> Vec<Scenario> {
    // An invalid file is a bug, and a test parses them all.
    let read = |text: &&str| Scenario::from_toml(text).unwrap_or_else(|error| unreachable!("{error}"));
    FILES.iter().map(read).collect()
}

/// The twelve scenarios of the three categories.
pub fn of_categories() -> Vec<Scenario> {
    all().into_iter().take(OF_CATEGORIES).collect()
}

/// The further scenarios.
pub fn further() -> Vec<Scenario> {
    all().into_iter().skip(OF_CATEGORIES).collect()
}

/// The scenario with this name, ignoring case.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name.eq_ignore_ascii_case(name))
}

/// The TOML file of the scenario with this name.
pub fn text_of(name: &str) -> Option<&'static str> {
    let position = all().iter().position(|scenario| scenario.name.eq_ignore_ascii_case(name))?;
    FILES.get(position).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use agentbench_report::schema::Category;

    use super::*;

    #[test]
    fn every_file_is_a_scenario_of_its_own_name_and_survives_being_written() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        assert_eq!(names.len(), FILES.len());
        for scenario in &all {
            assert_eq!(&Scenario::from_toml(&scenario.to_toml().unwrap()).unwrap(), scenario);
        }
    }

    #[test]
    fn the_twelve_have_the_sizes_that_the_brief_gives_them() {
        let sizes: Vec<(u32, u32, usize, u64)> = of_categories()
            .iter()
            .filter(|scenario| scenario.category != Category::Connection)
            .map(|scenario| {
                (scenario.clients, scenario.messages, scenario.payload_bytes, scenario.limit_ms / 1000)
            })
            .collect();
        let expected = [
            (10, 100, 1024, 30),
            (50, 200, 2048, 60),
            (100, 500, 4096, 120),
            (200, 1000, 8192, 180),
            (20, 1000, 128, 30),
            (10, 100, 1024, 30),
            (15, 200, 1024, 60),
            (20, 150, 1024, 90),
            (25, 100, 1024, 120),
        ];
        assert_eq!(sizes, expected);
        let rates: Vec<f64> = of_categories()[8..].iter().map(|scenario| scenario.faults.rate).collect();
        assert_eq!(rates, [0.0, 0.05, 0.15, 0.25]);
        let cuts: Vec<(u32, u32, u64)> = of_categories()[5..8]
            .iter()
            .map(|scenario| {
                let cuts = scenario.cuts.as_ref().unwrap();
                (scenario.clients, cuts.attempts, cuts.interval_ms)
            })
            .collect();
        assert_eq!(cuts, [(10, 3, 1000), (50, 5, 2000), (20, 10, 500)]);
    }
}
