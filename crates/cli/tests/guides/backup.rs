//! Backup and restore of the data folder, with the commands of docs/operating.md on a machine that was set up by its guide: what was acked
//! before the backup is there afterwards, and readers of what came later are told that this history does not have it.

use std::process::Command;

use agentbench_client::{
    Client, Config, Data, Event, Item, NewSession, Outcome, Position, SessionId, StartAt, TestOutcome,
};

use crate::shell::BINARY;
use crate::systemd::{Machine, guide};

async fn connect(machine: &Machine) -> Client {
    let config = Config::new(format!("ws://{}", machine.address())).token(machine.token());
    Client::connect(config.producer_id("ann-1")).await.unwrap()
}

async fn publish(client: &Client, session: SessionId, n: u64) -> u64 {
    let event = Event::new(Data::raw(format!("{{\"eventType\":\"progress\",\"percent\":{n}}}")).unwrap());
    match client.publish(session, event.id(format!("e{n}"))).await.unwrap().await {
        Outcome::Stored { seq, .. } => seq,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restored_folder_has_what_it_had_and_says_what_it_has_not() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(backup_and_restore());
}

async fn backup_and_restore() {
    let mut machine = Machine::installed();
    let [backup, restore] = &guide("## Backup and restore")[..] else { panic!("the guide has other blocks") };
    let client = connect(&machine).await;
    let live = client.create_session(NewSession::new("p", "live", "a")).await.unwrap();
    let ended = client.create_session(NewSession::new("p", "ended", "a")).await.unwrap();
    client.start_test(ended.session_id).await.unwrap();
    publish(&client, ended.session_id, 1).await;
    client.stop_test(ended.session_id, TestOutcome::Completed, None).await.unwrap();
    let mut head = 0;
    for n in 0..20 {
        head = publish(&client, live.session_id, n).await;
    }
    client.close().await;
    machine.walk(backup);
    let client = connect(&machine).await;
    let later = publish(&client, live.session_id, 20).await;
    client.close().await;
    machine.crash();
    machine.walk(restore);
    let client = connect(&machine).await;
    let info = client.get_session_info(live.session_id).await.unwrap();
    assert_eq!((info.head_seq, info.epoch), (head, live.epoch));
    let history = client.get_history(ended.session_id, 1, 100).await.unwrap();
    assert_eq!(history.events.len(), 4, "created, started, one event, stopped");
    // Who read further than the backup goes is told, and not served another history in silence.
    let position = Position { epoch: live.epoch, seq: later, last_id: Some("e20".into()) };
    let mut follow = client.follow(live.session_id, StartAt::After(position)).await.unwrap();
    let first = follow.next().await.unwrap();
    assert!(matches!(first, Item::NotRecovered { .. }), "{first:?}");
    // A retry of what the backup has is known, also now; the place of what it has not is used again.
    let event = Event::new(Data::raw("{\"eventType\":\"progress\",\"percent\":19}").unwrap()).id("e19");
    let again = client.publish(live.session_id, event).await.unwrap().await;
    assert!(matches!(again, Outcome::Stored { duplicate: true, seq, .. } if seq == head), "{again:?}");
    assert_eq!(publish(&client, live.session_id, 21).await, later);
    client.close().await;
    machine.walk("systemctl stop agentbench");
    let audit = machine.path("/var/lib/agentbench/audit.jsonl");
    let verify = Command::new(BINARY).args(["audit", "verify"]).arg(audit).output();
    assert!(verify.unwrap().status.success());
}
