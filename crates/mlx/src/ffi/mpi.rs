//! Open MPI's library, opened at run time: communicators and the calls that MLX's own backend makes of it.
//!
//! The library stays open until the process ends. When `exit` is called with success, MPI is finalized; otherwise it is
//! not, by which the launcher knows that the rank has failed, and ends the others. On macOS, where a status is not told at
//! exit, it always is, and a rank that fails waits for the others.

use std::ffi::{OsString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::Library;
use mlx_provision::environment;

use crate::Dtype;

/// `MPI_SUCCESS` of Open MPI, as the following.
const SUCCESS: c_int = 0;
const ANY_TAG: c_int = -1;
const THREAD_MULTIPLE: c_int = 3;
/// The input of a reduction that is in its output.
const IN_PLACE: *const c_void = std::ptr::without_provenance(1);
/// More than `MPI_MAX_ERROR_STRING`.
const TEXT_SIZE: usize = 1024;
/// More than `MPI_MAX_LIBRARY_VERSION_STRING` of every MPI: 8192 in MPICH.
const VERSION_SIZE: usize = 1 << 14;

/// A pointer to an object of the library: a communicator, a datatype or an operator.
#[derive(Clone, Copy)]
struct Object(*mut c_void);

// SAFETY: the objects are the library's, which guards them itself; they are not changed here.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

/// Combines `*count` elements of the second array with those of the first, for MPI.
type RawOperator = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int, *mut *mut c_void);

macro_rules! functions {
    ($($field:ident = $symbol:literal: fn($($argument:ty),*);)*) => {
        /// The functions of the library that are used.
        struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            fn of(library: &Library) -> Result<Self, String> {
                Ok(Self {
                    $(
                        // SAFETY: the type is that of Open MPI's header, whose library this is.
                        $field: *unsafe { library.get(concat!($symbol, "\0").as_bytes()) }
                            .map_err(|error| format!("Open MPI's library has no {}: {error}", $symbol))?,
                    )*
                })
            }
        }
    };
}

functions! {
    init_thread = "MPI_Init_thread": fn(*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int);
    initialized = "MPI_Initialized": fn(*mut c_int);
    finalized = "MPI_Finalized": fn(*mut c_int);
    finalize = "MPI_Finalize": fn();
    query_thread = "MPI_Query_thread": fn(*mut c_int);
    error_string = "MPI_Error_string": fn(c_int, *mut c_char, *mut c_int);
    set_error_handler = "MPI_Comm_set_errhandler": fn(*mut c_void, *mut c_void);
    rank = "MPI_Comm_rank": fn(*mut c_void, *mut c_int);
    size = "MPI_Comm_size": fn(*mut c_void, *mut c_int);
    split = "MPI_Comm_split": fn(*mut c_void, c_int, c_int, *mut *mut c_void);
    create_operator = "MPI_Op_create": fn(RawOperator, c_int, *mut *mut c_void);
    all_reduce = "MPI_Allreduce": fn(*const c_void, *mut c_void, c_int, *mut c_void, *mut c_void, *mut c_void);
    reduce_scatter = "MPI_Reduce_scatter_block": fn(*const c_void, *mut c_void, c_int, *mut c_void, *mut c_void, *mut c_void);
    all_gather = "MPI_Allgather": fn(*const c_void, c_int, *mut c_void, *mut c_void, c_int, *mut c_void, *mut c_void);
    send = "MPI_Send": fn(*const c_void, c_int, *mut c_void, c_int, c_int, *mut c_void);
    receive = "MPI_Recv": fn(*mut c_void, c_int, *mut c_void, c_int, c_int, *mut c_void, *mut c_void);
    count_received = "MPI_Get_count": fn(*const c_void, *mut c_void, *mut c_int);
}

/// The library.
pub(crate) struct Mpi {
    library: Library,
    functions: Functions,
    /// Whether several threads may communicate at the same time.
    is_shared: AtomicBool,
    /// Held during a call where they may not.
    turn: Mutex<()>,
}

