//! Arrays in memory of this process, which kernels read and write without MLX.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mlx_sys as sys;

use super::closure::panic_text;
use super::host::{HostInput, HostOutput, Layout};
use crate::dtype::{Dtype, Element};
use crate::error::Error;
use crate::shape::{ArrayType, Shape, is_row_major, row_major_strides};

/// Elements start at multiples of this many bytes.
const ALIGNMENT: usize = 64;

/// Bytes of this process, zeros at first, which an array is in.
pub struct HostMemory {
    words: Vec<u128>,
    /// The first byte that is used: an aligned one.
    start: usize,
    len: usize,
    /// Where the pool that it is of counts it.
    counter: Option<Arc<AtomicUsize>>,
    /// Whether it is counted there.
    is_counted: AtomicBool,
}

impl HostMemory {
    /// Returns this many zeros.
    ///
    /// # Errors
    /// The text that there is no such memory.
    pub fn zeros(len: usize) -> Result<Self, String> {
        let words = len.checked_add(ALIGNMENT).and_then(zeroed_words);
        let words = words.ok_or_else(|| format!("wanted {len} bytes of memory, got none"))?;
        let start = words.as_ptr().cast::<u8>().align_offset(ALIGNMENT);
        Ok(Self {
            words,
            start,
            len,
            counter: None,
            is_counted: AtomicBool::new(false),
        })
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `start + len` bytes are within the words, whose bytes are all written, and are not written meanwhile.
        unsafe { std::slice::from_raw_parts(self.data(), self.len) }
    }

    /// Returns the bytes, to be written.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        let (data, len) = (self.data_mut(), self.len);
        // SAFETY: `start + len` bytes are within the words, which nothing else uses meanwhile.
        unsafe { std::slice::from_raw_parts_mut(data, len) }
    }

    fn data(&self) -> *const u8 {
        self.words.as_ptr().cast::<u8>().wrapping_add(self.start)
    }

    fn data_mut(&mut self) -> *mut u8 {
        self.words
            .as_mut_ptr()
            .cast::<u8>()
            .wrapping_add(self.start)
    }
}

/// Words of at least this many zero bytes, as the system gives them; `None` if it does not.
fn zeroed_words(len: usize) -> Option<Vec<u128>> {
    let n = len.div_ceil(size_of::<u128>()).max(1);
    let layout = std::alloc::Layout::array::<u128>(n).ok()?;
    // SAFETY: the layout has at least one word.
    let data = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<u128>();
    // SAFETY: the memory is of the allocator that vectors use, by the layout of one of `n` words, which are zeros.
    (!data.is_null()).then(|| unsafe { Vec::from_raw_parts(data, n, n) })
}

