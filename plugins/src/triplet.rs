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
    /// Distance-weighted, a negative is drawn with probability ∝ 1 / q(max(d, 0.5)), where q is the
    /// density of distances on the unit sphere, from those nearer than 1.4: as in the authors' code,
    /// where the paper bounds the weights and has no upper end. Of an anchor whose negatives are all
    /// farther each is as likely; there, the code draws from the whole batch, the anchor's class
    /// included.
    pub struct Triplet {
        /// m, margin.
        margin: f64 = 0.2 => 0.0..,
        /// Which triplets count.
        triplets: Triplets = Triplets::All,
    }
}

impl Loss for Triplet {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        self.or_zero(step)
    }
}

impl Triplet {
    /// The loss, 0 in a batch without triplets.
    pub(crate) fn or_zero(&self, step: &Step) -> Tensor {
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
                (near - (far * chosen).sum_dim(1) + self.margin, mask.max_dim(1))
            }
        };
        let term = term.relu() * mask;
        mean_where(term, term.above(0.0))
    }
}

/// For each positive pair one negative of its anchor, drawn with probability ∝ 1 / q(d), where q is
/// the density of distances on the unit sphere in `dim` dimensions: distances `[m, n]` give a mask
/// `[m, n]` with one 1 in each row.
fn weighted_negatives(step: &Step, d: Tensor, negative: Tensor, dim: usize) -> Tensor {
    let within = negative * d.scalar(FAR).greater(d);
    let allowed = within.max(negative * within.max_dim(1).is_zero()); // all, where none is within
    let (d, dim) = (d.clamp_min(NEAR).clamp_max(FAR), dim as f64);
    // In 512 dimensions 1 / q spans more than a float does: in logarithms, from the row's largest.
    let log_q = (dim - 2.0) * d.ln() + 0.5 * (dim - 3.0) * (1.0 - 0.25 * d.square()).ln();
    let log_weight = (-log_q).select(allowed, d.scalar(-1e30));
    let weight = (log_weight - log_weight.max_dim(1)).exp() * allowed; // [m, n]
    let cdf = weight.cumsum(1).select(allowed, d.scalar(-1.0)); // never reaches beyond a draw
    let total = cdf.max_dim(1);
    let draw = step.random_uniform([d.dim(0), 1]) * total;
    // The first whose share reaches beyond the draw, which may round up to the total.
    let beyond = cdf.greater(draw).max(cdf.equal(total));
    beyond * beyond.cumsum(1).equal(d.scalar(1.0))
}

/// Between these distances the authors weigh negatives: nearer ones as if at the first, to bound the
/// variance; farther ones not at all.
const NEAR: f64 = 0.5;
const FAR: f64 = 1.4;
