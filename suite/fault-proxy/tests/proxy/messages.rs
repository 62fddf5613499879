//! Faults that strike WebSocket messages.

use agentbench_fault_proxy::{CorruptPart, Direction, Effect, Ending, Fault, Proxy, When};
use agentbench_websocket::{DecodeError, DeflatePolicy};

use crate::support::{Broken, Got, Socket, at, kinds, loopback, message_echo, run, until};

async fn pair(policy: Option<DeflatePolicy>) -> (Proxy, Socket) {
    let proxy = Proxy::start(loopback(), message_echo(policy).await, 1).await.unwrap();
    let socket = Socket::connect(proxy.address(), policy).await;
    (proxy, socket)
}

fn takeover() -> Option<DeflatePolicy> {
    let policy = DeflatePolicy::default();
    Some(DeflatePolicy { client_no_context_takeover: false, server_no_context_takeover: false, ..policy })
}

#[test]
fn messages_pass_untouched() {
    run(async {
        for policy in [None, Some(DeflatePolicy::default()), takeover()] {
            let (proxy, mut socket) = pair(policy).await;
            for text in ["a", &"long ".repeat(100_000), ""] {
                socket.send(text).await.unwrap();
                assert_eq!(socket.text().await, text);
            }
            let link = &proxy.links()[0];
            assert_eq!((link.messages_up, link.messages_down), (3, 3));
            proxy.stop().await;
        }
    });
}

#[test]
fn a_reset_before_or_after_the_message() {
    run(async {
        for forward in [false, true] {
            let (proxy, mut socket) = pair(None).await;
            proxy.add(at("two", Direction::Down, Effect::Reset { forward })).unwrap();
            socket.send("one").await.unwrap();
            assert_eq!(socket.text().await, "one");
            socket.send("two").await.unwrap();
            if forward {
                assert_eq!(socket.text().await, "two");
            }
            assert_eq!(socket.next().await, Err(Broken::Io(std::io::ErrorKind::ConnectionReset)));
            let strikes = proxy.strikes();
            assert_eq!(kinds(&strikes), ["reset"]);
            let strike = &strikes[0];
            assert_eq!((strike.link, strike.direction, strike.message), (0, Direction::Down, Some(1)));
            assert_eq!(strike.contains.as_deref(), Some("two"));
            until(&proxy, |proxy| proxy.links().is_empty()).await;
        }
    });
}

#[test]
fn drop_duplicate_and_swap_keep_the_rest_whole() {
    run(async {
        for policy in [None, Some(DeflatePolicy::default()), takeover()] {
            for (effect, expected) in [
                (Effect::Drop, vec!["one words", "three words", "four words"]),
                (Effect::Duplicate, vec!["one words", "two words", "two words", "three words", "four words"]),
                (Effect::Swap, vec!["one words", "three words", "two words", "four words"]),
            ] {
                for direction in [Direction::Up, Direction::Down] {
                    let (proxy, mut socket) = pair(policy).await;
                    proxy.add(at("two", direction, effect.clone())).unwrap();
                    for text in ["one words", "two words", "three words", "four words"] {
                        socket.send(text).await.unwrap();
                    }
                    for text in &expected {
                        assert_eq!(&socket.text().await, text, "{effect:?} {direction:?} {policy:?}");
                    }
                    assert_eq!(kinds(&proxy.strikes()), [effect.kind()]);
                }
            }
        }
    });
}

#[test]
fn a_swap_without_a_next_message_passes_and_does_not_count() {
    run(async {
        let (proxy, mut socket) = pair(None).await;
        let id = proxy.add(at("lonely", Direction::Up, Effect::Swap)).unwrap();
        socket.send("lonely").await.unwrap();
        assert_eq!(socket.text().await, "lonely");
        assert!(proxy.strikes().is_empty());
        assert_eq!((proxy.faults()[0].id, proxy.faults()[0].strikes), (id, 0));
    });
}

#[test]
fn a_delayed_message_keeps_its_place() {
    run(async {
        let (proxy, mut socket) = pair(None).await;
        proxy.add(at("one", Direction::Up, Effect::Delay { ms: 150 })).unwrap();
        let begun = std::time::Instant::now();
        socket.send("one").await.unwrap();
        socket.send("two").await.unwrap();
        assert_eq!(socket.text().await, "one");
        assert!(begun.elapsed() >= std::time::Duration::from_millis(150));
        assert_eq!(socket.text().await, "two");
    });
}

#[test]
fn corruption_is_noticed_by_the_reader() {
    run(async {
        for (part, error) in [
            (CorruptPart::PayloadHighBit, DecodeError::Utf8),
            (CorruptPart::Header, DecodeError::ReservedBits),
        ] {
            let (proxy, mut socket) = pair(None).await;
            proxy.add(at("two", Direction::Down, Effect::Corrupt { part })).unwrap();
            socket.send("two").await.unwrap();
            assert_eq!(socket.next().await, Err(Broken::Wire(error)));
            assert_eq!(kinds(&proxy.strikes()), ["corrupt"]);
        }
    });
}

