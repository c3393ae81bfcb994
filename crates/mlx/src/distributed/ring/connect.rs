//! How a ring is formed: each rank listens at its own addresses, connects to those of the next rank, and says hello.
//!
//! MLX's own ranks make one connection for each address and nothing more. Ranks of this crate then make another one to
//! the first address, for hellos and for what went wrong, which an MLX rank refuses: its listener is closed by then. So
//! each rank knows whether a neighbor checks what it is sent, and both kinds meet in one ring.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::hosts::Hosts;
use super::neighbor::Neighbor;

/// How long a rank that has been connected to waits for a hello, which follows at once from a rank of this crate.
const HELLO_WAIT: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);
const MAGIC: [u8; 4] = *b"MLXr";
const HELLO_BYTES: usize = 16;

/// Connects rank `rank` to its neighbors, left and right, within `timeout`.
pub(super) fn connect(
    hosts: &Hosts,
    rank: usize,
    timeout: Duration,
) -> Result<(Neighbor, Neighbor), String> {
    let deadline = Instant::now() + timeout;
    let listeners = listen(&hosts[rank], rank)?;
    connect_from(listeners, hosts, rank, deadline, timeout)
}

/// As [`connect`], with listeners that there are already.
pub(super) fn connect_from(
    listeners: Vec<TcpListener>,
    hosts: &Hosts,
    rank: usize,
    deadline: Instant,
    timeout: Duration,
) -> Result<(Neighbor, Neighbor), String> {
    let size = hosts.len();
    let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);
    let me = Me { rank, size };
    std::thread::scope(|scope| {
        let right = scope.spawn(|| connect_right(me, next, &hosts[next], deadline));
        let left = accept_left(me, previous, listeners, deadline);
        let right = match right.join() {
            Ok(right) => right,
            Err(_) => Err("a thread that connects panicked".to_owned()),
        };
        // What cannot be reached is the nearer cause.
        let (right, left) = (right?, left?);
        for neighbor in [&left, &right] {
            neighbor
                .set_up(timeout)
                .map_err(|error| format!("a connection cannot be set up: {error}"))?;
        }
        Ok((left, right))
    })
}

#[derive(Clone, Copy)]
struct Me {
    rank: usize,
    size: usize,
}

impl Me {
    fn hello(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&1_u32.to_le_bytes());
        bytes[8..12].copy_from_slice(&u32::try_from(self.rank).unwrap_or(u32::MAX).to_le_bytes());
        bytes[12..].copy_from_slice(&u32::try_from(self.size).unwrap_or(u32::MAX).to_le_bytes());
        bytes
    }

    /// Refuses the hello of another rank than the expected one, or of a group of another size.
    fn check(self, hello: &[u8; HELLO_BYTES], expected: usize) -> Result<(), String> {
        let number = |at: usize| {
            u32::from_le_bytes([hello[at], hello[at + 1], hello[at + 2], hello[at + 3]]) as usize
        };
        if hello[..4] != MAGIC || number(4) != 1 {
            return Err(format!(
                "who answers at the address of rank {expected} is no rank of a ring, or of another version"
            ));
        }
        if (number(8), number(12)) != (expected, self.size) {
            return Err(format!(
                "host files differ: wanted rank {expected} of {}, got a connection of rank {} of {}",
                self.size,
                number(8),
                number(12)
            ));
        }
        Ok(())
    }
}

pub(super) fn listen(addresses: &[SocketAddr], rank: usize) -> Result<Vec<TcpListener>, String> {
    addresses
        .iter()
        .map(|address| {
            let listener = TcpListener::bind(address)
                .map_err(|error| format!("rank {rank} cannot listen at {address}: {error}"))?;
            listener
                .set_nonblocking(true)
                .map_err(|error| format!("rank {rank} cannot wait at {address}: {error}"))?;
            Ok(listener)
        })
        .collect()
}

