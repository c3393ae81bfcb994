//! The backend `ring`: a ring over TCP that speaks as MLX's own does, and reports what goes wrong.
//!
//! MLX's ring waits forever for a rank that is missing, adds arrays of different shapes, and leaves a rank whose neighbor
//! died waiting (decision 0038). Here every wait ends, neighbors compare what they communicate, and a rank that fails says
//! why to its neighbors, which pass it on.

mod circulate;
mod connect;
mod hosts;
mod neighbor;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::circulate::{Plan, Route, circulate};
use self::neighbor::{Fault, Neighbor, REPORT_WAIT};
use super::reduce::{Combine, Reduction};
use crate::Dtype;
use crate::ffi::distributed::{self, Collective, CollectiveCall, CollectiveKind};

/// As in MLX: what is divided among connections has at least this many bytes for each.
const MIN_SEND_BYTES: usize = 262_144;
/// As in MLX.
const MIN_SEGMENT_BYTES: usize = 1024;

/// Where a ring's ranks are, before it is formed.
pub(super) struct Members {
    hosts: hosts::Hosts,
    rank: usize,
}

/// A formed ring.
pub(super) struct Ring {
    name: String,
    rank: usize,
    size: usize,
    timeout: Duration,
    hosts: hosts::Hosts,
    state: Mutex<State>,
}

struct State {
    left: Neighbor,
    right: Neighbor,
    /// Why nothing is communicated any more.
    failure: Option<String>,
    /// How many parts the group was split into before.
    splits: usize,
}

impl Members {
    /// The ranks of a host file, or of hosts that are given, and which of them this process is.
    pub(super) fn new(
        hosts: Option<&[Vec<String>]>,
        file: Option<&Path>,
        rank: &str,
    ) -> Result<Self, String> {
        let read;
        let hosts = match (hosts, file) {
            (Some(hosts), _) => hosts,
            (None, Some(file)) => {
                read = hosts::read(file)?;
                &read
            }
            (None, None) => return Err("there is no host file".to_owned()),
        };
        if hosts.is_empty() {
            return Err("there must be at least one rank among the hosts, got none".to_owned());
        }
        Ok(Self {
            hosts: hosts::resolve(hosts)?,
            rank: hosts::rank_from(rank, hosts.len())?,
        })
    }

    pub(super) fn size(&self) -> usize {
        self.hosts.len()
    }

    /// Waits for the neighbors and gives the ring its name. With one rank there is nobody to wait for.
    pub(super) fn form(self, name: &str, timeout: Duration) -> Result<(), String> {
        let (left, right) = connect::connect(&self.hosts, self.rank, timeout)?;
        register(name, self, (left, right), timeout)
    }
}

fn register(
    name: &str,
    members: Members,
    (left, right): (Neighbor, Neighbor),
    timeout: Duration,
) -> Result<(), String> {
    let (rank, size) = (members.rank, members.size());
    let ring = Ring {
        name: name.to_owned(),
        rank,
        size,
        timeout,
        hosts: members.hosts,
        state: Mutex::new(State {
            left,
            right,
            failure: None,
            splits: 0,
        }),
    };
    distributed::register(name, rank, size, ring).map_err(|error| error.0)
}

impl Collective for Ring {
    fn run(&self, call: CollectiveCall<'_>) -> Result<(), String> {
        let kind = call.kind.name();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &state.failure {
            return Err(format!("{kind}: the group {} has failed: {why}", self.name));
        }
        self.communicate(&state, call)
            .map_err(|fault| format!("{kind}: {}", self.fail(&mut state, &fault)))
    }

    fn split(&self, color: i32, key: i32) -> Result<String, String> {
        let key = if key < 0 { to_i32(self.rank) } else { key };
        // An address of this rank's own machine with a port that nobody else has.
        let mut own = self.hosts[self.rank][0];
        own.set_port(0);
        let listeners = connect::listen(&[own], self.rank)?;
        let port = listeners[0]
            .local_addr()
            .map_err(|error| error.to_string())?;
        let mine = [color, key, i32::from(port.port())];
        let all = self.gather(mine)?;
        let mut members: Vec<(i32, usize)> = (0..self.size)
            .filter(|&rank| all[rank][0] == color)
            .map(|rank| (all[rank][1], rank))
            .collect();
        members.sort_unstable();
        let rank = members.iter().position(|&(_, rank)| rank == self.rank);
        let rank = rank.ok_or_else(|| "this rank is in no part".to_owned())?;
        let hosts: hosts::Hosts = members
            .iter()
            .map(|&(_, member)| {
                let address = self.hosts[member][0];
                let port = u16::try_from(all[member][2]).unwrap_or(0);
                vec![SocketAddr::new(address.ip(), port)]
            })
            .collect();
        let name = self.next_part(color);
        if hosts.len() == 1 {
            distributed::register(&name, 0, 1, Alone).map_err(|error| error.0)?;
            return Ok(name);
        }
        let deadline = Instant::now() + self.timeout;
        let neighbors = connect::connect_from(listeners, &hosts, rank, deadline, self.timeout)?;
        register(&name, Members { hosts, rank }, neighbors, self.timeout)?;
        Ok(name)
    }
}

