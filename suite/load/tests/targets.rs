//! Echo and broadcast targets over real sockets, and servers that refuse, fall silent or die.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentbench_load::target::{
    Broadcast, Dialect, Exchange, Job, Measurement, Pace, Place, Plain, SocketIo, broadcast, exchange,
};
use tungstenite::{Message, WebSocket};

const SIZE: usize = 200;
/// Tests of silence wait for all of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// A hang guard where nobody is silent.
const LONG: Duration = Duration::from_secs(30);

/// Accepts for ever; each connection gets a thread.
fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, each) = (listener.local_addr().unwrap(), Arc::new(each));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

/// A WebSocket server that hands over each message and its connection.
fn serve_messages(each: impl Fn(&mut WebSocket<TcpStream>, Message) + Send + Sync + 'static) -> SocketAddr {
    serve(move |stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                each(&mut socket, message);
            }
        }
    })
}

fn echo_server() -> SocketAddr {
    serve_messages(|socket, message| drop(socket.send(message)))
}

fn on_local<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

fn plan(connections: usize, pace: Pace, patience: Duration) -> Exchange {
    let (warm_up, duration) = (Duration::from_millis(20), Duration::from_millis(200));
    Exchange { connections, pace, warm_up, duration, patience }
}

fn echo(address: SocketAddr, plan: Exchange, size: usize) -> anyhow::Result<Measurement> {
    let make = |_| -> anyhow::Result<Box<dyn Dialect>> { Ok(Box::new(Plain::new("/", Job::Echo, size))) };
    let mut samples = 0;
    let measured = on_local(exchange(&Place::at(address), plan, make, || samples += 1))?;
    assert_eq!(samples, 2);
    Ok(measured)
}

/// What a run against this server says when it fails.
fn failure(address: SocketAddr, pace: Pace) -> String {
    format!("{:#}", echo(address, plan(2, pace, PATIENCE), SIZE).unwrap_err())
}

#[test]
fn echoes_are_counted_in_a_window_and_at_a_rate() {
    let address = echo_server();
    let measured = echo(address, plan(3, Pace::Window(4), LONG), SIZE).unwrap();
    assert!(measured.answered > 0 && measured.latency.len() >= measured.answered, "{measured:?}");
    assert!(measured.lag.is_none());
    let measured = echo(address, plan(3, Pace::Rate(500), LONG), SIZE).unwrap();
    assert!(measured.answered > 0 && !measured.lag.unwrap().is_empty());
}

#[test]
fn large_messages_in_a_large_window_do_not_block_both_ends() {
    let measured = echo(echo_server(), plan(1, Pace::Window(64), LONG), 1 << 20).unwrap();
    assert!(measured.blocked > 0, "64 MiB went into a socket at once");
}

/// Sends what one says to all others that are there.
fn broadcast_server() -> SocketAddr {
    let room: Arc<Mutex<Vec<(SocketAddr, TcpStream)>>> = Arc::default();
    serve(move |stream| {
        let (sender, other) = (stream.peer_addr().unwrap(), stream.try_clone().unwrap());
        // Held until the connection is in the room: whoever sees the handshake answered gets everything.
        let mut members = room.lock().unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        members.push((sender, other));
        drop(members);
        socket.send(Message::text("welcome, and this counts for nothing")).unwrap();
        while let Ok(message) = socket.read() {
            let Message::Text(text) = message else { continue };
            let mut frame = match u16::try_from(text.len()) {
                Ok(short) => [&[0x81, 126][..], &short.to_be_bytes()].concat(),
                Err(_) => [&[0x81, 127][..], &(text.len() as u64).to_be_bytes()].concat(),
            };
            frame.extend_from_slice(text.as_bytes());
            for (member, stream) in room.lock().unwrap().iter() {
                if *member != sender {
                    let _ = (&*stream).write_all(&frame);
                }
            }
        }
    })
}

fn fan_out(address: SocketAddr, pace: Pace, patience: Duration) -> anyhow::Result<Measurement> {
    fan_out_of(address, pace, patience, SIZE)
}

fn fan_out_of(
    address: SocketAddr,
    pace: Pace,
    patience: Duration,
    size: usize,
) -> anyhow::Result<Measurement> {
    let (warm_up, duration) = (Duration::from_millis(20), Duration::from_millis(200));
    let plan = Broadcast { readers: 5, pace, warm_up, duration, patience };
    let make = |job, _| -> anyhow::Result<Box<dyn Dialect>> { Ok(Box::new(Plain::new("/", job, size))) };
    on_local(broadcast(&Place::at(address), plan, make, || {}))
}

