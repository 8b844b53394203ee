//! Between which numbers the integers of a tensor lie, as the host knows without looking at them.
//!
//! A GPU doesn't check where an index points: one beyond its tensor reads other memory. All integers
//! that a loss can have come from the host (labels, ids, ranges, constants, draws, sort orders) or are
//! made of such by operations whose bounds follow, so nearly every index is known to be right without
//! waiting for the device. One that isn't is read before it is used.

/// Least and greatest integer that may be in a tensor, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Bounds {
    /// `0..end`
    pub(crate) fn below(end: usize) -> Self {
        Bounds { low: 0, high: i64::try_from(end).unwrap_or(i64::MAX).saturating_sub(1).max(0) }
    }

    /// The bounds of a list; of an empty one those of 0.
    pub(crate) fn of(values: &[i64]) -> Self {
        let low = values.iter().copied().min().unwrap_or(0);
        let high = values.iter().copied().max().unwrap_or(0);
        Bounds { low, high }
    }

    /// Those of either.
    pub(crate) fn or(self, other: Bounds) -> Self {
        Bounds { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Those of a sum; none where it may leave 64 bits.
    pub(crate) fn plus(self, other: Bounds) -> Option<Self> {
        Some(Bounds {
            low: self.low.checked_add(other.low)?,
            high: self.high.checked_add(other.high)?,
        })
    }

    /// The first of the two that isn't in `0..end`.
    pub(crate) fn outside(self, end: usize) -> Option<i64> {
        let inside = Bounds::below(end);
        let is_out = |i: &i64| *i < 0 || *i > inside.high;
        [self.low, self.high].into_iter().find(is_out)
    }
}

#[cfg(test)]
mod tests {
    use super::Bounds;

    #[test]
    fn what_may_be_outside_is_found() {
        let bounds = Bounds::of(&[3, 0, 2]);
        assert_eq!(bounds, Bounds { low: 0, high: 3 });
        assert_eq!(bounds.outside(4), None);
        assert_eq!(bounds.outside(3), Some(3));
        assert_eq!(bounds.or(Bounds::of(&[-1])).outside(4), Some(-1));
        assert_eq!(bounds.plus(Bounds::below(3)), Some(Bounds { low: 0, high: 5 }));
        assert_eq!(Bounds::of(&[i64::MAX]).plus(Bounds::of(&[1])), None);
    }
}
