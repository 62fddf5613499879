//! Follows that end with their session, over TCP.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use agentbench_client::{
    Client, Data, Event, Follow, Item, NewSession, Position, SessionId, StartAt, TestOutcome,
};
use tokio::time::timeout;

use super::peer::Peer;

const LONG: Duration = Duration::from_secs(20);

/// A session with `events` events, started: its log has two entries more.
async fn begin(client: &Client, events: u64) -> SessionId {
    let session = client.create_session(NewSession::new("p", "t", "a")).await.unwrap().session_id;
    client.start_test(session).await.unwrap();
    for number in 0..events {
        let data = Data::json(&serde_json::json!({"number": number})).unwrap();
        assert!(client.publish(session, Event::new(data)).await.unwrap().await.is_stored());
    }
    session
}

async fn stop(client: &Client, session: SessionId) {
    client.stop_test(session, TestOutcome::Completed, None).await.unwrap();
}

/// The seqs up to the end, which must be a good one.
async fn read_all(follow: &mut Follow) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(item) = timeout(LONG, follow.next()).await.expect("an item or the end, in time") {
        assert!(!matches!(item, Item::Violation(_) | Item::Gap(_) | Item::NotRecovered { .. }), "{item:?}");
        seqs.extend(item.seq());
    }
    assert_eq!(follow.ended(), None);
    seqs
}

#[tokio::test]
async fn a_follow_ends_when_its_session_has_ended_and_all_of_it_was_read() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config()).await.unwrap();
    let session = begin(&client, 3).await;
    let mut follow = client.follow(session, StartAt::Start).await.unwrap();
    stop(&client, session).await;
    assert_eq!(read_all(&mut follow).await, [1, 2, 3, 4, 5, 6]);
    assert!(follow.next().await.is_none(), "and stays at its end");

    // From here on the session has ended before the join. The first follow is over: its handle is in nobody's way.
    let mut again = client.follow(session, StartAt::Start).await.unwrap();
    assert_eq!(read_all(&mut again).await, [1, 2, 3, 4, 5, 6]);
    let epoch = again.joined().unwrap().epoch;
    for (seq, rest) in [(4, vec![5, 6]), (6, vec![])] {
        let from = StartAt::After(Position { epoch, seq, last_id: None });
        assert_eq!(read_all(&mut client.follow(session, from).await.unwrap()).await, rest);
    }
    assert_eq!(read_all(&mut client.follow(session, StartAt::Live).await.unwrap()).await, [0; 0]);
}

#[tokio::test]
async fn a_follow_that_stays_goes_on_when_its_session_has_ended() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config()).await.unwrap();
    let session = begin(&client, 1).await;
    let mut follow = client.follow_and_stay(session, StartAt::Start).await.unwrap();
    stop(&client, session).await;
    for seq in 1..=4 {
        let item = timeout(LONG, follow.next()).await.expect("in time").expect("not over");
        assert_eq!(item.seq(), Some(seq));
    }
    assert!(matches!(follow.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    drop(follow);
    let mut late = client.follow_and_stay(session, StartAt::Live).await.unwrap();
    assert!(matches!(late.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Pending));
}

#[tokio::test]
async fn a_follow_reads_to_the_end_of_its_session_over_connections_that_break() {
    let cuts = (0..20).map(|n| 1 + n * 3970 % 9000).collect();
    let peer = Peer::start(cuts).await;
    let client = Client::connect(peer.config().in_flight(8).connect_patience(LONG)).await.unwrap();
    let session = begin(&client, 60).await;
    let mut follow = client.follow(session, StartAt::Start).await.unwrap();
    stop(&client, session).await;
    assert_eq!(read_all(&mut follow).await, (1..=63).collect::<Vec<_>>());
    assert!(client.stats().reconnects > 5, "{:?}", client.stats());
}

#[tokio::test]
async fn a_follow_at_its_end_does_not_hold_up_its_connection_however_full_it_is() {
    let peer = Peer::start(vec![]).await;
    let client = Client::connect(peer.config().follow_buffer(2)).await.unwrap();
    let session = begin(&client, 3).await;
    stop(&client, session).await;
    let mut follow = client.follow(session, StartAt::Start).await.unwrap();
    timeout(LONG, client.refresh_token("t2")).await.expect("the connection is read").unwrap();
    assert_eq!(read_all(&mut follow).await, [1, 2, 3, 4, 5, 6]);
}
