//! Plans: what they say, and what they are told when they are wrong.

use agentbench_fault_proxy::{Direction, Effect, Plan, PlanError, ProxySet};

use crate::support::run;

const PLAN: &str = r#"seed = 7

[[proxy]]
name = "server"
upstream = "127.0.0.1:3001"

[[proxy.fault]]
name = "ack lost"
direction = "up"
when = { contains = "evt-17", times = 2 }
effect = { kind = "reset", forward = true }

[[proxy.fault]]
effect = { kind = "latency", ms = 40, jitter_ms = 10 }

[[proxy.fault]]
when = { probability = 0.01 }
effect = { kind = "drop" }
"#;

#[test]
fn a_plan_is_what_runs() {
    run(async {
        let plan = Plan::parse(PLAN).unwrap();
        assert_eq!((plan.seed, plan.proxies.len()), (7, 1));
        let set = ProxySet::new(plan.seed);
        let proxy = set.start(plan.proxies[0].clone()).await.unwrap();
        let faults: Vec<_> = proxy.faults().into_iter().map(|status| status.fault).collect();
        assert_eq!(faults, plan.proxies[0].faults);
        assert_eq!((faults[0].direction, faults[0].when.times), (Direction::Up, Some(2)));
        assert_eq!(faults[1].effect, Effect::Latency { ms: 40, jitter_ms: 10, for_ms: None });
        assert!(set.start(plan.proxies[0].clone()).await.is_err(), "the name is taken");
    });
}

/// The error of the plan with one piece of text replaced.
fn wrong(from: &str, to: &str) -> PlanError {
    assert!(PLAN.contains(from));
    Plan::parse(&PLAN.replacen(from, to, 1)).unwrap_err()
}

#[test]
fn errors_say_where_and_what_is_allowed() {
    for (from, to, line, field, words) in [
        ("seed = 7", "seed = ", 1, "the file", "value"),
        (
            "direction = \"up\"",
            "direction = \"sideways\"",
            9,
            "proxy[0].fault[0].direction",
            "`up`, `down`, `both`",
        ),
        ("ms = 40", "mss = 40", 14, "proxy[0].fault[1]", "`ms`"),
        ("times = 2", "time = 2", 10, "proxy[0].fault[0].when", "`times`"),
        ("kind = \"drop\"", "kind = \"drop\", ms = 3", 18, "proxy[0].fault[2]", "unknown field `ms`"),
        ("kind = \"drop\"", "kind = \"lose\"", 18, "proxy[0].fault[2]", "`slow_reader`"),
        ("upstream = \"127.0.0.1:3001\"", "upstream = \"nowhere\"", 5, "proxy[0].upstream", "socket address"),
    ] {
        match wrong(from, to) {
            PlanError::Syntax { line: at, field: path, problem } => {
                assert_eq!(at, line, "{to}: {problem}");
                assert!(path.starts_with(field), "{to}: {path}");
                assert!(problem.contains(words), "{to}: {problem}");
            }
            other => panic!("{to}: {other}"),
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    assert_eq!(
        wrong("probability = 0.01", "probability = 1.5").to_string(),
        "proxy server, fault 3: when.probability: 1.5 is not between 0 and 1"
    );
    assert!(matches!(wrong("name = \"server\"", "name = \"a b\""), PlanError::Name(_)));
    let twice = format!("{PLAN}\n[[proxy]]\nname = \"server\"\nupstream = \"127.0.0.1:1\"\n");
    assert_eq!(Plan::parse(&twice).unwrap_err(), PlanError::Twice("server".to_owned()));
}

#[test]
fn the_documented_plan_is_one() {
    let page = include_str!("../../../../docs/fault-proxy.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let plan = Plan::parse(rest.split_once("```").unwrap().0).unwrap();
    assert_eq!((plan.seed, plan.proxies[0].faults.len()), (7, 3));
}