/// A group of one: MLX communicates nothing in it.
pub(super) struct Alone;

impl Collective for Alone {
    fn run(&self, call: CollectiveCall<'_>) -> Result<(), String> {
        Err(format!(
            "{}: a group of 1 rank has nobody to communicate with",
            call.kind.name()
        ))
    }

    fn split(&self, _color: i32, _key: i32) -> Result<String, String> {
        Err("a group of 1 rank cannot be split".to_owned())
    }
}

impl Ring {
    /// The same on all ranks of a part: how often the group was split, and the color.
    fn next_part(&self, color: i32) -> String {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.splits += 1;
        format!("{}/{}:{color}", self.name, state.splits)
    }

    /// Gathers three numbers of each rank, outside of any stream.
    fn gather(&self, mine: [i32; 3]) -> Result<Vec<[i32; 3]>, String> {
        let input: Vec<u8> = mine
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        let mut output = vec![0; input.len() * self.size];
        self.run(CollectiveCall {
            kind: CollectiveKind::AllGather,
            peer: 0,
            dtype: Dtype::Int32,
            shape: &[3],
            input: Some(&input),
            output: &mut output,
        })?;
        let (numbers, _) = output.as_chunks::<4>();
        let (all, _) = numbers.as_chunks::<3>();
        Ok(all
            .iter()
            .map(|three| three.map(i32::from_ne_bytes))
            .collect())
    }

    /// Ends the group on this rank, and tells the neighbors why. Returns what happened.
    ///
    /// A neighbor whose connection failed may have a reason, which it may have from its own other neighbor: that is the
    /// nearer cause, and is passed on. Ranks that wait for each other in a row all fail at the same time, so that each
    /// says at once what it has seen, and says more when it knows more.
    fn fail(&self, state: &mut State, fault: &Fault) -> String {
        let both = [&state.left, &state.right];
        both.iter().for_each(|neighbor| neighbor.shut_down());
        let mut text = fault.text(self.timeout);
        let mut passed_on = format!("{text} (on rank {})", self.rank);
        let lost = match fault {
            Fault::Connection(rank, _) => Some(*rank),
            Fault::Found(_) => None,
        };
        let is_lost = |neighbor: &&&Neighbor| Some(neighbor.rank) == lost;
        let tell = |text: &str| {
            let others = both.iter().filter(|neighbor| !is_lost(neighbor));
            others.for_each(|neighbor| neighbor.report(text));
        };
        tell(&passed_on);
        let until = Instant::now() + REPORT_WAIT;
        for neighbor in both.iter().filter(is_lost) {
            while let Some(reason) = neighbor.reason().filter(|_| Instant::now() < until) {
                tell(&reason);
                text.clone_from(&reason);
                passed_on = reason;
            }
        }
        for neighbor in both.iter().filter(is_lost) {
            neighbor.report(&passed_on);
        }
        both.iter().for_each(|neighbor| neighbor.close());
        distributed::retire(&self.name);
        state.failure = Some(text.clone());
        text
    }

    fn communicate(&self, state: &State, call: CollectiveCall<'_>) -> Result<(), Fault> {
        match call.kind {
            CollectiveKind::Send => return self.send(state, &call),
            CollectiveKind::Recv => return self.recv(state, call),
            _ => {}
        }
        state.right.announce(&call)?;
        state.left.check(&call, self.rank)?;
        match call.kind {
            CollectiveKind::AllGather => self.all_gather(state, call),
            CollectiveKind::SumScatter => self.sum_scatter(state, call),
            CollectiveKind::AllMax => self.all_reduce(state, call, Reduction::Max),
            CollectiveKind::AllMin => self.all_reduce(state, call, Reduction::Min),
            _ => self.all_reduce(state, call, Reduction::Sum),
        }
    }

    fn all_reduce(
        &self,
        state: &State,
        call: CollectiveCall<'_>,
        reduction: Reduction,
    ) -> Result<(), Fault> {
        let dtype = call.dtype;
        let plan = Plan {
            start: self.rank,
            reduce: Some(Combine { reduction, dtype }),
            gather: true,
        };
        let abort = || state.shut_down();
        let output = call.output;
        if let Some(input) = call.input {
            output.copy_from_slice(input);
        }
        let elements = output.len() / dtype.size();
        if elements < self.size {
            // One element for each rank, as MLX does it.
            let mut padded = vec![0; self.size * dtype.size()];
            padded[..output.len()].copy_from_slice(output);
            let blocks = padded.chunks_mut(dtype.size()).collect();
            circulate(state.route(1), blocks, plan, &abort)?;
            output.copy_from_slice(&padded[..output.len()]);
            return Ok(());
        }
        let most = output.len() / (self.size * MIN_SEND_BYTES);
        let channels = state.routes().min(most).max(1);
        let step = elements.div_ceil(channels) * dtype.size();
        let parts = split_into(output, step);
        each_channel(parts, |channel, part| {
            let segment = (part.len() / dtype.size()).div_ceil(self.size) * dtype.size();
            let mut blocks = split_into(part, segment);
            blocks.resize_with(self.size, || &mut []);
            circulate(state.route(channel), blocks, plan, &abort)
        })
    }

