//! Kim, Jeong & Kwak, "HIER: Metric Learning Beyond Class Labels via Hierarchical Regularization", CVPR
//! 2023; formulas of the authors' code, tjddus9597/HIER-CVPR23. Discrete ancestors: Jang, Gu & Poole,
//! "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017.

use crate::poincare::{distance, to_ball};
use retort_sdk::prelude::*;

hyper! {
    /// Learnable ancestors in hyperbolic space: two neighbours have one that is nearer to them than to a stranger.
    ///
    /// L = H(t) + H(ρ),  H(x) = mean over triplets (i, j, k) of 1[a≠b] ( [dᵢₐ - dᵢᵦ + δ]₊ + [dⱼₐ - dⱼᵦ + δ]₊ + [dₖᵦ - dₖₐ + δ]₊ ),
    /// where d are distances in the Poincaré ball to the ancestors ρ; i and j are mutual neighbours and k is not;
    /// a and b are drawn with a probability that falls with max(dᵢ, dⱼ) and with max(dᵢ, dⱼ, dₖ).
    ///
    /// As in the authors' code, k may be i itself, samples of one class come first among neighbours, and anchors with
    /// fewer than two mutual neighbours are left out. It is a regulariser, to be used beside another loss.
    #[exempt(order = "each row of the batch draws triplets of its own, and equally near samples are told apart by their place")]
    pub struct Hier {
        /// Ancestors.
        proxies: usize = 512 => 3..,
        /// Neighbours among which the mutual ones are.
        neighbours: usize = 30 => 2..,
        /// Triplets of each anchor.
        triplets: usize = 50 => 1..,
        /// δ, margin.
        margin: f64 = 0.1 => 0.0..,
        /// τ, temperature of the draws.
        tau: f64 = 0.1 => above(0.0),
        /// c, negative curvature.
        curvature: f64 = 0.1 => above(0.0),
        /// Largest norm before the exponential map.
        clip: f64 = 2.3 => above(0.0),
    }
}

impl Loss for Hier {
    fn loss(&self, step: &Step) -> Tensor {
        let (c, clip) = (self.curvature, self.clip);
        let t = to_ball(step.target(), c, clip); // [n, d]
        let deviation = 0.9 * clip / (t.dim(1) as f64).sqrt();
        let proxies = step.param("proxies", [self.proxies, t.dim(1)], Init::Normal(deviation));
        let proxies = to_ball(proxies, c, clip);
        let among = (-distance(t, t, c)).exp().detach() + step.labels().same(); // [n, n]
        let ancestors = distance(proxies, proxies, c);
        let of_samples = self.hierarchy(step, among, distance(t, proxies, c));
        of_samples + self.hierarchy(step, (-ancestors).exp().detach(), ancestors)
    }
}

impl Hier {
    /// H, of how near the samples are to each other, `[n, n]`, and how far from the ancestors, `[n, m]`.
    fn hierarchy(&self, step: &Step, near: Tensor, far: Tensor) -> Tensor {
        let (n, m, per) = (near.dim(0), far.dim(1), self.triplets);
        let mine = (-near).ranks(1).float().below(self.neighbours.min(n) as f64 - 0.5);
        let mutual = (mine * mine.t()).off_diagonal();
        let enough = mutual.sum_dim(1).above(1.5); // [n, 1]

        // Of each row so many places with a 1, drawn with replacement, as far as an ancestor: [n, per, m].
        let drawn = |mask: Tensor| {
            let number = mask.cumsum(1).unsqueeze(1); // [n, 1, n]
            let count = mask.sum_dim(1);
            let ticket = (step.random_uniform([n, per]) * count).unsqueeze(2); // [n, per, 1]
            // The first place whose number is beyond the ticket: those up to it are more by one.
            let beyond = number.greater(ticket) * mask.unsqueeze(1);
            let chosen = beyond * (1.0 - (number - 1.0).greater(ticket)); // [n, per, n]
            chosen.reshape([n * per, n]).matmul(far).reshape([n, per, m])
        };
        let i = far.unsqueeze(1); // [n, 1, m]
        let j = drawn(mutual);
        let k = drawn(1.0 - mutual);

        let pair = i.max(j);
        let (near_ancestor, a) = self.ancestor(step, pair);
        let (far_ancestor, b) = self.ancestor(step, k.max(pair));
        let to = |x: Tensor, ancestor: Tensor| (x * ancestor).sum_dim(2); // [n, per, 1]
        let gap = |x: Tensor| to(x, near_ancestor) - to(x, far_ancestor);
        let violation = (gap(i) + self.margin).relu()
            + (gap(j) + self.margin).relu()
            + (self.margin - gap(k)).relu();
        let differ = 1.0 - (a * b).sum_dim(2);
        let counted = enough.unsqueeze(2); // [n, 1, 1]
        (violation * differ * counted).sum() / (counted.sum() * per).clamp_min(1.0)
    }

    /// One of the ancestors for each triplet, likelier the nearer: distances `[n, per, m]` give its one-hot
    /// vector with the gradient of the softmax, and without.
    fn ancestor(&self, step: &Step, far: Tensor) -> (Tensor, Tensor) {
        let (n, per, m) = (far.dim(0), far.dim(1), far.dim(2));
        let uniform = step.random_uniform([n * per, m]).reshape([n, per, m]);
        let gumbel = -(-uniform.clamp_min(1e-30).ln()).clamp_min(1e-30).ln();
        let score = gumbel - far / self.tau;
        let top = score.detach().equal(score.detach().max_dim(2));
        let hard = top * top.cumsum(2).equal(top.scalar(1.0)); // the first of equal ones
        (score.softmax(2).straight_through(hard), hard)
    }
}
