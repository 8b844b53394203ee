//! Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, equation 1.

use retort_sdk::prelude::*;

hyper! {
    /// The first coordinates tell the classes apart, too, at several widths.
    ///
    /// L = Σₗ CE(Wₗ xᵢˡ + bₗ, yᵢ),  where xˡ are the first d / 2ᵐ coordinates, m = levels - 1, …, 0.
    pub struct MatryoshkaCe {
        /// Widths: the whole, its half, its quarter and so on; none below one coordinate.
        levels: usize = 5 => 1..,
    }
}

impl Loss for MatryoshkaCe {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_two_classes();
        let (x, classes) = (step.target(), step.classes()); // [n, d]
        let widths = (0..self.levels.min(64)).map(|level| x.dim(1) >> level).filter(|&width| width > 0);
        let widths: Vec<usize> = widths.collect();
        let mut sum = None;
        for (l, &width) in widths.iter().rev().enumerate() {
            let logits = step.linear(&format!("nesting.{l}"), x.slice(1, 0..width), classes);
            let own = cross_entropy(logits, step.labels());
            sum = Some(sum.map_or(own, |sum: Tensor| sum + own));
        }
        sum.unwrap_or_else(|| step.fail("there is no level"))
    }
}