    fn all_gather(&self, state: &State, call: CollectiveCall<'_>) -> Result<(), Fault> {
        let bytes = call.output.len() / self.size;
        if bytes == 0 {
            return Ok(());
        }
        let mut rows: Vec<&mut [u8]> = call.output.chunks_mut(bytes).collect();
        if let Some(input) = call.input {
            rows[self.rank].copy_from_slice(input);
        }
        let channels = state.routes().min(bytes / MIN_SEND_BYTES).max(1);
        let step = bytes.div_ceil(channels);
        // Each channel sends its part of every rank's array.
        let mut parts: Vec<Vec<&mut [u8]>> = Vec::new();
        for row in rows {
            for (channel, part) in row.chunks_mut(step).enumerate() {
                match parts.get_mut(channel) {
                    Some(blocks) => blocks.push(part),
                    None => parts.push(vec![part]),
                }
            }
        }
        let plan = Plan {
            start: self.rank,
            reduce: None,
            gather: true,
        };
        let abort = || state.shut_down();
        each_channel(parts, |channel, blocks| {
            circulate(state.route(channel), blocks, plan, &abort)
        })
    }

    /// The first half of a sum, after which this rank has its own block.
    fn sum_scatter(&self, state: &State, call: CollectiveCall<'_>) -> Result<(), Fault> {
        let Some(input) = call.input else {
            return Err(Fault::Found("the input is missing".to_owned()));
        };
        let bytes = call.output.len();
        if bytes == 0 {
            return Ok(());
        }
        let mut sums = input.to_vec();
        let plan = Plan {
            start: (self.rank + 1) % self.size,
            reduce: Some(Combine {
                reduction: Reduction::Sum,
                dtype: call.dtype,
            }),
            gather: false,
        };
        let blocks = sums.chunks_mut(bytes).collect();
        circulate(state.route(0), blocks, plan, &|| state.shut_down())?;
        call.output
            .copy_from_slice(&sums[self.rank * bytes..][..bytes]);
        Ok(())
    }

    fn send(&self, state: &State, call: &CollectiveCall<'_>) -> Result<(), Fault> {
        // Of two ranks each is on both sides of the other: then to the right, and from the left.
        let neighbor = if call.peer == state.right.rank {
            &state.right
        } else {
            &state.left
        };
        neighbor.announce(call)?;
        let input = call.input.unwrap_or(&[]);
        let segment = MIN_SEGMENT_BYTES.max(input.len().div_ceil(neighbor.data.len()));
        let parts: Vec<&[u8]> = input.chunks(segment).collect();
        each_channel(parts, |socket, part| neighbor.write(socket, part))
    }

    fn recv(&self, state: &State, call: CollectiveCall<'_>) -> Result<(), Fault> {
        let neighbor = if call.peer == state.left.rank {
            &state.left
        } else {
            &state.right
        };
        neighbor.check(&call, self.rank)?;
        let segment = MIN_SEGMENT_BYTES.max(call.output.len().div_ceil(neighbor.data.len()));
        let parts: Vec<&mut [u8]> = call.output.chunks_mut(segment).collect();
        each_channel(parts, |socket, part| neighbor.read(socket, part))
    }
}

impl State {
    /// How many ways there are round the ring: two for each connection.
    fn routes(&self) -> usize {
        self.left.data.len() + self.right.data.len()
    }

    /// Even ones go to the left, odd ones to the right.
    fn route(&self, number: usize) -> Route<'_> {
        let socket = number / 2;
        let left = (&self.left.data[socket], self.left.rank);
        let right = (&self.right.data[socket], self.right.rank);
        if number.is_multiple_of(2) {
            Route {
                to: left,
                from: right,
                step: 1,
            }
        } else {
            Route {
                to: right,
                from: left,
                step: -1,
            }
        }
    }

    fn shut_down(&self) {
        self.left.shut_down();
        self.right.shut_down();
    }
}

/// Cuts bytes into pieces of `size`; the last one is shorter.
fn split_into(bytes: &mut [u8], size: usize) -> Vec<&mut [u8]> {
    if size == 0 {
        return Vec::new();
    }
    bytes.chunks_mut(size).collect()
}

/// Runs `work` on each part, all at the same time, and returns the first fault.
fn each_channel<T: Send>(
    parts: Vec<T>,
    work: impl Fn(usize, T) -> Result<(), Fault> + Sync,
) -> Result<(), Fault> {
    let mut parts = parts.into_iter().enumerate();
    let Some((_, first)) = parts.next() else {
        return Ok(());
    };
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = parts
            .map(|(number, part)| scope.spawn(move || work(number, part)))
            .collect();
        let mut result = work(0, first);
        for other in others {
            let other = other
                .join()
                .unwrap_or_else(|_| Err(Fault::Found("a thread has panicked".to_owned())));
            result = result.and(other);
        }
        result
    })
}

fn to_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