/// How elements of two ranks become one, where MPI's own operators do not do it.
pub(crate) trait Combination: 'static {
    /// The type of the elements.
    const DTYPE: Dtype;
    /// Combines each element of `into` with that of `from` in its place.
    fn combine(into: &mut [u8], from: &[u8]);
}

/// How ranks' elements become one.
#[derive(Clone, Copy)]
pub(crate) enum Operator {
    /// MPI's sum.
    Sum,
    /// One of this crate.
    Own(RawOperator),
}

/// Returns the operator of a combination.
pub(crate) fn operator<T: Combination>() -> Operator {
    Operator::Own(combine::<T>)
}

/// # Safety
/// MPI gives two arrays of `*count` elements that nobody else uses.
unsafe extern "C" fn combine<T: Combination>(
    from: *mut c_void,
    into: *mut c_void,
    count: *mut c_int,
    _dtype: *mut *mut c_void,
) {
    // SAFETY: the caller's.
    let count = usize::try_from(unsafe { *count }).unwrap_or(0);
    if count == 0 {
        return;
    }
    let size = count * T::DTYPE.size();
    // SAFETY: the caller's; the operator is used with its own type only.
    let from = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), size) };
    // SAFETY: as above.
    let into = unsafe { std::slice::from_raw_parts_mut(into.cast::<u8>(), size) };
    T::combine(into, from);
}

/// Processes that communicate.
pub(crate) struct Communicator {
    mpi: &'static Mpi,
    handle: Object,
    pub(crate) rank: usize,
    pub(crate) size: usize,
}

/// Calls of MPI that run now; at exit it is finalized only where there are none.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
/// What [`RUNNING`] is when there may be no call any more.
const FINALIZED: usize = usize::MAX / 2;

/// Returns whether there is a library of Open MPI. MPI is not initialized.
pub(crate) fn is_available() -> bool {
    opened().is_ok()
}

/// Returns the communicator of all processes that the launcher has started, initializing MPI if nobody has.
pub(crate) fn world() -> Result<Communicator, String> {
    static INITIALIZED: OnceLock<Result<(), String>> = OnceLock::new();
    let mpi = opened()?;
    INITIALIZED.get_or_init(|| mpi.initialize()).clone()?;
    Communicator::new(mpi, mpi.object("ompi_mpi_comm_world")?)
}

fn opened() -> Result<&'static Mpi, String> {
    static OPENED: OnceLock<Result<Mpi, String>> = OnceLock::new();
    OPENED.get_or_init(Mpi::open).as_ref().map_err(Clone::clone)
}

