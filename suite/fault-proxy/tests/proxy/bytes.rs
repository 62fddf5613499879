//! Faults that strike bytes, whatever they mean.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use agentbench_fault_proxy::{CorruptPart, Direction, Effect, Fault, LinkState, Proxy, When};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{at, byte_echo, kinds, loopback, run, until};

async fn pair() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(loopback(), byte_echo().await, 1).await.unwrap();
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    until(&proxy, |proxy| proxy.links().len() == 1).await;
    (proxy, stream)
}

async fn echo(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

/// Whether nothing comes for a while.
async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await.is_err()
}

#[test]
fn garbage_passes_as_bytes() {
    run(async {
        let (proxy, mut stream) = pair().await;
        for text in ["G", "GET nonsense\r\n\r\n", "\u{0}\u{1}\u{fffd}", &"x".repeat(300)] {
            assert_eq!(echo(&mut stream, text).await.unwrap(), text);
        }
        assert_eq!(proxy.links()[0].state, LinkState::Bytes);
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        until(&proxy, |proxy| proxy.links().is_empty()).await;
    });
}

#[test]
fn latency_comes_with_the_link_and_ends_with_the_fault() {
    run(async {
        let (proxy, mut stream) = pair().await;
        let latency = Effect::Latency { ms: 100, jitter_ms: 0, for_ms: None };
        let id = proxy.add(Fault { direction: Direction::Up, ..Fault::new(latency) }).unwrap();
        let begun = Instant::now();
        assert_eq!(echo(&mut stream, "late").await.unwrap(), "late");
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert!(proxy.remove(id) && !proxy.remove(id));
        assert_eq!(echo(&mut stream, "soon").await.unwrap(), "soon");
        assert_eq!(kinds(&proxy.strikes()), ["latency"]);
        assert!(proxy.faults().is_empty());
    });
}

#[test]
fn bandwidth_and_slices_only_cost_time() {
    run(async {
        let (proxy, mut stream) = pair().await;
        proxy
            .add(Fault {
                direction: Direction::Up,
                ..Fault::new(Effect::Bandwidth { bytes_per_second: 10_000, for_ms: None })
            })
            .unwrap();
        proxy.add(Fault::new(Effect::Slice { bytes: 100, delay_us: 0, for_ms: None })).unwrap();
        let begun = Instant::now();
        let text = "0123456789".repeat(300);
        assert_eq!(echo(&mut stream, &text).await.unwrap(), text);
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        proxy.heal();
        let text = "0123456789".repeat(5_000);
        assert_eq!(echo(&mut stream, &text).await.unwrap(), text);
    });
}

#[test]
fn a_stall_holds_everything_for_a_while() {
    run(async {
        let (proxy, mut stream) = pair().await;
        let begun = Instant::now();
        assert_eq!(proxy.strike_now(Effect::Stall { ms: 150 }), 1);
        assert_eq!(echo(&mut stream, "held").await.unwrap(), "held");
        assert!(begun.elapsed() >= Duration::from_millis(150));
        proxy.strike_now(Effect::Stall { ms: 3_600_000 });
        stream.write_all(b"freed").await.unwrap();
        assert!(is_silent(&mut stream).await);
        proxy.heal();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"freed");
    });
}

#[test]
fn a_black_hole_keeps_sockets_open_until_healed() {
    run(async {
        let (proxy, mut stream) = pair().await;
        assert_eq!(echo(&mut stream, "here").await.unwrap(), "here");
        proxy.add(Fault::new(Effect::BlackHole { for_ms: None })).unwrap();
        stream.write_all(b"gone").await.unwrap();
        assert!(is_silent(&mut stream).await);
        assert_eq!(proxy.links()[0].state, LinkState::BlackHole);
        proxy.heal();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        until(&proxy, |proxy| proxy.links().is_empty()).await;
    });
}

#[test]
fn a_black_hole_that_took_nothing_leaves_the_link_whole() {
    run(async {
        let (proxy, mut stream) = pair().await;
        proxy.strike_now(Effect::BlackHole { for_ms: Some(50) });
        until(&proxy, |proxy| proxy.links()[0].state != LinkState::BlackHole).await;
        assert_eq!(echo(&mut stream, "here").await.unwrap(), "here");
    });
}

