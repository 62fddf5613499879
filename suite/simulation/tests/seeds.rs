//! A short run of each of a few seeds: the undamaged code keeps every promise.

use agentbench_simulation::{Run, Setup};

#[test]
fn probe() {
    let first: u64 = std::env::var("SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    let count: u64 = std::env::var("COUNT").ok().and_then(|it| it.parse().ok()).unwrap_or(20);
    let steps: usize = std::env::var("STEPS").ok().and_then(|it| it.parse().ok()).unwrap_or(2000);
    let begun = std::time::Instant::now();
    let mut entries = 0;
    for seed in first..first + count {
        let setup = Setup::of(seed);
        let outcome = Run::by_seed(setup, steps);
        entries += outcome.entries;
        if !outcome.findings.is_empty() {
            println!("{setup}");
            for finding in outcome.findings.iter().take(3) {
                println!("  {finding}");
            }
            if std::env::var("SHRINK").is_ok() {
                let name = &outcome.findings[0].name;
                let steps = agentbench_simulation::shrink::shrink(setup, outcome.steps.clone(), name, |_| {});
                let again = Run::by_steps(setup, &steps);
                for step in &steps {
                    println!("    {step}");
                }
                for finding in again.findings {
                    println!("  {finding}");
                }
            }
        }
    }
    println!("{entries} entries, {:?}", begun.elapsed());
}
