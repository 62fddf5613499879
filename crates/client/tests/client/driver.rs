//! The whole client, over TCP.

use std::time::Duration;

use agentbench_client::{
    Client, ConnectionEvent, Data, Ended, Error, ErrorCode, Event, Follow, GaveUp, Item, NewSession,
    OutboxPolicy, Outcome, SessionId, StartAt, State,
};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::peer::{Peer, config, start_stranger};

const LONG: Duration = Duration::from_secs(20);

fn event(number: u64) -> Event {
    Event::new(Data::json(&serde_json::json!({"number": number})).unwrap())
}

async fn create(client: &Client) -> SessionId {
    client.create_session(NewSession::new("p", "t", "a")).await.unwrap().session_id
}

/// The next `count` entries of the log; a hole fails the test.
async fn read(follow: &mut Follow, count: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while (seqs.len() as u64) < count {
        let item = timeout(LONG, follow.next()).await.expect("in time").expect("not over");
        assert!(!matches!(item, Item::Violation(_) | Item::Gap(_) | Item::NotRecovered { .. }), "{item:?}");
        seqs.extend(item.seq());
    }
    seqs
}

#[tokio::test]
async fn publish_follow_and_close() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config()).await.unwrap();
    assert_eq!(client.state(), State::Connected);
    let session = create(&client).await;
    let mut follow = client.follow(session, StartAt::Start).await.unwrap();
    assert_eq!(follow.joined().unwrap().head_seq, 1);
    client.start_test(session).await.unwrap();
    let ticket = client.publish(session, event(5)).await.unwrap();
    assert!(matches!(ticket.await, Outcome::Stored { seq: 3, duplicate: false, .. }));
    assert_eq!(read(&mut follow, 2).await, [1, 2]);
    let Some(Item::Event(delivered)) = follow.next().await else { panic!("an event") };
    assert_eq!((delivered.seq, delivered.data()), (3, r#"{"number":5}"#));
    assert_eq!(&delivered.data_bytes()[..], br#"{"number":5}"#);
    assert_eq!(delivered.sender().unwrap().username, "Ann");
    assert_eq!(delivered.parse::<serde_json::Value>().unwrap()["number"], 5);
    client.publish_unacked(session, event(6)).await.unwrap();
    client.close().await;
    assert_eq!(client.state(), State::Ended(Ended::Closed));
    assert!(follow.next().await.is_none() || follow.next().await.is_none());
    assert!(peer.server().seen.contains(&"close 1000".to_owned()));
    assert_eq!(peer.server().log(session).len(), 4);
    assert!(matches!(client.start_test(session).await, Err(Error::Ended(Ended::Closed))));
    assert!(matches!(client.publish(session, event(7)).await, Err(Error::Ended(Ended::Closed))));
}

#[tokio::test]
async fn connections_that_break_all_the_time_lose_nothing() {
    // Eight connections in a row that break before any event is answered would give the event up. So short and long ones take turns,
    // and few events are in flight, since a follow gets what is stored of them before they are acked.
    let cuts = (0..40).map(|n| 1 + n * 3970 % 9000).collect();
    let peer = Peer::start(cuts).await;
    let client = Client::connect(peer.config().in_flight(8).connect_patience(LONG)).await.unwrap();
    let session = create(&client).await;
    let mut follow = client.follow(session, StartAt::Start).await.unwrap();
    // On its own: nobody who holds up a follow may wait for acks.
    let reading = tokio::spawn(async move { read(&mut follow, 2001).await });
    let mut tickets = Vec::new();
    for number in 0..2000 {
        tickets.push(client.publish(session, event(number)).await.unwrap());
    }
    let mut last = 1;
    for ticket in tickets {
        let Outcome::Stored { seq, .. } = timeout(LONG, ticket).await.unwrap() else { panic!("stored") };
        assert_eq!(seq, last + 1);
        last = seq;
    }
    assert_eq!(reading.await.unwrap(), (1..=2001).collect::<Vec<_>>());
    assert!(client.stats().reconnects > 10, "{:?}", client.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_share_a_client() {
    let peer = Peer::start(vec![30_000, 50_000]).await;
    let client = Client::connect(peer.config().outbox(50, 1_000_000)).await.unwrap();
    let session = create(&client).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let publisher = client.publisher(session).await.unwrap();
        tasks.push(tokio::spawn(async move {
            for number in 0..200 {
                assert!(publisher.publish(event(number)).await.unwrap().await.is_stored());
            }
        }));
    }
    let mut follow = client.follow(session, StartAt::Start).await.unwrap();
    assert_eq!(read(&mut follow, 1601).await, (1..=1601).collect::<Vec<_>>());
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = Client::connect(config(address)).await.unwrap_err();
    assert!(matches!(&refused, Error::Connect(why) if why.contains("refused")), "{refused:?}");
    let refused = Client::connect(config(address).connect_patience(Duration::from_millis(50))).await;
    assert!(matches!(refused, Err(Error::Connect(_))));

    let silent = start_stranger(b"").await;
    let slow = config(silent).connect_timeout(Duration::from_millis(50));
    assert!(matches!(Client::connect(slow).await, Err(Error::Connect(why)) if why.contains("in time")));

    let garbage = start_stranger(b"220 mail.example.com ESMTP\r\n").await;
    assert!(matches!(Client::connect(config(garbage)).await, Err(Error::Connect(_))));

    for bad in ["http://x", "wss://"] {
        assert!(matches!(Client::connect(agentbench_client::Config::new(bad)).await, Err(Error::Invalid(_))));
    }
    let bad = config(silent).producer_id("two words");
    assert!(matches!(Client::connect(bad).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn refusals_of_the_upgrade_and_of_the_token() {
    let peer = Peer::start(vec![]).await;
    peer.server().faults.http = Some((503, Some(0)));
    assert!(matches!(Client::connect(peer.config()).await, Err(Error::Connect(why)) if why.contains("503")));
    let patient = tokio::spawn(Client::connect(peer.config().connect_patience(LONG)));
    sleep(Duration::from_millis(50)).await;
    peer.server().faults.http = None;
    let client = patient.await.unwrap().unwrap();
    assert!(client.stats().attempts > 1);

    client.close().await;
    peer.server().faults.token = Some("good".into());
    let dismissed = Client::connect(peer.config()).await.unwrap_err();
    assert!(matches!(dismissed, Error::Ended(Ended::Dismissed { code: Some(1008), .. })));
    let provided = peer.config().token_provider(|| async { Ok("good".to_owned()) }).connect_patience(LONG);
    assert_eq!(Client::connect(provided).await.unwrap().state(), State::Connected);
}

#[tokio::test]
async fn garbage_ends_the_connection_and_not_the_client() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config()).await.unwrap();
    let mut events = client.events();
    peer.server().send(|dst| dst.extend_from_slice(b"not JSON"));
    let Ok(ConnectionEvent::Disconnected(why)) = events.recv().await else { panic!("disconnected") };
    assert!(why.detail.contains("not JSON"), "{why:?}");
    assert!(matches!(events.recv().await, Ok(ConnectionEvent::Reconnecting { .. })));
    assert!(matches!(events.recv().await, Ok(ConnectionEvent::Connected { .. })));
    assert!(peer.server().seen.contains(&"close 1007".to_owned()), "{:?}", peer.server().seen);
}

#[tokio::test]
async fn a_follow_that_nobody_reads_stops_the_connection() {
    let peer = Peer::start(vec![]).await;
    let session = peer.server().prepare(20);
    let client = Client::connect(peer.config().follow_buffer(10)).await.unwrap();
    let mut follow = client.follow(session, StartAt::Start).await.unwrap();
    let fill = "x".repeat(100_000);
    for number in 0..100 {
        peer.server().publish(session, &format!("q{number}"), &format!(r#"{{"fill":"{fill}"}}"#), None);
        peer.server().commit();
    }
    sleep(Duration::from_millis(200)).await;
    let waiting = client.stats().delivered;
    assert!((10..60).contains(&waiting), "{waiting}");
    assert_eq!(read(&mut follow, 121).await, (1..=121).collect::<Vec<_>>());
    drop(follow);
    let ticket = client.publish(session, event(1)).await.unwrap();
    assert!(timeout(LONG, ticket).await.unwrap().is_stored(), "a follow that was dropped holds up nothing");
}

#[tokio::test]
async fn a_full_outbox_waits_or_refuses() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config().outbox(1, 1000)).await.unwrap();
    let session = create(&client).await;
    for number in 0..50 {
        drop(timeout(LONG, client.publish(session, event(number))).await.unwrap().unwrap());
    }
    timeout(LONG, client.flush()).await.unwrap();
    assert_eq!(peer.server().log(session).len(), 51);

    let config = peer.config().outbox(1, 1000).outbox_policy(OutboxPolicy::Refuse);
    client.close().await;
    let client = Client::connect(config).await.unwrap();
    let ticket = client.publish(session, event(1)).await.unwrap();
    assert!(matches!(client.publish(session, event(2)).await, Err(Error::OutboxFull)));
    assert!(ticket.await.is_stored());
}

#[tokio::test]
async fn dropping_a_client_settles_everything() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config()).await.unwrap();
    let session = create(&client).await;
    let mut follow = client.follow(session, StartAt::Live).await.unwrap();
    peer.server().faults.is_silent = true;
    let ticket = client.publish(session, event(1)).await.unwrap();
    drop(client);
    assert_eq!(ticket.await, Outcome::Unknown { why: GaveUp::Ended(Ended::Closed), sent: false });
    assert!(follow.next().await.is_none());
    assert_eq!(follow.ended(), Some(&Error::Ended(Ended::Closed)));
}

#[test]
fn a_runtime_that_goes_away_leaves_nobody_waiting() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (client, ticket, mut follow) = first.block_on(async {
        let peer = Peer::start(vec![]).await;
        let client = Client::connect(peer.config()).await.unwrap();
        let session = create(&client).await;
        let follow = client.follow(session, StartAt::Live).await.unwrap();
        let ticket = client.publish(session, event(1)).await.unwrap();
        (client, ticket, follow)
    });
    drop(first);
    runtime().block_on(async {
        assert!(matches!(ticket.await, Outcome::Unknown { .. }));
        assert!(follow.next().await.is_none());
        assert!(matches!(client.start_test(follow.session_id()).await, Err(Error::Ended(Ended::Closed))));
        client.close().await;
    });
}

#[tokio::test]
async fn errors_reach_who_asked() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config()).await.unwrap();
    let nowhere = SessionId::from_u128(1);
    let not_found =
        |error: &Error| matches!(error, Error::Refused(why) if why.code == ErrorCode::SessionNotFound);
    assert!(not_found(&client.follow(nowhere, StartAt::Live).await.unwrap_err()));
    assert!(not_found(&client.publisher(nowhere).await.unwrap_err()));
    assert!(not_found(&client.start_test(nowhere).await.unwrap_err()));
    let outcome = client.publish(nowhere, event(1)).await.unwrap().await;
    assert!(matches!(outcome, Outcome::Refused(why) if why.code == ErrorCode::SessionNotFound));
    let session = create(&client).await;
    let _follow = client.follow(session, StartAt::Live).await.unwrap();
    assert_eq!(client.follow(session, StartAt::Live).await.unwrap_err(), Error::AlreadyFollowing);
    assert!(matches!(client.publish(session, event(1).id("two words")).await, Err(Error::Invalid(_))));
    client.leave(session).await.unwrap();
    assert_eq!(client.refresh_token("t2").await.unwrap(), Some(2_000_000));
}