impl Mpi {
    fn open() -> Result<Self, String> {
        let usual = if cfg!(target_os = "macos") {
            ["libmpi.dylib", "libmpi.40.dylib"]
        } else {
            ["libmpi.so", "libmpi.so.40"]
        };
        let names = match environment::value(environment::MPI_LIBRARY) {
            Some(name) => vec![name],
            None => usual.map(OsString::from).to_vec(),
        };
        let mut reasons = Vec::new();
        for name in names {
            match mlx_sys::open_library(Path::new(&name)) {
                Ok(library) => return Self::of(library),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(format!("there is no Open MPI: {}", reasons.join("; ")))
    }

    fn of(library: Library) -> Result<Self, String> {
        type GetVersion = unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int;
        // SAFETY: the function has this type in every MPI.
        let get_version = unsafe { library.get::<GetVersion>(b"MPI_Get_library_version\0") }
            .map_err(|error| format!("this is no MPI: {error}"))?;
        let mut text = vec![0; VERSION_SIZE];
        let mut length = 0;
        // SAFETY: the text is long enough for every MPI.
        unsafe { get_version(text.as_mut_ptr(), &mut length) };
        let version = text_of(&text);
        if !version.contains("Open MPI") {
            return Err(format!("Open MPI is needed, got {version}"));
        }
        let functions = Functions::of(&library)?;
        Ok(Self {
            library,
            functions,
            turn: Mutex::new(()),
            is_shared: AtomicBool::new(false),
        })
    }

    fn initialize(&'static self) -> Result<(), String> {
        let functions = &self.functions;
        let (mut before, mut level) = (0, 0);
        // SAFETY: may be called at any time.
        unsafe { (functions.initialized)(&mut before) };
        let code = if before == 0 {
            let (no_count, no_arguments) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: MPI is not initialized; no arguments are allowed.
            unsafe { (functions.init_thread)(no_count, no_arguments, THREAD_MULTIPLE, &mut level) }
        } else {
            // SAFETY: MPI is initialized.
            unsafe { (functions.query_thread)(&mut level) }
        };
        if code != SUCCESS {
            return Err(format!("MPI cannot be initialized: error {code}"));
        }
        self.is_shared
            .store(level >= THREAD_MULTIPLE, Ordering::Relaxed);
        if before == 0 {
            finalize_at_exit();
        }
        let world = self.object("ompi_mpi_comm_world")?;
        let handler = self.object("ompi_mpi_errors_return")?;
        // Parts of the world have its handler.
        // SAFETY: objects of this library.
        let code = unsafe { (functions.set_error_handler)(world.0, handler.0) };
        self.check(code)
    }

    /// An object that the library exports.
    fn object(&self, name: &str) -> Result<Object, String> {
        let symbol = format!("{name}\0");
        // SAFETY: only the address is used.
        let found = unsafe { self.library.get::<*mut c_void>(symbol.as_bytes()) };
        let found = found.map_err(|error| format!("Open MPI's library has no {name}: {error}"))?;
        // SAFETY: the library stays open.
        Ok(Object(unsafe { found.into_raw() }.as_raw_ptr()))
    }

    fn check(&self, code: c_int) -> Result<(), String> {
        if code == SUCCESS {
            return Ok(());
        }
        let mut text = vec![0; TEXT_SIZE];
        let mut length = 0;
        // SAFETY: the text is as long as any error's.
        unsafe { (self.functions.error_string)(code, text.as_mut_ptr(), &mut length) };
        Err(format!("MPI: {}", text_of(&text)))
    }

    /// Runs one call, alone where MPI wants that.
    fn run(&self, call: impl FnOnce(&Functions) -> c_int) -> Result<(), String> {
        let turn = || self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let is_shared = self.is_shared.load(Ordering::Relaxed);
        let _turn: Option<MutexGuard<'_, ()>> = (!is_shared).then(turn);
        let begins = |running: usize| (running < FINALIZED).then_some(running + 1);
        RUNNING
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, begins)
            .map_err(|_| "MPI is finalized".to_owned())?;
        let code = call(&self.functions);
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        self.check(code)
    }

    fn dtype(&self, dtype: Dtype) -> Result<Object, String> {
        self.object(match dtype {
            Dtype::Bool => "ompi_mpi_c_bool",
            Dtype::Uint8 => "ompi_mpi_uint8_t",
            Dtype::Int8 => "ompi_mpi_int8_t",
            Dtype::Int16 => "ompi_mpi_int16_t",
            // MPI has no half precision: these are its bytes.
            Dtype::Uint16 | Dtype::Float16 | Dtype::Bfloat16 => "ompi_mpi_uint16_t",
            Dtype::Int32 => "ompi_mpi_int32_t",
            Dtype::Uint32 => "ompi_mpi_uint32_t",
            Dtype::Int64 => "ompi_mpi_int64_t",
            Dtype::Uint64 => "ompi_mpi_uint64_t",
            Dtype::Float32 => "ompi_mpi_float",
            Dtype::Float64 => "ompi_mpi_double",
            Dtype::Complex64 => "ompi_mpi_c_complex",
        })
    }

    fn operator(&self, operator: Operator) -> Result<Object, String> {
        let Operator::Own(function) = operator else {
            return self.object("ompi_mpi_op_sum");
        };
        // One for each function, as a communication is no place to make one.
        static MADE: Mutex<Vec<(usize, Object)>> = Mutex::new(Vec::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let key = function as usize;
        if let Some((_, object)) = made.iter().find(|(other, _)| *other == key) {
            return Ok(*object);
        }
        let mut handle = std::ptr::null_mut();
        // SAFETY: the function lives as long as the process; the order of ranks does not matter to it.
        self.run(|mpi| unsafe { (mpi.create_operator)(function, 1, &mut handle) })?;
        made.push((key, Object(handle)));
        Ok(Object(handle))
    }
}

impl Communicator {
    fn new(mpi: &'static Mpi, handle: Object) -> Result<Self, String> {
        let (mut rank, mut size) = (0, 0);
        // SAFETY: a communicator of this library.
        mpi.run(|mpi| unsafe { (mpi.rank)(handle.0, &mut rank) })?;
        // SAFETY: as above.
        mpi.run(|mpi| unsafe { (mpi.size)(handle.0, &mut size) })?;
        Ok(Self {
            mpi,
            handle,
            rank: usize::try_from(rank).unwrap_or(0),
            size: usize::try_from(size).unwrap_or(1),
        })
    }

    /// Forms a communicator of the ranks that give the same color, in the order of their keys.
    pub(crate) fn split(&self, color: i32, key: i32) -> Result<Self, String> {
        let mut part = std::ptr::null_mut();
        // SAFETY: a communicator of this library.
        let split = |mpi: &Functions| unsafe { (mpi.split)(self.handle.0, color, key, &mut part) };
        self.mpi.run(split)?;
        Self::new(self.mpi, Object(part))
    }

    /// Combines the elements of all ranks. `output` has this rank's where there is no input.
    pub(crate) fn all_reduce(
        &self,
        operator: Operator,
        dtype: Dtype,
        input: Option<&[u8]>,
        output: &mut [u8],
    ) -> Result<(), String> {
        let operator = self.mpi.operator(operator)?;
        let objects = (self.mpi.dtype(dtype)?, self.handle);
        // MPI counts elements in 32 bits.
        let step = usize::try_from(c_int::MAX).unwrap_or(usize::MAX) * dtype.size();
        for start in (0..output.len()).step_by(step) {
            let end = output.len().min(start + step);
            let part = &mut output[start..end];
            let count = count_of(part, dtype)?;
            let from = input.map_or(IN_PLACE, |input| input[start..end].as_ptr().cast());
            let into = part.as_mut_ptr().cast();
            // SAFETY: both have `count` elements that nobody else uses meanwhile; objects are of this library.
            let reduce = |mpi: &Functions| unsafe {
                (mpi.all_reduce)(from, into, count, objects.0.0, operator.0, objects.1.0)
            };
            self.mpi.run(reduce)?;
        }
        Ok(())
    }

    /// Combines the elements of all ranks; this one gets its share.
    pub(crate) fn reduce_scatter(
        &self,
        operator: Operator,
        dtype: Dtype,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), String> {
        self.check_size(input, output)?;
        if output.is_empty() {
            return Ok(());
        }
        let operator = self.mpi.operator(operator)?;
        let (datatype, count) = (self.mpi.dtype(dtype)?, count_of(output, dtype)?);
        let (from, into) = (input.as_ptr().cast(), output.as_mut_ptr().cast());
        // SAFETY: the input has `count` elements for each rank, the output `count`; objects are of this library.
        self.mpi.run(|mpi| unsafe {
            (mpi.reduce_scatter)(from, into, count, datatype.0, operator.0, self.handle.0)
        })
    }

    /// Puts the elements of all ranks one behind the other.
    pub(crate) fn all_gather(
        &self,
        dtype: Dtype,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), String> {
        self.check_size(output, input)?;
        if output.is_empty() {
            return Ok(());
        }
        let (datatype, count) = (self.mpi.dtype(dtype)?, count_of(input, dtype)?);
        let (from, into) = (input.as_ptr().cast(), output.as_mut_ptr().cast());
        // SAFETY: the output has `count` elements for each rank, the input `count`; objects are of this library.
        self.mpi.run(|mpi| unsafe {
            (mpi.all_gather)(
                from,
                count,
                datatype.0,
                into,
                count,
                datatype.0,
                self.handle.0,
            )
        })
    }

    pub(crate) fn send(&self, dtype: Dtype, input: &[u8], to: usize) -> Result<(), String> {
        let (datatype, count, to) = (
            self.mpi.dtype(dtype)?,
            count_of(input, dtype)?,
            rank_of(to)?,
        );
        let from = input.as_ptr().cast();
        // SAFETY: the input has `count` elements; objects are of this library.
        self.mpi
            .run(|mpi| unsafe { (mpi.send)(from, count, datatype.0, to, 0, self.handle.0) })
    }

    /// Receives as many elements as the output has; fewer are an error.
    pub(crate) fn receive(
        &self,
        dtype: Dtype,
        output: &mut [u8],
        from: usize,
    ) -> Result<(), String> {
        let (datatype, count) = (self.mpi.dtype(dtype)?, count_of(output, dtype)?);
        let from = rank_of(from)?;
        let into = output.as_mut_ptr().cast();
        // Larger than the status of every version.
        let mut status = [0_u64; 16];
        let state = status.as_mut_ptr().cast::<c_void>();
        // SAFETY: the output has `count` elements; objects are of this library.
        self.mpi.run(|mpi| unsafe {
            (mpi.receive)(into, count, datatype.0, from, ANY_TAG, self.handle.0, state)
        })?;
        let mut came = 0;
        // SAFETY: MPI has written the status.
        let read = |mpi: &Functions| unsafe { (mpi.count_received)(state, datatype.0, &mut came) };
        self.mpi.run(read)?;
        if came == count {
            return Ok(());
        }
        Err(format!("wanted {count} elements of {dtype}, got {came}"))
    }

    /// The larger array has the smaller one's bytes for each rank.
    fn check_size(&self, all: &[u8], one: &[u8]) -> Result<(), String> {
        if all.len() == one.len() * self.size {
            return Ok(());
        }
        let (all, one, size) = (all.len(), one.len(), self.size);
        Err(format!(
            "{all} bytes are not {one} for each of {size} ranks"
        ))
    }
}

fn count_of(bytes: &[u8], dtype: Dtype) -> Result<c_int, String> {
    let count = bytes.len() / dtype.size();
    c_int::try_from(count).map_err(|_| {
        format!(
            "MPI communicates at most {} elements, got {count}",
            c_int::MAX
        )
    })
}

fn rank_of(rank: usize) -> Result<c_int, String> {
    c_int::try_from(rank).map_err(|_| format!("there is no rank {rank}"))
}

fn text_of(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text
        .iter()
        .map(|&c| c.to_ne_bytes()[0])
        .take_while(|&c| c != 0)
        .collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Finalizes MPI when the process exits with success, and no call runs.
fn finalize_at_exit() {
    #[cfg(target_os = "linux")]
    {
        unsafe extern "C" {
            fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void)
            -> c_int;
        }
        extern "C" fn at_exit(status: c_int, _: *mut c_void) {
            if status == 0 {
                finalize();
            }
        }
        // SAFETY: glibc's function; what it calls lives as long as the process.
        unsafe { on_exit(at_exit, std::ptr::null_mut()) };
    }
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        extern "C" fn at_exit() {
            finalize();
        }
        // SAFETY: what it calls lives as long as the process.
        unsafe { libc::atexit(at_exit) };
    }
}

#[cfg(unix)]
fn finalize() {
    let Ok(mpi) = opened() else { return };
    let mut is_done = 0;
    // SAFETY: may be called at any time.
    unsafe { (mpi.functions.finalized)(&mut is_done) };
    let closes = || RUNNING.compare_exchange(0, FINALIZED, Ordering::SeqCst, Ordering::SeqCst);
    if is_done == 0 && closes().is_ok() {
        // SAFETY: MPI is initialized, as this is only called then, and no call runs.
        unsafe { (mpi.functions.finalize)() };
    }
}
