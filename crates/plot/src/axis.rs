//! Where a number stands on an axis, and which round numbers are written beside it.

/// An axis from one pixel to another, even or logarithmic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    /// Returns an axis that has room for these values; on a logarithmic one, for those above 0.
    pub(crate) fn around(
        values: impl Iterator<Item = f64>,
        logarithmic: bool,
        from: f64,
        to: f64,
    ) -> Self {
        let usable = |value: &f64| value.is_finite() && (!logarithmic || *value > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(usable) {
            let value = if logarithmic { value.log10() } else { value };
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A value alone stands in the middle.
        let margin = match high - low {
            span if span > 0.0 => span * 0.04,
            _ if logarithmic || low == 0.0 => 0.5,
            _ => low.abs() * 0.5,
        };
        Self {
            low: low - margin,
            high: high + margin,
            from,
            to,
            logarithmic,
        }
    }

    /// Returns an axis that ends exactly at these values.
    pub(crate) fn exact(low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self {
            low,
            high,
            from,
            to,
            logarithmic: false,
        }
    }

    /// Returns the pixel of a value, or nothing when it has no place.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        let value = if self.logarithmic {
            value.log10()
        } else {
            value
        };
        let share = (value - self.low) / (self.high - self.low);
        share
            .is_finite()
            .then(|| self.from + share.clamp(0.0, 1.0) * (self.to - self.from))
    }

    /// Returns round numbers on the axis, about six of them.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            self.powers()
        } else {
            self.steps()
        }
    }

    fn steps(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|step| step * power)
            .find(|step| *step >= rough)
            .unwrap_or(power);
        let first = (self.low / step).ceil();
        (0..20)
            .map(|k| (first + f64::from(k)) * step)
            .take_while(|tick| *tick <= self.high)
            .collect()
    }

    fn powers(&self) -> Vec<f64> {
        let span = self.high - self.low;
        let factors: &[f64] = match span {
            span if span > 3.0 => &[1.0],
            span if span > 1.2 => &[1.0, 3.0],
            _ => &[1.0, 2.0, 5.0],
        };
        // Twelve decades need not be written one by one.
        let stride = (span / 8.0).ceil().max(1.0) as usize;
        (self.low.floor() as i32..=self.high.ceil() as i32)
            .step_by(stride)
            .flat_map(|power| factors.iter().map(move |f| f * 10_f64.powi(power)))
            .filter(|tick| (self.low..=self.high).contains(&tick.log10()))
            .collect()
    }
}

/// Returns how a number is written beside an axis: `0.25`, `1.5k`, `3e-7`.
pub(crate) fn label(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || size < 1e-15 {
        "0".to_owned()
    } else if !(1e-3..1e9).contains(&size) {
        format!("{value:.0e}")
    } else if size >= 1e6 {
        format!("{}M", short(value / 1e6))
    } else if size >= 1e4 {
        format!("{}k", short(value / 1e3))
    } else {
        short(value)
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::around([0.0, 97.0].into_iter(), false, 0.0, 100.0);
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let axis = Axis::around([1e-8, 1e-4].into_iter(), true, 0.0, 100.0);
        assert_eq!(axis.ticks().len(), 5);
    }

    #[test]
    fn values_without_a_place_have_none() {
        let axis = Axis::around([1.0, 10.0, f64::NAN].into_iter(), true, 0.0, 100.0);
        assert_eq!(axis.at(0.0), None);
        assert_eq!(axis.at(f64::NAN), None);
        assert!(axis.at(3.0).is_some_and(|x| (0.0..=100.0).contains(&x)));
    }

    #[test]
    fn an_axis_around_nothing_or_one_value_still_is_one() {
        for values in [vec![], vec![5.0], vec![f64::INFINITY], vec![0.0, 0.0]] {
            let axis = Axis::around(values.into_iter(), false, 0.0, 100.0);
            assert!(!axis.ticks().is_empty());
            assert!(axis.at(5.0).is_some());
        }
    }

    #[test]
    fn labels_are_short() {
        let labels = [0.0, 0.25, 1500.0, 15_000.0, 2e6, 3e-7].map(label);
        assert_eq!(labels, ["0", "0.25", "1500", "15k", "2M", "3e-7"]);
    }
}