#[test]
fn a_timed_black_hole_resets_what_lost_bytes() {
    run(async {
        let (proxy, mut stream) = pair().await;
        proxy.strike_now(Effect::BlackHole { for_ms: Some(100) });
        stream.write_all(b"gone").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_reaches_both_sides() {
    run(async {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let proxy = Proxy::start(loopback(), listener.local_addr().unwrap(), 1).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        proxy.add(at("die", Direction::Up, Effect::Reset { forward: true })).unwrap();
        client.write_all(b"live").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        client.write_all(b"die").await.unwrap();
        let mut last = [0; 3];
        server.read_exact(&mut last).await.unwrap();
        assert_eq!(&last, b"die");
        for stream in [&mut client, &mut server] {
            assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        assert_eq!(kinds(&proxy.strikes()), ["reset"]);
    });
}

#[test]
fn a_half_close_leaves_the_other_way() {
    run(async {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let proxy = Proxy::start(loopback(), listener.local_addr().unwrap(), 1).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        proxy.add(at("last", Direction::Up, Effect::HalfClose)).unwrap();
        client.write_all(b"last").await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
        server.write_all(b"still here").await.unwrap();
        client.read_exact(&mut [0; 10]).await.unwrap();
    });
}

#[test]
fn corrupt_bytes_differ_in_one_bit() {
    run(async {
        let (proxy, mut stream) = pair().await;
        stream.write_all(b"!").await.unwrap();
        stream.read_u8().await.unwrap();
        proxy
            .add(Fault { direction: Direction::Up, ..Fault::new(Effect::Corrupt { part: CorruptPart::Any }) })
            .unwrap();
        stream.write_all(b"aaaaaaaa").await.unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer.iter().map(|byte| (byte ^ b'a').count_ones()).sum::<u32>(), 1);
        assert_eq!(echo(&mut stream, "whole").await.unwrap(), "whole");
    });
}

#[test]
fn a_link_of_some_age_or_amount_is_struck_once() {
    run(async {
        let (proxy, mut stream) = pair().await;
        let when = When { after_bytes: Some(10), after_ms: Some(1), ..When::default() };
        proxy.add(Fault { when, direction: Direction::Up, ..Fault::new(Effect::Stall { ms: 1 }) }).unwrap();
        for _ in 0..6 {
            assert_eq!(echo(&mut stream, "12345").await.unwrap(), "12345");
        }
        assert_eq!(kinds(&proxy.strikes()), ["stall"]);
    });
}

#[test]
fn an_upstream_that_is_not_there_resets_the_client_and_harms_nothing() {
    run(async {
        let nobody = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
        let proxy = Proxy::start(loopback(), nobody, 1).await.unwrap();
        proxy.add(Fault::new(Effect::Latency { ms: 1, jitter_ms: 0, for_ms: None })).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(proxy.strikes().is_empty());
        proxy.set_upstream(byte_echo().await);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(echo(&mut stream, "back").await.unwrap(), "back");
        assert_eq!(proxy.links()[0].upstream, proxy.upstream());
    });
}

/// Fills whatever stands between until it takes no more; gives the bytes that it took.
async fn fill(stream: &mut TcpStream, most: usize) -> usize {
    let chunk = vec![0; 64 * 1024];
    let mut taken = 0;
    while taken < most {
        match tokio::time::timeout(Duration::from_millis(500), stream.write(&chunk)).await {
            Ok(written) => taken += written.unwrap(),
            Err(_) => break,
        }
    }
    taken
}

#[test]
fn who_does_not_read_stops_the_sender() {
    run(async {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let proxy = Proxy::start(loopback(), listener.local_addr().unwrap(), 1).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (_server, _) = listener.accept().await.unwrap();
        // The kernel's buffers on four sockets take some megabytes; the proxy must not take the rest.
        let taken = fill(&mut client, 256 * 1024 * 1024).await;
        assert!(taken < 64 * 1024 * 1024, "{taken} bytes were taken");
    });
}

#[test]
fn a_slow_reader_fills_the_servers_socket_and_recovers() {
    run(async {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let proxy = Proxy::start(loopback(), listener.local_addr().unwrap(), 1).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let slow = Effect::SlowReader { bytes_per_second: None, pause_ms: Some(3_600_000), for_ms: None };
        proxy.add(Fault::new(slow)).unwrap();
        let taken = fill(&mut server, 256 * 1024 * 1024).await;
        assert!(taken < 64 * 1024 * 1024, "{taken} bytes were taken");
        let read = tokio::spawn(async move {
            let mut sink = vec![0; taken];
            client.read_exact(&mut sink).await.unwrap();
        });
        proxy.heal();
        read.await.unwrap();
    });
}

#[test]
fn stop_ends_links_and_frees_the_address() {
    run(async {
        let (proxy, mut stream) = pair().await;
        let address = proxy.address();
        proxy.stop().await;
        assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        TcpListener::bind(address).await.unwrap();
    });
}

#[test]
fn what_cannot_be_meant_is_refused() {
    run(async {
        let (proxy, _stream) = pair().await;
        let refused = |fault: Fault| proxy.add(fault).unwrap_err().field;
        assert_eq!(
            refused(Fault::new(Effect::Bandwidth { bytes_per_second: 0, for_ms: None })),
            "effect.bytes_per_second"
        );
        assert_eq!(refused(Fault::new(Effect::Close { code: 1006, reason: String::new() })), "effect.code");
        let when = When { probability: Some(f64::NAN), ..When::default() };
        assert_eq!(refused(Fault { when, ..Fault::new(Effect::Drop) }), "when.probability");
        assert_eq!(proxy.strike_now(Effect::Drop), 0, "no WebSocket, so no messages");
        fn is_shared<T: Send + Sync>(_: &T) {}
        is_shared(&proxy);
    });
}
