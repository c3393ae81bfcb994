//! How the forms of a site are timed: on made-up inputs, after some calls that do not count, in turn.

use std::time::{Duration, Instant};

use mlx::{Array, ArrayType, Dtype};

use crate::execute::{Executable, in_own_memory};
use crate::graph::{Graph, ValueOrigin, element_count};
use crate::{CompileOptions, Result};

/// How much time and memory a site may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How often each form runs before its times count. On CUDA a function is recorded at its second call.
    pub(super) warm_up: usize,
    /// How many times of each form there are at least,
    pub(super) min_rounds: usize,
    /// and at most.
    pub(super) max_rounds: usize,
    /// No more rounds than the least are begun after this time.
    pub(super) time: Duration,
    /// A site of which a form takes longer than this is not timed.
    pub(super) call: Duration,
    /// Nor one whose inputs and results have more bytes together.
    pub(super) bytes: usize,
}

pub(super) const LIMITS: Limits = Limits {
    warm_up: 3,
    min_rounds: 9,
    max_rounds: 51,
    time: Duration::from_millis(300),
    call: Duration::from_millis(200),
    bytes: 1 << 30,
};

/// A form that is timed: returns how long a call took.
pub(super) type Trial<'a> = dyn FnMut() -> mlx::Result<Duration> + 'a;