impl HostMemory {
    /// Has the pool count it, or count it no more.
    fn count(&self, is_counted: bool) {
        let was = self.is_counted.swap(is_counted, Ordering::Relaxed);
        match (&self.counter, was, is_counted) {
            (Some(counter), true, false) => {
                counter.fetch_sub(self.len, Ordering::Relaxed);
            }
            (Some(counter), false, true) => {
                counter.fetch_add(self.len, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        self.count(false);
    }
}

/// Memory of arrays, up to a limit. What is no longer needed is kept for the next ones: fresh memory is slow.
pub struct MemoryPool {
    free: RefCell<Vec<HostMemory>>,
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl MemoryPool {
    /// At most this many pieces are kept.
    const MOST: usize = 64;

    /// Returns a pool of at most this many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            free: RefCell::default(),
            used: Arc::default(),
            limit,
        }
    }

    /// Returns memory of at least this many bytes that holds anything.
    fn take(&self, len: usize) -> Result<HostMemory, String> {
        let mut free = self.free.borrow_mut();
        let fits = |memory: &HostMemory| memory.len >= len && memory.len / 2 <= len;
        let best = (0..free.len())
            .filter(|&at| fits(&free[at]))
            .min_by_key(|&at| free[at].len);
        if let Some(at) = best {
            return Ok(free.swap_remove(at));
        }
        let after = |used: &AtomicUsize| used.load(Ordering::Relaxed).saturating_add(len);
        if after(&self.used) > self.limit {
            free.clear();
        }
        let (wanted, got) = (self.limit, after(&self.used));
        if got > wanted {
            return Err(format!(
                "wanted at most {wanted} bytes of memory, got {got}"
            ));
        }
        let mut memory = HostMemory::zeros(len)?;
        memory.counter = Some(Arc::clone(&self.used));
        memory.count(true);
        Ok(memory)
    }

    /// Refuses more bytes than the limit.
    ///
    /// # Errors
    /// The text that they are.
    pub fn check(&self, array_type: &ArrayType) -> Result<(), String> {
        let (wanted, got) = (self.limit, array_type.nbytes().unwrap_or(usize::MAX));
        match got <= wanted {
            true => Ok(()),
            false => Err(format!(
                "wanted at most {wanted} bytes of memory, got {got} of {array_type}"
            )),
        }
    }

    /// Counts the memory of an array no more: it is the caller's now.
    pub fn give_away(&self, array: &HostArray) {
        array.memory.count(false);
    }

    /// Keeps the memory of an array that nothing else has.
    pub fn give_back(&self, array: HostArray) {
        let mut free = self.free.borrow_mut();
        let is_own = |memory: &HostMemory| {
            let counter = memory.counter.as_ref();
            counter.is_some_and(|counter| Arc::ptr_eq(counter, &self.used))
        };
        if free.len() < Self::MOST
            && let Some(memory) = Arc::into_inner(array.memory)
            && is_own(&memory)
        {
            memory.count(true);
            free.push(memory);
        }
    }

    /// Returns an array of this type that holds any elements.
    ///
    /// # Errors
    /// When that is more than the limit.
    pub fn array(&self, array_type: &ArrayType) -> Result<HostArray, String> {
        let too_large = || format!("wanted a size that can be counted, got {array_type}");
        let mut memory = self.take(array_type.nbytes().ok_or_else(too_large)?)?;
        if array_type.dtype == Dtype::Bool {
            memory.as_mut_bytes().fill(0);
        }
        Ok(HostArray::new_in(Arc::new(memory), 0, array_type.clone()))
    }
}

/// An array in memory of this process, apart from MLX: what functions that run without it take and return.
///
/// Cloning shares the memory. `Send` and `Sync`: elements are written only while nothing else has them.
///
/// ```
/// use mlx::cpu::HostArray;
///
/// # fn main() -> mlx::Result<()> {
/// let x = HostArray::new([2, 2], &[1.0_f32, 2.0, 3.0, 4.0])?;
/// assert_eq!(x.shape(), [2, 2]);
/// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HostArray {
    memory: Arc<HostMemory>,
    /// Where the first element is, in bytes.
    offset: usize,
    /// Where the array ends that this is a view of, in bytes: behind it other elements may be.
    end: usize,
    array_type: ArrayType,
    /// In elements.
    strides: Vec<i64>,
}

impl HostArray {
    /// Returns an array of these elements in row-major order.
    ///
    /// # Errors
    /// When there are more or fewer of them than the shape has.
    pub fn new<T: Element>(shape: impl Into<Shape>, elements: &[T]) -> Result<Self, Error> {
        let array_type = ArrayType::new(shape, T::DTYPE);
        let wanted = array_type.nbytes();
        if wanted != Some(size_of_val(elements)) {
            let got = elements.len();
            let message = format!("wanted elements for {array_type}, got {got}");
            return Err(Error::op("host_array", message));
        }
        // SAFETY: the memory of numbers without gaps between or in them.
        let bytes = unsafe {
            std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), size_of_val(elements))
        };
        Self::from_bytes(array_type, bytes)
    }

    /// Returns an array of zeros.
    ///
    /// # Errors
    /// When a size is negative, or the bytes are too many to count.
    pub fn zeros(array_type: ArrayType) -> Result<Self, Error> {
        let message = || format!("wanted sizes of at least 0, got {array_type}");
        let len = array_type.nbytes();
        let len = len.ok_or_else(|| Error::op("host_array", message()))?;
        let memory = HostMemory::zeros(len).map_err(|text| Error::op("host_array", text))?;
        Ok(Self::new_in(Arc::new(memory), 0, array_type))
    }

    /// An array in memory that it fits into.
    fn new_in(memory: Arc<HostMemory>, offset: usize, array_type: ArrayType) -> Self {
        Self {
            memory,
            offset,
            end: offset.saturating_add(array_type.nbytes().unwrap_or(0)),
            strides: row_major_strides(&array_type.shape),
            array_type,
        }
    }

    /// Returns an array whose elements in row-major order have these bytes.
    ///
    /// # Errors
    /// When there are more or fewer of them than the type has, or one of a `bool` is neither 0 nor 1.
    pub fn from_bytes(array_type: ArrayType, bytes: &[u8]) -> Result<Self, Error> {
        let memory = HostMemory::zeros(bytes.len());
        let mut memory = memory.map_err(|text| Error::op("host_array", text))?;
        memory.as_mut_bytes().copy_from_slice(bytes);
        Self::within(&Arc::new(memory), 0, array_type)
    }

    /// Returns the array whose elements in row-major order begin at this byte; they are copied where they are not aligned.
    ///
    /// # Errors
    /// When the memory ends before it, or one byte of a `bool` is neither 0 nor 1.
    pub fn within(
        memory: &Arc<HostMemory>,
        start: usize,
        array_type: ArrayType,
    ) -> Result<Self, Error> {
        let len = array_type.nbytes();
        let end = len.and_then(|len| start.checked_add(len));
        let bytes = end.and_then(|end| memory.as_bytes().get(start..end));
        let Some(bytes) = bytes else {
            let message = format!("wanted the elements of {array_type}, got too few bytes");
            return Err(Error::op("host_array", message));
        };
        if array_type.dtype == Dtype::Bool && bytes.iter().any(|&byte| byte > 1) {
            let message = "wanted bytes of 0 and 1 for bool, got others".to_owned();
            return Err(Error::op("host_array", message));
        }
        if !start.is_multiple_of(array_type.dtype.size()) {
            return Self::from_bytes(array_type, bytes);
        }
        Ok(Self::new_in(Arc::clone(memory), start, array_type))
    }

    /// Returns shape and dtype.
    pub fn array_type(&self) -> &ArrayType {
        &self.array_type
    }

    /// Returns the sizes of the axes.
    pub fn shape(&self) -> &[i32] {
        &self.array_type.shape
    }

    /// Returns the element type.
    pub fn dtype(&self) -> Dtype {
        self.array_type.dtype
    }

    /// Returns the elements in row-major order.
    ///
    /// # Errors
    /// When the array is of another dtype than `T`.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, Error> {
        let buffer = self.buffer();
        let elements = HostInput::of(&buffer).to_contiguous::<T>();
        let message = |message| Error::op("to_vec", message);
        elements.map(std::borrow::Cow::into_owned).map_err(message)
    }

    /// Returns the bytes of the elements in row-major order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let buffer = self.buffer();
        let bytes = HostInput::of(&buffer).contiguous_bytes();
        // Strides were checked: none is too large.
        bytes.map_or_else(|_| Vec::new(), std::borrow::Cow::into_owned)
    }

    /// Writes an array as an element along the first axis.
    ///
    /// # Errors
    /// When it is of another type, there is no such element, or something else has the memory.
    pub fn set_row(&mut self, row: usize, element: &Self) -> Result<(), Error> {
        let fits =
            self.shape().get(1..) == Some(element.shape()) && self.dtype() == element.dtype();
        let bytes = element.to_bytes();
        let len = bytes.len();
        let start = self.offset + row.saturating_mul(len);
        let last = self.shape().first().copied().unwrap_or(0);
        let is_within = fits && i32::try_from(row).is_ok_and(|row| row < last);
        let is_alone = self.is_alone();
        let memory = Arc::get_mut(&mut self.memory).filter(|_| is_within && is_alone);
        let place = memory.and_then(|memory| memory.as_mut_bytes().get_mut(start..start + len));
        let Some(place) = place else {
            let (row, of) = (element.array_type(), self.array_type());
            let message = format!("wanted an element of {of} that nothing else has, got {row}");
            return Err(Error::op("set_row", message));
        };
        place.copy_from_slice(&bytes);
        Ok(())
    }

    /// The distances between neighbours along each axis, in elements.
    pub(crate) fn strides(&self) -> &[i64] {
        &self.strides
    }

    pub(crate) fn layout(&self) -> Layout<'_> {
        Layout::new(self.dtype(), self.shape(), &self.strides)
    }

    /// Whether elements are in row-major order without gaps.
    pub(crate) fn is_row_contiguous(&self) -> bool {
        is_row_major(self.shape(), &self.strides)
    }

    /// The same memory seen otherwise: `offset` elements further on, with strides of at least 0. `None` where that is not
    /// within it.
    pub(crate) fn viewed(
        &self,
        offset: usize,
        array_type: &ArrayType,
        strides: &[i64],
    ) -> Option<Self> {
        let itemsize = self.dtype().size();
        let mut last = 0_usize;
        let count = array_type.nbytes()? / itemsize;
        for (&size, &stride) in array_type.shape.iter().zip(strides) {
            let steps = usize::try_from(size).ok()?.saturating_sub(1);
            last = last.checked_add(usize::try_from(stride).ok()?.checked_mul(steps)?)?;
        }
        let reach = if count == 0 { 0 } else { last.checked_add(1)? };
        let start = self.offset.checked_add(offset.checked_mul(itemsize)?)?;
        let end = start.checked_add(reach.checked_mul(itemsize)?)?;
        let fits = end <= self.end
            && array_type.dtype == self.dtype()
            && strides.len() == array_type.shape.len();
        fits.then(|| Self {
            memory: Arc::clone(&self.memory),
            offset: start,
            end: self.end,
            array_type: array_type.clone(),
            strides: strides.to_vec(),
        })
    }

    /// Whether nothing else has the memory, and all elements are in it in row-major order: an update may be written to it.
    pub(crate) fn is_alone(&mut self) -> bool {
        self.is_row_contiguous() && Arc::get_mut(&mut self.memory).is_some()
    }

    /// As kernels read it.
    fn buffer(&self) -> sys::mlx_native_buffer {
        sys::mlx_native_buffer {
            data: self
                .memory
                .data()
                .wrapping_add(self.offset)
                .cast_mut()
                .cast(),
            shape: self.array_type.shape.as_ptr(),
            strides: self.strides.as_ptr(),
            ndim: self.strides.len(),
            size: self.layout().size(),
            dtype: self.dtype().raw(),
        }
    }

    /// As a kernel writes it; `None` if something else has the memory, or elements are not in row-major order.
    fn buffer_mut(&mut self) -> Option<sys::mlx_native_buffer> {
        self.is_row_contiguous().then_some(())?;
        let data = Arc::get_mut(&mut self.memory)?.data_mut();
        Some(sys::mlx_native_buffer {
            data: data.wrapping_add(self.offset).cast(),
            ..self.buffer()
        })
    }
}

