//! The backend `mpi`: Open MPI's own communication, in the calls that MLX makes, so that Python ranks and ours meet.
//!
//! MLX's backend ends the process when truth values are added up, has no `sum_scatter`, and ignores what MPI says
//! (decision 0038). Here these work, and an error of MPI is one of the evaluation.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::reduce::{Combine, Reduction};
use super::ring::Alone;
use crate::Dtype;
use crate::ffi::distributed::{self, Collective, CollectiveCall, CollectiveKind};
use crate::ffi::mpi::{self, Combination, Communicator, Operator};

/// What launchers that speak to Open MPI tell a process.
const SIGNS_OF_LAUNCHERS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"];

pub(super) use mpi::is_available;

/// Returns whether a launcher of MPI has started this process.
pub(super) fn is_launched() -> bool {
    SIGNS_OF_LAUNCHERS
        .iter()
        .any(|name| std::env::var_os(name).is_some())
}

/// Forms the group of all ranks and gives it its name. Returns their number; one rank forms none.
///
/// Once: after a failure messages of what failed may still be on their way, and would be taken for those of a new group.
pub(super) fn form(name: &str) -> Result<usize, String> {
    static IS_FORMED: AtomicBool = AtomicBool::new(false);
    let world = mpi::world()?;
    let size = world.size;
    if size > 1 {
        if IS_FORMED.swap(true, Ordering::SeqCst) {
            return Err("the group of MPI has failed: its ranks must be started anew".to_owned());
        }
        register(name, world)?;
    }
    Ok(size)
}

fn register(name: &str, communicator: Communicator) -> Result<(), String> {
    let (rank, size) = (communicator.rank, communicator.size);
    let group = Processes {
        name: name.to_owned(),
        communicator,
        failure: Mutex::new(None),
        splits: AtomicUsize::new(0),
    };
    distributed::register(name, rank, size, group).map_err(|error| error.0)
}

/// The ranks of a communicator.
struct Processes {
    name: String,
    communicator: Communicator,
    /// Why nothing is communicated any more. Held while something is.
    failure: Mutex<Option<String>>,
    /// How many parts the group was split into before.
    splits: AtomicUsize,
}

impl Collective for Processes {
    fn run(&self, call: CollectiveCall<'_>) -> Result<(), String> {
        let kind = call.kind.name();
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &*failure {
            return Err(format!("{kind}: the group {} has failed: {why}", self.name));
        }
        self.communicate(call).map_err(|why| {
            distributed::retire(&self.name);
            *failure = Some(why.clone());
            format!("{kind}: {why}")
        })
    }

    fn split(&self, color: i32, key: i32) -> Result<String, String> {
        // MPI takes one communication of a group at a time.
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &*failure {
            return Err(format!("the group {} has failed: {why}", self.name));
        }
        let rank = i32::try_from(self.communicator.rank).unwrap_or(i32::MAX);
        let part = self
            .communicator
            .split(color, if key < 0 { rank } else { key })?;
        let number = self.splits.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("{}/{number}:{color}", self.name);
        if part.size == 1 {
            distributed::register(&name, 0, 1, Alone).map_err(|error| error.0)?;
        } else {
            register(&name, part)?;
        }
        Ok(name)
    }
}

impl Processes {
    fn communicate(&self, call: CollectiveCall<'_>) -> Result<(), String> {
        let (world, dtype) = (&self.communicator, call.dtype);
        let reduce = |reduction, call: CollectiveCall<'_>| {
            let operator = operator_of(reduction, dtype);
            world.all_reduce(operator, dtype, call.input, call.output)
        };
        match call.kind {
            CollectiveKind::AllSum => reduce(Reduction::Sum, call),
            CollectiveKind::AllMax => reduce(Reduction::Max, call),
            CollectiveKind::AllMin => reduce(Reduction::Min, call),
            CollectiveKind::AllGather => {
                world.all_gather(dtype, call.input.unwrap_or(&[]), call.output)
            }
            CollectiveKind::SumScatter => {
                let operator = operator_of(Reduction::Sum, dtype);
                world.reduce_scatter(operator, dtype, call.input.unwrap_or(&[]), call.output)
            }
            CollectiveKind::Send => world.send(dtype, call.input.unwrap_or(&[]), call.peer),
            CollectiveKind::Recv => world.receive(dtype, call.output, call.peer),
        }
    }
}

/// The operator of this crate for a reduction and a dtype, which may be one of several.
macro_rules! own {
    ($reduction:ident, $dtype:ident) => {{
        struct Own;
        impl Combination for Own {
            const DTYPE: Dtype = Dtype::$dtype;
            fn combine(into: &mut [u8], from: &[u8]) {
                let reduction = Reduction::$reduction;
                let dtype = Self::DTYPE;
                Combine { reduction, dtype }.apply(into, from);
            }
        }
        mpi::operator::<Own>()
    }};
    ($reduction:ident, $value:expr, [$($dtype:ident)*]) => {
        match $value {
            $(Dtype::$dtype => own!($reduction, $dtype),)*
        }
    };
    ($reduction:ident of $value:expr) => {
        own!($reduction, $value, [
            Bool Uint8 Uint16 Uint32 Uint64 Int8 Int16 Int32 Int64 Float16 Bfloat16 Float32 Float64 Complex64
        ])
    };
}

/// MPI's sums where it has them, and otherwise those of the ring: MPI adds no truth values and no half precision, orders no
/// complex numbers, and loses NaN in maxima.
fn operator_of(reduction: Reduction, dtype: Dtype) -> Operator {
    match (reduction, dtype) {
        (Reduction::Sum, Dtype::Bool) => own!(Sum, Bool),
        (Reduction::Sum, Dtype::Float16) => own!(Sum, Float16),
        (Reduction::Sum, Dtype::Bfloat16) => own!(Sum, Bfloat16),
        (Reduction::Sum, _) => Operator::Sum,
        (Reduction::Max, dtype) => own!(Max of dtype),
        (Reduction::Min, dtype) => own!(Min of dtype),
    }
}
