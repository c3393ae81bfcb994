//! The connections to one neighbor, and what goes wrong with them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::connect::is_silence;
use crate::Dtype;
use crate::ffi::distributed::CollectiveCall;

/// How long a neighbor that failed is given to say why.
pub(super) const REPORT_WAIT: Duration = Duration::from_secs(2);
const REPORT_MAGIC: [u8; 4] = *b"MLXe";
/// A report is a sentence or two.
const MAX_REPORT_BYTES: usize = 1 << 14;
/// More axes than that are compared by their number only.
const HEADER_AXES: usize = 12;
const HEADER_BYTES: usize = 16 + 4 * HEADER_AXES;
const HEADER_MAGIC: [u8; 4] = *b"MLXc";

/// A neighboring rank.
pub(super) struct Neighbor {
    pub(super) rank: usize,
    /// One for each address, both ways.
    pub(super) data: Vec<TcpStream>,
    /// Of ranks of this crate only.
    control: Option<TcpStream>,
}

/// Why a communication failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A connection to this rank did.
    Connection(usize, std::io::Error),
    /// What this rank has found out.
    Found(String),
}

impl Neighbor {
    pub(super) fn new(rank: usize, data: Vec<TcpStream>, control: Option<TcpStream>) -> Self {
        Self {
            rank,
            data,
            control,
        }
    }

    /// Sends at once, and waits for at most `timeout` without progress.
    pub(super) fn set_up(&self, timeout: Duration) -> std::io::Result<()> {
        for stream in &self.data {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
        }
        if let Some(control) = &self.control {
            control.set_read_timeout(Some(REPORT_WAIT))?;
            control.set_write_timeout(Some(REPORT_WAIT))?;
        }
        Ok(())
    }

    /// Whether the neighbor says what it communicates before it does.
    pub(super) fn is_checked(&self) -> bool {
        self.control.is_some()
    }

    /// Says what this rank communicates, to a neighbor that compares.
    pub(super) fn announce(&self, call: &CollectiveCall<'_>) -> Result<(), Fault> {
        if !self.is_checked() {
            return Ok(());
        }
        self.write(0, &header(call))
    }

    /// Reads what the neighbor communicates and compares, if it says so.
    pub(super) fn check(&self, call: &CollectiveCall<'_>, me: usize) -> Result<(), Fault> {
        if !self.is_checked() {
            return Ok(());
        }
        let mut theirs = [0; HEADER_BYTES];
        self.read(0, &mut theirs)?;
        let mut expected = header(call);
        // What one sends the other receives.
        expected[4] = counterpart(expected[4]);
        if theirs == expected {
            return Ok(());
        }
        Err(Fault::Found(format!(
            "ranks differ: rank {me} calls {}, rank {} calls {}",
            describe(&header(call)),
            self.rank,
            describe(&theirs)
        )))
    }

    pub(super) fn write(&self, socket: usize, bytes: &[u8]) -> Result<(), Fault> {
        write(&self.data[socket], self.rank, bytes)
    }

    pub(super) fn read(&self, socket: usize, bytes: &mut [u8]) -> Result<(), Fault> {
        read(&self.data[socket], self.rank, bytes)
    }

    /// Tells the neighbor why this rank ends the group.
    pub(super) fn report(&self, why: &str) {
        if let Some(control) = &self.control {
            let text = &why.as_bytes()[..why.len().min(MAX_REPORT_BYTES)];
            let mut frame = REPORT_MAGIC.to_vec();
            frame.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
            frame.extend_from_slice(text);
            let mut control = control;
            // A neighbor that is gone needs no reason.
            let _ = control.write_all(&frame);
        }
    }

    /// Reads why the neighbor ended the group, if it said so.
    pub(super) fn reason(&self) -> Option<String> {
        let mut control = self.control.as_ref()?;
        let mut head = [0; 8];
        control.read_exact(&mut head).ok()?;
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[..4] != REPORT_MAGIC || len > MAX_REPORT_BYTES {
            return None;
        }
        let mut text = vec![0; len];
        control.read_exact(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Ends all that waits for the neighbor, on both sides. Reports that are on their way still arrive.
    pub(super) fn shut_down(&self) {
        for stream in &self.data {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Says that no report will follow.
    pub(super) fn close(&self) {
        self.shut_down();
        if let Some(control) = &self.control {
            let _ = control.shutdown(Shutdown::Write);
        }
    }
}

pub(super) fn write(mut stream: &TcpStream, rank: usize, bytes: &[u8]) -> Result<(), Fault> {
    stream
        .write_all(bytes)
        .map_err(|error| Fault::Connection(rank, error))
}

pub(super) fn read(mut stream: &TcpStream, rank: usize, bytes: &mut [u8]) -> Result<(), Fault> {
    stream
        .read_exact(bytes)
        .map_err(|error| Fault::Connection(rank, error))
}

impl Fault {
    /// What happened, in a sentence.
    pub(super) fn text(&self, timeout: Duration) -> String {
        match self {
            Fault::Found(text) => text.clone(),
            Fault::Connection(rank, error) if is_silence(error) => {
                format!("nothing went to or came from rank {rank} for {timeout:?}")
            }
            Fault::Connection(rank, error) => match error.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::NotConnected
                | ErrorKind::WriteZero
                | ErrorKind::BrokenPipe => format!("the connection to rank {rank} was lost"),
                _ => format!("the connection to rank {rank} failed: {error}"),
            },
        }
    }
}

/// What is communicated, as neighbors tell each other before they do.
fn header(call: &CollectiveCall<'_>) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&HEADER_MAGIC);
    bytes[4] = call.kind as u8;
    bytes[5] = call.dtype as u8;
    bytes[6] = u8::try_from(call.shape.len()).unwrap_or(u8::MAX);
    for (place, size) in bytes[16..].chunks_exact_mut(4).zip(call.shape) {
        place.copy_from_slice(&size.to_le_bytes());
    }
    bytes
}

const KINDS: [&str; 7] = [
    "all_sum",
    "all_max",
    "all_min",
    "all_gather",
    "sum_scatter",
    "send",
    "recv",
];

/// The kind that the other side of a communication has.
fn counterpart(kind: u8) -> u8 {
    match kind {
        5 => 6,
        6 => 5,
        kind => kind,
    }
}

fn describe(header: &[u8; HEADER_BYTES]) -> String {
    let (Some(kind), Some(dtype)) = (
        KINDS.get(usize::from(header[4])),
        Dtype::ALL.get(usize::from(header[5])),
    ) else {
        return "nothing that is known".to_owned();
    };
    if header[..4] != HEADER_MAGIC {
        return "nothing that is known".to_owned();
    }
    let axes = header[16..].chunks_exact(4).take(usize::from(header[6]));
    let shape: Vec<i32> = axes
        .map(|size| i32::from_le_bytes([size[0], size[1], size[2], size[3]]))
        .collect();
    format!("{kind} of {}{shape:?}", dtype.name())
}