#[test]
fn half_a_message_then_the_end() {
    run(async {
        for (ending, end) in
            [(Ending::Fin, Ok(None)), (Ending::Reset, Err(Broken::Io(std::io::ErrorKind::ConnectionReset)))]
        {
            let (proxy, mut socket) = pair(None).await;
            proxy.add(at("two", Direction::Down, Effect::Truncate { ending })).unwrap();
            socket.send("two").await.unwrap();
            assert_eq!(socket.next().await, end);
            assert_eq!(kinds(&proxy.strikes()), ["truncate"]);
        }
    });
}

#[test]
fn both_sides_get_a_proper_close() {
    run(async {
        let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
        let proxy = Proxy::start(loopback(), listener.local_addr().unwrap(), 1).await.unwrap();
        let address = proxy.address();
        let client = tokio::spawn(async move { Socket::connect(address, None).await });
        let mut server = Socket::accept(listener.accept().await.unwrap().0, None).await;
        let mut client = client.await.unwrap();
        assert_eq!(proxy.strike_now(Effect::Close { code: 1012, reason: "moving".to_owned() }), 1);
        let expected = Ok(Some(Got::Close(Some(1012), "moving".to_owned())));
        assert_eq!(client.next().await, expected);
        assert_eq!(server.next().await, expected);
        assert_eq!(client.next().await, Ok(None));
        assert_eq!(server.next().await, Ok(None));
        drop((client, server));
        until(&proxy, |proxy| proxy.links().is_empty()).await;
    });
}

#[test]
fn forty_faults_each_strike_their_message_once() {
    run(async {
        let (proxy, mut socket) = pair(None).await;
        for n in 0..40 {
            proxy.add(at(&format!("<{n}>"), Direction::Up, Effect::Duplicate)).unwrap();
        }
        for n in 0..100 {
            socket.send(&format!("<{n}>")).await.unwrap();
        }
        for n in 0..100 {
            for _ in 0..if n < 40 { 2 } else { 1 } {
                assert_eq!(socket.text().await, format!("<{n}>"));
            }
        }
        assert!(proxy.faults().iter().all(|fault| fault.strikes == 1));
    });
}

#[test]
fn the_same_traffic_meets_the_same_strikes() {
    async fn once(seed: u64) -> Vec<(u64, Option<u64>, Option<u64>)> {
        let proxy = Proxy::start(loopback(), message_echo(None).await, seed).await.unwrap();
        for effect in [Effect::Duplicate, Effect::Delay { ms: 1 }] {
            let when = When { probability: Some(0.2), ..When::default() };
            proxy.add(Fault { when, direction: Direction::Up, ..Fault::new(effect) }).unwrap();
        }
        for _ in 0..3 {
            let mut socket = Socket::connect(proxy.address(), None).await;
            for n in 0..50 {
                socket.send(&n.to_string()).await.unwrap();
            }
            while socket.text().await != "49" {}
        }
        proxy
            .strikes()
            .iter()
            .map(|strike| (strike.link, strike.fault.map(|id| id.0), strike.message))
            .collect()
    }
    run(async {
        let first = once(5).await;
        assert!(first.len() > 20, "{first:?}");
        assert_eq!(once(5).await, first);
        assert_ne!(once(6).await, first);
    });
}

#[test]
fn heal_lets_a_held_message_go() {
    run(async {
        let (proxy, mut socket) = pair(None).await;
        proxy.add(at("held", Direction::Up, Effect::Delay { ms: 3_600_000 })).unwrap();
        socket.send("held").await.unwrap();
        until(&proxy, |proxy| proxy.faults()[0].strikes == 1).await;
        proxy.heal();
        assert_eq!(socket.text().await, "held");
        assert!(proxy.faults().is_empty());
    });
}

#[test]
fn an_effect_called_for_at_once_waits_for_its_message() {
    run(async {
        let (proxy, mut socket) = pair(None).await;
        assert_eq!(proxy.strike_now(Effect::Drop), 1);
        assert!(proxy.strikes().is_empty());
        for text in ["one", "two"] {
            socket.send(text).await.unwrap();
        }
        assert_eq!(socket.text().await, "two");
        assert_eq!(kinds(&proxy.strikes()), ["drop"]);
    });
}

#[test]
fn a_close_comes_after_what_was_on_its_way() {
    run(async {
        let (proxy, mut socket) = pair(None).await;
        proxy.add(at("two", Direction::Down, Effect::Close { code: 4401, reason: String::new() })).unwrap();
        for text in ["one", "two"] {
            socket.send(text).await.unwrap();
        }
        assert_eq!(socket.text().await, "one");
        assert_eq!(socket.next().await, Ok(Some(Got::Close(Some(4401), String::new()))));
        assert_eq!(socket.next().await, Ok(None));
    });
}
