//! Schroff, Kalenichenko & Philbin, "FaceNet: A Unified Embedding for Face Recognition and
//! Clustering", CVPR 2015, equation 3. Distance-weighted negatives: Wu, Manmatha, Smola & Krähenbühl,
//! "Sampling Matters in Deep Embedding Learning", ICCV 2017, equation 4.

use retort_sdk::prelude::*;

choice! {
    /// Which triplets count.
    pub enum Triplets {
        /// All that violate the margin.
        All = "all",
        /// For each anchor the farthest positive and the nearest negative.
        Hard = "hard",
        /// Those whose negative is farther than the positive, but within the margin.
        SemiHard = "semi-hard",
        /// For each positive one random negative, as likely near as far.
        DistanceWeighted = "distance-weighted",
    }
}

hyper! {
    /// A sample of another class is farther from the anchor than one of its own, by a margin.
    ///
    /// L = mean [d(a, p) - d(a, n) + m]₊ over the terms above 0, where d is the distance of unit
    /// embeddings.
    ///
    /// The reference asks its library for distance-weighted triplets by a name that it doesn't know,
    /// and gets all that violate the margin: that is the default.
    ///
    /// Exempt from one class: no triplet, so 0 as in the authors' library.
    /// Exempt from all distinct: no triplet, so 0 as in the authors' library.
    pub struct Triplet {
        /// m, margin.
        margin: f64 = 0.2 => 0.0..,
        /// Which triplets count.
        triplets: Triplets = Triplets::All,
    }
}

impl Loss for Triplet {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target().normalize(1);
        let (d, n) = (euclidean_distance(x), x.dim(0)); // [n, n]
        let (positive, negative) = step.pairs();
        let Some((place, anchor)) = step.positive_pairs() else { return x.sum() * 0.0 };
        let near = d.reshape([n * n]).gather(0, place).reshape([place.len(), 1]); // d(a, p), [m, 1]
        let (far, mask) = (d.rows(anchor), negative.rows(anchor)); // d(a, n), [m, n]
        let (term, mask) = match self.triplets {
            Triplets::All => (near - far + self.margin, mask),
            Triplets::SemiHard => (near - far + self.margin, mask * far.greater(near)),
            Triplets::Hard => {
                let farthest = (d * positive).max_dim(1);
                let nearest = d.select(negative, d.scalar(1e3)).min_dim(1); // no negative: no violation
                (farthest - nearest + self.margin, positive.max_dim(1))
            }
            Triplets::DistanceWeighted => {
                let chosen = weighted_negatives(step, far.detach(), mask, x.dim(1));
                (near - far.gather(1, chosen) + self.margin, mask.max_dim(1))
            }
        };
        let term = term.relu() * mask;
        mean_where(term, term.above(0.0))
    }
}

/// For each positive pair a negative of its anchor, drawn with probability ∝ 1 / q(d), where q is the
/// density of distances on the unit sphere in `dim` dimensions: `[m, n]` gives `[m, 1]`.
fn weighted_negatives(step: &Step, d: Tensor, negative: Tensor, dim: usize) -> Index {
    let dim = dim as f64;
    let d = d.clamp_min(0.5).clamp_max(1.4); // as the authors, who cut off at 0.5 and 1.4
    let log_q = (dim - 2.0) * d.ln() + 0.5 * (dim - 3.0) * (1.0 - 0.25 * d.square()).ln();
    let weight = (-log_q + log_q.min_dim(1)).exp() * negative; // [m, n]
    let cdf = weight.cumsum(1);
    let draw = step.random_uniform([d.dim(0), 1]) * cdf.max_dim(1);
    // The first negative whose share of the distribution reaches beyond the draw.
    (1.0 - cdf.greater(draw)).argsort(1).slice(1, 0..1)
}
