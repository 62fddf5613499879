//! Listening sockets: one for each worker on the same address, so that the kernel spreads new connections.
//!
//! The kernel shares a port among sockets only if each has `SO_REUSEPORT`, set before or after it is bound. So the first
//! socket is bound and listens without it, which fails if any other socket listens on the port, such as another server's
//! workers. Only then is the option set, for the other sockets of this process. Two servers that start at the same moment
//! cannot both succeed, since the kernel checks again when a socket starts to listen.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Length of the kernel's accept queue: a burst of reconnects should wait, not fail.
const BACKLOG: i32 = 16_384;

/// Binds `count` listeners to one address. With port 0 the first one's port is used for all.
///
/// # Errors
/// The address is in use, perhaps by another server's listeners, or does not belong to this machine.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let first = socket(address)?;
    first.bind(&address.into())?;
    first.listen(BACKLOG)?;
    first.set_reuse_port(true)?;
    let first = TcpListener::from(first);
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        let next = socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&address.into())?;
        next.listen(BACKLOG)?;
        listeners.push(next.into());
    }
    Ok(listeners)
}

/// `SO_REUSEADDR` ignores connections of an earlier server that have not ended yet, but never a listening socket.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::Barrier;

    use super::*;

    fn any_port(host: &str) -> SocketAddr {
        SocketAddr::new(host.parse().unwrap(), 0)
    }

    #[test]
    fn a_port_belongs_to_one_server_whichever_of_its_addresses_is_named() {
        let cases = [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "0.0.0.0"),
            ("0.0.0.0", "127.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("::", "::1"),
            ("::", "127.0.0.1"),
            ("127.0.0.1", "::"),
        ];
        for (host, other) in cases {
            let listeners = bind(any_port(host), 3).unwrap();
            let port = listeners[0].local_addr().unwrap().port();
            let second = SocketAddr::new(other.parse().unwrap(), port);
            for count in [1, 3] {
                let refused = bind(second, count).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{host}, then {other} × {count}");
            }
            drop(listeners);
            assert!(bind(second, 3).is_ok(), "{host} has gone, {other} is free");
        }
    }

    #[test]
    fn of_servers_that_start_at_one_moment_at_most_one_has_the_port() {
        const STARTERS: usize = 8;
        for _ in 0..50 {
            let port = bind(any_port("127.0.0.1"), 1).unwrap()[0].local_addr().unwrap();
            let together = Barrier::new(STARTERS);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    together.wait();
                    bind(port, 2).ok()
                };
                let starters: Vec<_> = (0..STARTERS).map(|_| scope.spawn(start)).collect();
                starters.into_iter().filter_map(|starter| starter.join().unwrap()).collect()
            });
            assert!(bound.len() <= 1, "{} have it", bound.len());
        }
    }

    #[test]
    fn every_listener_of_a_server_gets_connections() {
        let listeners = bind(any_port("127.0.0.1"), 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        // None of three is left out by chance once in 10^35.
        let _clients: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(listeners.iter().all(|listener| listener.accept().is_ok()));
    }

    #[test]
    fn a_server_comes_back_to_the_port_of_connections_that_have_not_ended() {
        let listeners = bind(any_port("127.0.0.1"), 1).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (_accepted, _) = listeners[0].accept().unwrap();
        drop(listeners);
        assert!(bind(address, 2).is_ok());
    }
}
