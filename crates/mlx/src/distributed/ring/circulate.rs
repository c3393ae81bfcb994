//! How blocks go round a ring: each rank sends one to a neighbor while it receives the next from the other.
//!
//! Bytes follow each other as MLX's ring sends them. Packets are only what is combined at a time.

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::reduce::Combine;
use super::neighbor::{Fault, read, write};

/// Blocks of at most this many bytes are sent and received in turn by one thread: the system buffers that much.
const IN_TURN_BYTES: usize = 32 << 10;
/// What is combined and passed on at a time; a multiple of every element's size.
const PACKET_BYTES: usize = 256 << 10;

/// One way round, over one connection to each neighbor.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) to: (&'a TcpStream, usize),
    pub(super) from: (&'a TcpStream, usize),
    /// The block after this one is `1` further (blocks go to the left) or `-1` (to the right).
    pub(super) step: isize,
}

/// What happens to blocks on their way.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// The block that this rank sends first.
    pub(super) start: usize,
    /// Whether each rank adds its own block to the one that it receives, for one turn.
    pub(super) reduce: Option<Combine>,
    /// Whether blocks go round as they are, for one turn after that.
    pub(super) gather: bool,
}

/// What is done with a block that arrives.
struct Arrival {
    block: usize,
    combine: Option<Combine>,
    is_sent_on: bool,
}

impl Plan {
    /// The blocks in the order in which they arrive, for `size` ranks.
    fn arrivals(self, size: usize, step: isize) -> Vec<Arrival> {
        let mut block = self.start;
        let mut next = || {
            block = (block + size).wrapping_add_signed(step) % size;
            block
        };
        let mut arrivals = Vec::with_capacity(2 * size);
        if let Some(combine) = self.reduce {
            for turn in 1..size {
                arrivals.push(Arrival {
                    block: next(),
                    combine: Some(combine),
                    is_sent_on: turn + 1 < size || self.gather,
                });
            }
        }
        if self.gather {
            for turn in 1..size {
                arrivals.push(Arrival {
                    block: next(),
                    combine: None,
                    is_sent_on: turn + 1 < size,
                });
            }
        }
        arrivals
    }
}

/// Sends blocks round: there are as many as ranks. `abort` wakes whatever waits for a neighbor.
pub(super) fn circulate(
    route: Route<'_>,
    mut blocks: Vec<&mut [u8]>,
    plan: Plan,
    abort: &(dyn Fn() + Sync),
) -> Result<(), Fault> {
    let longest = blocks.iter().map(|block| block.len()).max().unwrap_or(0);
    let result = if longest <= IN_TURN_BYTES {
        in_turn(route, &mut blocks, plan)
    } else {
        overlapped(route, blocks, plan, abort)
    };
    result.inspect_err(|_| abort())
}

fn in_turn(route: Route<'_>, blocks: &mut [&mut [u8]], plan: Plan) -> Result<(), Fault> {
    let ((to, to_rank), (from, from_rank)) = (route.to, route.from);
    let mut arrived = Vec::new();
    write(to, to_rank, blocks[plan.start])?;
    for arrival in plan.arrivals(blocks.len(), route.step) {
        let block = &mut *blocks[arrival.block];
        match arrival.combine {
            None => read(from, from_rank, block)?,
            Some(combine) => {
                arrived.resize(block.len(), 0);
                read(from, from_rank, &mut arrived)?;
                combine.apply(block, &arrived);
            }
        }
        if arrival.is_sent_on {
            write(to, to_rank, block)?;
        }
    }
    Ok(())
}

/// A part of a block, with its place.
type Packet<'a> = (usize, usize, &'a mut [u8]);

/// One thread sends what the other has received, packet by packet. A packet belongs to one of them at a time.
fn overlapped(
    route: Route<'_>,
    blocks: Vec<&mut [u8]>,
    plan: Plan,
    abort: &(dyn Fn() + Sync),
) -> Result<(), Fault> {
    let (to, to_rank) = route.to;
    std::thread::scope(|scope| {
        let (sender, queue) = channel::<Packet<'_>>();
        let (sent, back) = channel::<Packet<'_>>();
        let sending = scope.spawn(move || {
            for (block, number, bytes) in queue {
                write(to, to_rank, bytes).inspect_err(|_| abort())?;
                // The receiver may need nothing back any more.
                let _ = sent.send((block, number, bytes));
            }
            Ok(())
        });
        let received = receive(route, blocks, plan, (sender, back));
        if received.is_err() {
            abort();
        }
        let sent = sending
            .join()
            .unwrap_or_else(|_| Err(Fault::Found("a thread that sends has panicked".to_owned())));
        // Where sending failed first, receiving failed because of it.
        match (sent, received) {
            (Err(fault), Err(None)) => Err(fault),
            (_, Err(Some(fault))) | (Err(fault), Ok(())) => Err(fault),
            (Ok(()), Err(None)) => Err(Fault::Found("sending has stopped".to_owned())),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
}

/// Receives blocks and queues them to be sent on. An error without a fault is that of the sender.
fn receive<'a>(
    route: Route<'_>,
    blocks: Vec<&'a mut [u8]>,
    plan: Plan,
    (sender, back): (Sender<Packet<'a>>, Receiver<Packet<'a>>),
) -> Result<(), Option<Fault>> {
    let (from, from_rank) = route.from;
    let size = blocks.len();
    let mut here: Vec<Vec<Option<&mut [u8]>>> = blocks
        .into_iter()
        .map(|block| block.chunks_mut(PACKET_BYTES).map(Some).collect())
        .collect();
    for (number, bytes) in here[plan.start].iter_mut().enumerate() {
        if let Some(bytes) = bytes.take() {
            sender.send((plan.start, number, bytes)).map_err(|_| None)?;
        }
    }
    let mut arrived = vec![0; PACKET_BYTES];
    for arrival in plan.arrivals(size, route.step) {
        for number in 0..here[arrival.block].len() {
            while here[arrival.block][number].is_none() {
                let (block, number, bytes) = back.recv().map_err(|_| None)?;
                here[block][number] = Some(bytes);
            }
            let Some(bytes) = here[arrival.block][number].take() else {
                continue;
            };
            match arrival.combine {
                None => read(from, from_rank, bytes)?,
                Some(combine) => {
                    let arrived = &mut arrived[..bytes.len()];
                    read(from, from_rank, arrived)?;
                    combine.apply(bytes, arrived);
                }
            }
            if arrival.is_sent_on {
                sender
                    .send((arrival.block, number, bytes))
                    .map_err(|_| None)?;
            } else {
                here[arrival.block][number] = Some(bytes);
            }
        }
    }
    Ok(())
}
