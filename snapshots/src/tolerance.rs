//! An insta comparator for texts with numbers: the words must be equal, the numbers close.

use insta::internals::SnapshotContents;
use insta::{Comparator, Snapshot};

/// Compares numbers with a relative tolerance, everything else exactly.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance(pub f64);

impl Comparator for Tolerance {
    fn matches(&self, reference: &Snapshot, test: &Snapshot) -> bool {
        match (reference.contents(), test.contents()) {
            (SnapshotContents::Text(a), SnapshotContents::Text(b)) => {
                self.same(a.to_string().trim(), b.to_string().trim())
            }
            _ => false,
        }
    }

    fn dyn_clone(&self) -> Box<dyn Comparator> {
        Box::new(*self)
    }
}

impl Tolerance {
    /// Whether two texts have the same words and close numbers.
    pub fn same(self, a: &str, b: &str) -> bool {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (words(a), words(b));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| self.close(a, b))
    }

    fn close(self, a: &str, b: &str) -> bool {
        match (a.parse::<f64>(), b.parse::<f64>()) {
            _ if a == b => true,
            (Ok(x), Ok(y)) => (x - y).abs() <= self.0 * x.abs().max(y.abs()).max(1e-6),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tolerance;

    #[test]
    fn numbers_may_differ_a_little_and_words_not_at_all() {
        let near = Tolerance(1e-5);
        assert!(near.same("value 1.000001\n", "value 1.000002"));
        assert!(!near.same("value 1.0", "value 1.001"));
        assert!(!near.same("value 1.0", "norm 1.0"));
        assert!(!near.same("value 1.0", "value 1.0 2.0"));
    }
}