/// Connects to the next rank: once for each address, and once more to say hello.
fn connect_right(
    me: Me,
    rank: usize,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<Neighbor, String> {
    let mut data = Vec::with_capacity(addresses.len());
    for address in addresses {
        data.push(connect_until(*address, deadline).map_err(|error| {
            format!(
                "rank {} cannot reach rank {rank} at {address}: {error}",
                me.rank
            )
        })?);
    }
    let control = say_hello(me, rank, addresses[0], deadline)?;
    Ok(Neighbor::new(rank, data, control))
}

fn connect_until(address: SocketAddr, deadline: Instant) -> std::io::Result<TcpStream> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match TcpStream::connect_timeout(&address, left.max(PAUSE)) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(error);
        }
        std::thread::sleep(PAUSE * 4);
    }
}

/// Returns a connection for control, or nothing when the rank is MLX's own and has none.
fn say_hello(
    me: Me,
    rank: usize,
    address: SocketAddr,
    deadline: Instant,
) -> Result<Option<TcpStream>, String> {
    let left = || {
        deadline
            .saturating_duration_since(Instant::now())
            .max(PAUSE)
    };
    let answer = (|| {
        let mut control = TcpStream::connect_timeout(&address, left())?;
        control.set_read_timeout(Some(left()))?;
        control.write_all(&me.hello())?;
        let mut answer = [0; HELLO_BYTES];
        control.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>((control, answer))
    })();
    match answer {
        Ok((control, answer)) => {
            me.check(&answer, rank)?;
            Ok(Some(control))
        }
        Err(error) if is_silence(&error) => {
            Err(format!("rank {rank} at {address} did not answer in time"))
        }
        Err(_) => Ok(None),
    }
}

/// Whether a deadline has passed.
pub(super) fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Waits for the previous rank: once for each address, and for its hello.
fn accept_left(
    me: Me,
    rank: usize,
    listeners: Vec<TcpListener>,
    deadline: Instant,
) -> Result<Neighbor, String> {
    let mut data = Vec::with_capacity(listeners.len());
    for listener in &listeners {
        let accepted = accept_until(listener, deadline, || false)?;
        data.push(
            accepted.ok_or_else(|| {
                format!("rank {rank} did not connect to rank {} in time", me.rank)
            })?,
        );
    }
    let until = (Instant::now() + HELLO_WAIT).min(deadline);
    let has_data = || data.iter().any(is_readable);
    let control = match accept_until(&listeners[0], until, has_data)? {
        None => None,
        Some(control) => Some(answer_hello(me, rank, control, deadline)?),
    };
    // Closing the listeners refuses hellos that come later, so that both sides know what this rank has found.
    drop(listeners);
    Ok(Neighbor::new(rank, data, control))
}

/// Accepts a connection before the deadline, and before `is_over`.
fn accept_until(
    listener: &TcpListener,
    deadline: Instant,
    is_over: impl Fn() -> bool,
) -> Result<Option<TcpStream>, String> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream
                    .set_nonblocking(false)
                    .map_err(|error| format!("a connection cannot be set up: {error}"))?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("a connection was not accepted: {error}")),
        }
        if is_over() || Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a neighbor has sent something already: an MLX rank, as ranks of this crate say hello first.
fn is_readable(stream: &TcpStream) -> bool {
    let readable = stream
        .set_nonblocking(true)
        .and_then(|()| stream.peek(&mut [0]));
    let _ = stream.set_nonblocking(false);
    matches!(readable, Ok(n) if n > 0)
}

fn answer_hello(
    me: Me,
    rank: usize,
    mut control: TcpStream,
    deadline: Instant,
) -> Result<TcpStream, String> {
    let mut hello = [0; HELLO_BYTES];
    let left = deadline
        .saturating_duration_since(Instant::now())
        .max(PAUSE);
    let met = control
        .set_read_timeout(Some(left))
        .and_then(|()| control.read_exact(&mut hello))
        // The other side finds out by the answer what is wrong.
        .and_then(|()| control.write_all(&me.hello()));
    met.map_err(|error| format!("rank {rank} connected and did not say hello: {error}"))?;
    me.check(&hello, rank)?;
    Ok(control)
}