#[test]
fn deliveries_are_counted_at_all_readers() {
    for pace in [Pace::Window(3), Pace::Rate(200)] {
        let measured = fan_out(broadcast_server(), pace, LONG).unwrap();
        assert!(measured.answered > 0 && measured.answered.is_multiple_of(5), "{}", measured.answered);
    }
}

#[test]
fn what_the_senders_socket_does_not_take_at_once_is_sent_when_it_does() {
    let measured = fan_out_of(broadcast_server(), Pace::Window(16), LONG, 1 << 20).unwrap();
    assert!(measured.blocked > 0 && measured.answered.is_multiple_of(5), "{measured:?}");
    // More than the socket takes, and nothing is said afterwards that would push it.
    let measured = fan_out_of(broadcast_server(), Pace::Rate(300), LONG, 1 << 18).unwrap();
    assert!(measured.answered.is_multiple_of(5), "{measured:?}");
}

#[test]
fn a_server_that_delivers_to_nobody_is_an_error_and_no_hang() {
    for pace in [Pace::Window(1), Pace::Rate(100)] {
        let error = fan_out(serve_messages(|_, _| {}), pace, PATIENCE).unwrap_err().to_string();
        assert!(error.contains("nothing came back"), "{error}");
    }
}

#[test]
fn a_server_that_refuses_is_named_with_its_status() {
    let address = serve(|mut stream| {
        let _ = stream.read(&mut [0; 2048]);
        let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    });
    let error = failure(address, Pace::Window(1));
    assert!(error.contains("503"), "{error}");
}

#[test]
fn what_is_no_websocket_is_an_error() {
    let address = serve(|mut stream| {
        let _ = stream.read(&mut [0; 2048]);
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
    });
    let error = failure(address, Pace::Window(1));
    assert!(error.contains("not a WebSocket server"), "{error}");
}

#[test]
fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = failure(address, Pace::Window(1));
    assert!(error.contains("cannot connect"), "{error}");
}

#[test]
fn a_server_that_is_silent_in_the_handshake_is_given_up() {
    let address = serve(|mut stream| while stream.read(&mut [0; 2048]).is_ok_and(|count| count > 0) {});
    let error = failure(address, Pace::Window(1));
    assert!(error.contains("did not accept a connection"), "{error}");
}

#[test]
fn a_server_that_is_silent_later_is_given_up() {
    for pace in [Pace::Window(1), Pace::Rate(100)] {
        let error = failure(serve_messages(|_, _| {}), pace);
        assert!(error.contains("nothing came back") || error.contains("never answered"), "{error}");
    }
}

#[test]
fn a_server_that_dies_is_told() {
    for pace in [Pace::Window(1), Pace::Rate(1000)] {
        let address = serve(|stream| {
            let mut socket = tungstenite::accept(stream).unwrap();
            for _ in 0..10 {
                let message = socket.read().unwrap();
                socket.send(message).unwrap();
            }
        });
        let error = failure(address, pace);
        assert!(error.contains("ended the connection") || error.contains("was lost"), "{error}");
    }
}

#[test]
fn a_server_that_answers_with_another_message_does_not_count() {
    let address = serve_messages(|socket, message| {
        let text = message.into_text().unwrap().replace("0001", "0009");
        let _ = socket.send(Message::text(text));
    });
    let error = failure(address, Pace::Window(1));
    assert!(error.contains("came back altered"), "{error}");
}

#[test]
fn socket_io_is_greeted_as_it_wants() {
    let address = serve(|stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        socket.send(Message::text("0{\"sid\":\"a\",\"upgrades\":[],\"pingInterval\":25000}")).unwrap();
        assert_eq!(socket.read().unwrap().into_text().unwrap(), "40");
        socket.send(Message::text("2")).unwrap();
        assert_eq!(socket.read().unwrap().into_text().unwrap(), "3");
        socket.send(Message::text("40{\"sid\":\"b\"}")).unwrap();
        while let Ok(Message::Text(text)) = socket.read() {
            let _ = socket.send(Message::Text(text));
        }
    });
    let make = |_| -> anyhow::Result<Box<dyn Dialect>> { Ok(Box::new(SocketIo::new(Job::Echo, SIZE))) };
    let plan = plan(2, Pace::Window(2), LONG);
    let measured = on_local(exchange(&Place::at(address), plan, make, || {})).unwrap();
    assert!(measured.answered > 0);
}