/// Returns the times of forms, which run in turn; or why there are none.
///
/// `elapsed` is how long measuring has taken.
pub(super) fn in_turn(
    forms: &mut [Box<Trial<'_>>],
    elapsed: &dyn Fn() -> Duration,
    limits: &Limits,
) -> std::result::Result<Vec<Vec<Duration>>, String> {
    for form in forms.iter_mut() {
        for call in 1..=limits.warm_up {
            let time = form().map_err(|error| error.to_string())?;
            // The first calls compile kernels.
            let is_warm = call == limits.warm_up;
            let most = limits.call * if is_warm { 1 } else { 10 };
            if time > most {
                return Err(format!("wanted a call of at most {most:?}, got {time:?}"));
            }
        }
    }
    let mut times = vec![Vec::new(); forms.len()];
    for round in 0..limits.max_rounds {
        if round >= limits.min_rounds && elapsed() > limits.time {
            break;
        }
        for (form, times) in forms.iter_mut().zip(&mut times) {
            times.push(form().map_err(|error| error.to_string())?);
        }
    }
    Ok(times)
}

/// Measures graphs of the same inputs on this thread's device and stream; or says why not.
pub(super) fn measure(
    graphs: &[&Graph],
    options: &CompileOptions,
    limits: &Limits,
) -> std::result::Result<Vec<Vec<Duration>>, String> {
    let bytes = graphs.iter().map(|graph| bytes(graph)).max().unwrap_or(0);
    if bytes > limits.bytes {
        let most = limits.bytes;
        return Err(format!("wanted at most {most} bytes, got {bytes}"));
    }
    let Some(first) = graphs.first() else {
        return Err("wanted a form, got none".to_owned());
    };
    let inputs = made_up(&first.input_types()).map_err(|error| error.to_string())?;
    let written: Vec<bool> = (0..inputs.len())
        .map(|input| graphs.iter().any(|graph| writes_into(graph, input)))
        .collect();
    let executables = graphs
        .iter()
        .map(|graph| Executable::new((*graph).clone(), options, true))
        .collect::<Result<Vec<_>>>()
        .map_err(|error| error.to_string())?;
    let mut trials: Vec<Box<Trial<'_>>> = Vec::new();
    for executable in &executables {
        let (inputs, written) = (&inputs, &written);
        trials.push(Box::new(move || {
            time_of_a_call(executable, inputs, written)
        }));
    }
    let started = Instant::now();
    in_turn(&mut trials, &|| started.elapsed(), limits)
}

fn time_of_a_call(
    executable: &Executable,
    inputs: &[Array],
    written: &[bool],
) -> mlx::Result<Duration> {
    // What is written into in place is not shared with anything, as in a program that is done with it.
    let own: Vec<Array> = inputs
        .iter()
        .zip(written)
        .map(|(input, is_written)| match is_written {
            true => in_own_memory(input),
            false => input.clone(),
        })
        .collect();
    mlx::eval(&own)?;
    let started = Instant::now();
    let outputs = executable.call(&own.iter().collect::<Vec<_>>())?;
    drop(own);
    // It waits until the values are there, on a GPU too.
    mlx::eval(&outputs)?;
    Ok(started.elapsed())
}

/// Returns the bytes of all values of a graph and of the graphs inside.
fn bytes(graph: &Graph) -> usize {
    let types = graph.values.iter().map(|value| &value.array_type);
    let own = types.fold(0_usize, |sum, array_type| {
        let bytes = element_count(&array_type.shape).saturating_mul(array_type.dtype.size());
        sum.saturating_add(bytes)
    });
    let inner = graph.nodes.iter().flat_map(|node| node.operation.graphs());
    inner.fold(own, |sum, (_, graph)| sum.saturating_add(bytes(graph)))
}

/// Whether a graph writes into one of its inputs, as into a cache.
fn writes_into(graph: &Graph, input: usize) -> bool {
    graph.nodes.iter().any(|node| {
        let is_input = |value| matches!(graph.origin(value), ValueOrigin::Input(n) if *n == input);
        let name = node.operation.name();
        let writes = ["slice_update", "scatter"]
            .iter()
            .any(|op| name.starts_with(op));
        let inside = |inner: &Graph| {
            let mut given = node.inputs.iter().enumerate();
            given.any(|(n, value)| is_input(*value) && writes_into(inner, n))
        };
        writes && node.inputs.first().is_some_and(|value| is_input(*value))
            || node
                .operation
                .graphs()
                .iter()
                .any(|(_, inner)| inside(inner))
    })
}

/// Returns evaluated arrays of these types, the same in all runs: reals between -1 and 1, `true`, and zeros for integers, which
/// are indices and positions that there are always.
fn made_up(types: &[ArrayType]) -> mlx::Result<Vec<Array>> {
    let mut arrays = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for array_type in types {
        let shape = array_type.shape.clone();
        let is_real = matches!(
            array_type.dtype,
            Dtype::Float16 | Dtype::Bfloat16 | Dtype::Float32 | Dtype::Float64 | Dtype::Complex64
        );
        arrays.push(if is_real {
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // 23 bits are exact in `f32`.
                #[allow(clippy::cast_precision_loss)]
                let unit = (state >> 41) as f32 / 4_194_304.0;
                unit - 1.0
            };
            let values: Vec<f32> = (0..element_count(&shape)).map(|_| next()).collect();
            Array::from_slice(&values, shape)?.astype(array_type.dtype)
        } else if array_type.dtype == Dtype::Bool {
            mlx::ones_with(shape, Dtype::Bool)
        } else {
            mlx::zeros_with(shape, array_type.dtype)
        });
    }
    mlx::eval(&arrays)?;
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const SMALL: Limits = Limits {
        warm_up: 2,
        min_rounds: 3,
        max_rounds: 5,
        time: Duration::from_micros(100),
        call: Duration::from_millis(1),
        bytes: 1000,
    };

    /// Runs two forms whose calls take these microseconds by a clock that only they advance.
    fn run(a: u64, b: u64) -> (std::result::Result<Vec<Vec<Duration>>, String>, String) {
        let (clock, order) = (Cell::new(Duration::ZERO), RefCell::new(String::new()));
        let form = |name: char, micros: u64| {
            let (clock, order) = (&clock, &order);
            let trial = move || {
                order.borrow_mut().push(name);
                let time = Duration::from_micros(micros);
                clock.set(clock.get() + time);
                Ok(time)
            };
            Box::new(trial) as Box<Trial<'_>>
        };
        let times = in_turn(&mut [form('a', a), form('b', b)], &|| clock.get(), &SMALL);
        let order = order.borrow().clone();
        (times, order)
    }

    #[test]
    fn forms_run_in_turn_until_there_are_enough_times() {
        let (times, order) = run(1, 2);
        assert_eq!(order, "aabbababababab");
        assert_eq!(
            times.unwrap(),
            [[Duration::from_micros(1); 5], [Duration::from_micros(2); 5]]
        );
    }

    #[test]
    fn slow_forms_run_as_often_as_is_needed() {
        let (times, order) = run(100, 200);
        assert_eq!(order, "aabbababab");
        assert_eq!(times.unwrap()[0].len(), 3);
    }

    #[test]
    fn a_form_that_takes_too_long_is_not_timed() {
        let (times, order) = run(1, 1001);
        assert_eq!(order, "aabb");
        assert_eq!(
            times.unwrap_err(),
            "wanted a call of at most 1ms, got 1.001ms"
        );
    }

    #[test]
    fn a_form_that_fails_is_not_timed() {
        let fail = || Err(mlx::Error::op("exp", "no"));
        let error = in_turn(&mut [Box::new(fail)], &|| Duration::ZERO, &SMALL).unwrap_err();
        assert!(error.contains("exp"), "{error}");
    }
}
