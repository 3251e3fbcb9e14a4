//! Figures that were measured several times.

/// Measurements of one thing, in one unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: &Samples) {
        self.0.extend(&other.0);
    }

    /// All of them, as they came.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    /// The least, if there is any.
    pub fn min(&self) -> Option<f64> {
        self.sorted().first().copied()
    }

    /// The greatest, if there is any.
    pub fn max(&self) -> Option<f64> {
        self.sorted().last().copied()
    }

    /// The one in the middle; of an even number, the mean of the two there.
    pub fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let upper = *sorted.get(sorted.len() / 2)?;
        if sorted.len() % 2 == 1 {
            return Some(upper);
        }
        let lower = *sorted.get(sorted.len() / 2 - 1)?;
        Some(f64::midpoint(lower, upper))
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Samples(values.into_iter().collect())
    }
}

/// `a` divided by `b` where both were measured.
pub fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    b.filter(|&b| b > 0.0).and_then(|b| a.map(|a| a / b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_statistics() {
        let odd: Samples = [3.0, 1.0, 10.0].into_iter().collect();
        assert_eq!((odd.min(), odd.median(), odd.max()), (Some(1.0), Some(3.0), Some(10.0)));
        let even: Samples = [4.0, 1.0, 2.0, 100.0].into_iter().collect();
        assert_eq!(even.median(), Some(3.0));
        assert_eq!(Samples::default().median(), None);
    }

    #[test]
    fn ratios_need_both() {
        assert_eq!(ratio(Some(1.0), Some(4.0)), Some(0.25));
        assert_eq!(ratio(None, Some(4.0)), None);
        assert_eq!(ratio(Some(1.0), Some(0.0)), None);
    }
}
