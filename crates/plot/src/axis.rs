//! An axis: a coordinate of plotters, even or logarithmic, with the round numbers beside it.

use std::ops::Range;

use plotters::coord::ranged1d::{
    KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter,
};

/// An axis of a picture.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Where it begins and ends: at the left or the bottom, and at the right or the top. Logarithms on a logarithmic
    /// axis.
    range: Range<f64>,
    logarithmic: bool,
    ticks: Option<Vec<f64>>,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        let share = (self.linear(*value) - start) / (end - start);
        // A value without a position is drawn at the beginning.
        let share = if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        };
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.ticks(),
            KeyPointWeight::Any => Vec::new(),
        }
    }

    fn range(&self) -> Range<f64> {
        match self.logarithmic {
            true => 10_f64.powf(self.range.start)..10_f64.powf(self.range.end),
            false => self.range.clone(),
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        label(*value)
    }
}

impl Axis {
    /// Returns an axis that has room for these values; on a logarithmic one, for those above 0.
    #[must_use]
    pub fn around(values: impl Iterator<Item = f64>, logarithmic: bool) -> Self {
        const MAX: f64 = 1e300;
        let usable = |value: &f64| value.abs() < MAX && (!logarithmic || *value > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(usable) {
            let value = if logarithmic { value.log10() } else { value };
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A value alone is in the middle.
        let margin = match high - low {
            span if span > 0.0 => span * 0.04,
            _ if logarithmic || low == 0.0 => 0.5,
            _ => low.abs() * 0.5,
        };
        Self {
            range: low - margin..high + margin,
            logarithmic,
            ticks: None,
        }
    }

    /// Returns an even axis with exactly these ends, of which the first may be the larger one.
    #[must_use]
    pub fn exact(from: f64, to: f64) -> Self {
        let to = if from == to { from + 1.0 } else { to };
        Self {
            range: from..to,
            logarithmic: false,
            ticks: None,
        }
    }

    /// Sets the values that are written beside the axis.
    #[must_use]
    pub fn with_ticks(mut self, ticks: Vec<f64>) -> Self {
        self.ticks = Some(ticks);
        self
    }

    /// Returns whether a value has a position on the axis.
    #[must_use]
    pub fn has(&self, value: f64) -> bool {
        self.linear(value).is_finite()
    }

    fn linear(&self, value: f64) -> f64 {
        match self.logarithmic {
            true => value.log10(),
            false => value,
        }
    }

    /// Returns the values that are written beside the axis: by default about six round numbers.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        match (&self.ticks, self.logarithmic) {
            (Some(ticks), _) => ticks.clone(),
            (None, true) => self.powers(),
            (None, false) => self.steps(),
        }
    }

    fn bounds(&self) -> (f64, f64) {
        let Range { start, end } = self.range;
        (start.min(end), start.max(end))
    }

    fn steps(&self) -> Vec<f64> {
        let (low, high) = self.bounds();
        let rough = (high - low) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|step| step * power)
            .find(|step| *step >= rough)
            .unwrap_or(power);
        let first = (low / step).ceil();
        (0..20)
            .map(|k| (first + f64::from(k)) * step)
            .take_while(|tick| *tick <= high)
            .collect()
    }

    fn powers(&self) -> Vec<f64> {
        let (low, high) = self.bounds();
        let factors: &[f64] = match high - low {
            span if span > 3.0 => &[1.0],
            span if span > 1.2 => &[1.0, 3.0],
            _ => &[1.0, 2.0, 5.0],
        };
        // Twelve decades need not be written one by one.
        let stride = ((high - low) / 8.0).ceil().max(1.0) as usize;
        (low.floor() as i32..=high.ceil() as i32)
            .step_by(stride)
            .flat_map(|power| factors.iter().map(move |f| f * 10_f64.powi(power)))
            .filter(|tick| (low..=high).contains(&tick.log10()))
            .collect()
    }
}

/// Returns how a number is written beside an axis: `0.25`, `1.5k`, `3e-7`.
#[must_use]
pub fn label(value: f64) -> String {
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
        let axis = Axis::around([0.0, 97.0].into_iter(), false);
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let axis = Axis::around([1e-8, 1e-4].into_iter(), true);
        assert_eq!(axis.ticks().len(), 5);
    }

    #[test]
    fn values_without_a_position_have_none() {
        let axis = Axis::around([1.0, 10.0, f64::NAN].into_iter(), true);
        assert!(!axis.has(0.0) && !axis.has(f64::NAN) && axis.has(3.0));
        assert!((1..100).contains(&axis.map(&3.0, (0, 100))));
        assert_eq!(axis.map(&f64::NAN, (0, 100)), 0);
    }

    #[test]
    fn ends_of_the_axis_are_its_pixels() {
        let axis = Axis::exact(0.0, 10.0);
        assert_eq!(
            [0.0, 5.0, 10.0].map(|x| axis.map(&x, (100, 0))),
            [100, 50, 0]
        );
        let axis = Axis::exact(10.0, 0.0);
        assert_eq!([0.0, 10.0].map(|x| axis.map(&x, (0, 100))), [100, 0]);
    }

    #[test]
    fn an_axis_around_nothing_or_one_value_still_is_one() {
        for values in [
            vec![],
            vec![5.0],
            vec![f64::INFINITY],
            vec![0.0, 0.0],
            vec![f64::MAX],
        ] {
            let axis = Axis::around(values.into_iter(), false);
            assert!(!axis.ticks().is_empty());
            assert!(axis.has(5.0));
        }
    }

    #[test]
    fn labels_are_short() {
        let labels = [0.0, 0.25, 1500.0, 15_000.0, 2e6, 3e-7].map(label);
        assert_eq!(labels, ["0", "0.25", "1500", "15k", "2M", "3e-7"]);
    }
}
