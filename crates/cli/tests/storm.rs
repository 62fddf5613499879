//! 10,000 idle followers are cut off at once and come back at once. All are served what they missed; how long
//! it takes and what it costs is printed, not asserted.

use std::time::Duration;

use agentbench_load::bare::{Moment, Storm, storm};
use agentbench_load::child::{ServerCommand, ServerProcess};
use agentbench_load::process::usage;

#[test]
fn ten_thousand_followers_come_back_at_once() {
    let data = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(&ServerCommand {
        binary: env!("CARGO_BIN_EXE_agentbench").into(),
        data_dir: data.path().to_owned(),
        // One more than the followers: somebody publishes.
        flags: ["--max-connections", "10001"].map(str::to_owned).to_vec(),
        core: None,
        port: 0,
    })
    .unwrap();
    let plan = Storm {
        connections: 10_000,
        per_session: 10,
        missed: 3,
        at_once: 200,
        patience: Duration::from_secs(60),
    };
    let mut looks: Vec<(Moment, u64)> = Vec::new();
    let look = |moment| looks.push((moment, usage(server.pid()).unwrap().resident));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let result = runtime.block_on(local.run_until(storm(server.address(), plan, look))).unwrap();
    println!("all there after {:.2?}, all back and served after {:.2?}", result.first, result.back);
    println!(
        "{} entries delivered to those who came back, {} attempts made again",
        result.delivered, result.retried
    );
    for (moment, resident) in &looks {
        println!("{moment:?}: {:.1} MB resident", *resident as f64 / 1e6);
    }
    assert_eq!(result.delivered, 30_000);
}