impl fmt::Debug for HostArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostArray({})", self.array_type)
    }
}

/// Calls a kernel. What it panics with becomes its error.
///
/// # Errors
/// When something else has the memory of an output, and what the kernel returns.
pub(crate) fn run_kernel(
    inputs: &[HostArray],
    outputs: &mut [HostArray],
    kernel: impl FnOnce(&[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<(), String>,
) -> Result<(), String> {
    let writes = outputs.iter_mut().map(HostArray::buffer_mut);
    let writes: Option<Vec<sys::mlx_native_buffer>> = writes.collect();
    // No input is in the memory of an output: that would be another owner of it.
    let writes = writes.ok_or("wanted outputs that nothing else has, got shared ones")?;
    let reads: Vec<sys::mlx_native_buffer> = inputs.iter().map(HostArray::buffer).collect();
    let reads: Vec<HostInput<'_>> = reads.iter().map(HostInput::of).collect();
    let mut writes: Vec<HostOutput<'_>> = writes.iter().map(HostOutput::of).collect();
    match catch_unwind(AssertUnwindSafe(|| kernel(&reads, &mut writes))) {
        Ok(done) => done,
        Err(panic) => Err(panic_text(panic.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> HostArray {
        HostArray::new([2, 3], &[0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap()
    }

    #[test]
    fn a_view_is_within_its_memory_or_none() {
        let (x, column) = (matrix(), ArrayType::new([2], Dtype::Float32));
        let second = x.viewed(1, &column, &[3]).unwrap();
        assert_eq!(second.to_vec::<f32>().unwrap(), [1.0, 4.0]);
        assert!(x.viewed(3, &column, &[3]).is_none());
        assert!(x.viewed(0, &column, &[-1]).is_none());
        assert!(x.viewed(0, &column, &[i64::MAX]).is_none());
        let other = ArrayType::new([2], Dtype::Float64);
        assert!(x.viewed(0, &other, &[1]).is_none());
        let transposed = ArrayType::new([3, 2], Dtype::Float32);
        let transposed = x.viewed(0, &transposed, &[1, 3]).unwrap();
        assert_eq!(
            transposed.to_vec::<f32>().unwrap(),
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
    }

    #[test]
    fn shared_memory_is_not_written() {
        let mut x = matrix();
        assert!(x.is_alone());
        let other = x.clone();
        assert!(!x.is_alone());
        let written = run_kernel(&[], std::slice::from_mut(&mut x), |_, _| Ok(()));
        assert!(written.unwrap_err().contains("nothing else has"));
        drop(other);
        run_kernel(&[], std::slice::from_mut(&mut x), |_, outputs| {
            outputs[0].as_mut_slice::<f32>()?.fill(7.0);
            Ok(())
        })
        .unwrap();
        assert_eq!(x.to_vec::<f32>().unwrap(), [7.0; 6]);
    }

    #[test]
    fn a_pool_uses_memory_again_and_keeps_its_limit() {
        let pool = MemoryPool::new(100);
        let of = |n: i32| ArrayType::new([n], Dtype::Int8);
        let first = pool.array(&of(60)).unwrap();
        let error = pool.array(&of(60)).unwrap_err();
        assert_eq!(error, "wanted at most 100 bytes of memory, got 120");
        let at = first.memory.data();
        pool.give_back(first);
        let second = pool.array(&of(50)).unwrap();
        assert_eq!(second.memory.data(), at);
        pool.give_back(second);
        assert!(pool.array(&of(100)).is_ok());
        pool.give_back(HostArray::zeros(of(100)).unwrap());
        assert!(pool.array(&of(-1)).is_err());
    }

    #[test]
    fn a_panic_of_a_kernel_is_its_error() {
        let error = run_kernel(&[], &mut [], |_, _| panic!("no such row"));
        assert_eq!(error.unwrap_err(), "panicked: no such row");
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let bools = ArrayType::new([2], Dtype::Bool);
        assert!(HostArray::from_bytes(bools.clone(), &[0, 2]).is_err());
        assert!(HostArray::from_bytes(bools.clone(), &[0]).is_err());
        let truths = HostArray::from_bytes(bools, &[0, 1]).unwrap();
        assert_eq!(truths.to_vec::<bool>().unwrap(), [false, true]);
        assert!(truths.to_vec::<f32>().is_err());
        let memory = Arc::new(HostMemory::zeros(9).unwrap());
        let number = ArrayType::new([2], Dtype::Float32);
        assert!(HostArray::within(&memory, 1, number.clone()).is_ok());
        assert!(HostArray::within(&memory, 2, number.clone()).is_err());
        assert!(HostArray::within(&memory, usize::MAX, number).is_err());
        assert!(HostArray::zeros(ArrayType::new([-1], Dtype::Int8)).is_err());
    }

    #[test]
    fn memory_that_there_is_not_is_an_error() {
        assert!(HostMemory::zeros(usize::MAX).is_err());
        assert!(HostMemory::zeros(usize::MAX - 40).is_err());
        let all = ArrayType::new([65_535, 42_009_217, 6_700_417], Dtype::Uint8);
        assert_eq!(all.nbytes(), Some(usize::MAX));
        let error = HostArray::zeros(all.clone()).unwrap_err().to_string();
        assert!(error.contains("got none"), "{error}");
        assert!(MemoryPool::new(usize::MAX).array(&all).is_err());
    }

    #[test]
    fn a_view_ends_where_its_array_does() {
        let memory = Arc::new(HostMemory::zeros(64).unwrap());
        let one = ArrayType::new([1], Dtype::Bool);
        let x = HostArray::within(&memory, 0, one.clone()).unwrap();
        let (eight, strides) = (ArrayType::new([8], Dtype::Bool), [1]);
        assert!(x.viewed(0, &eight, &strides).is_none());
        assert!(
            x.viewed(0, &one, &strides)
                .is_some_and(|x| x.viewed(1, &one, &strides).is_none())
        );
    }

    #[test]
    fn results_that_are_given_away_count_no_more() {
        let pool = MemoryPool::new(100);
        let sixty = ArrayType::new([60], Dtype::Int8);
        let first = pool.array(&sixty).unwrap();
        let _other = first.clone();
        assert!(pool.array(&sixty).is_err());
        pool.give_away(&first);
        assert!(pool.array(&sixty).is_ok());
        assert!(
            pool.check(&sixty).is_ok() && pool.check(&ArrayType::new([101], Dtype::Int8)).is_err()
        );
    }
}
