//! Blondel, Teboul, Berthet & Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, propositions 3 and 4,
//! with the quadratic regularisation.

use retort_sdk::prelude::*;

hyper! {
    /// The target ranks the others as the source does: Spearman's correlation, with soft ranks of the target.
    ///
    /// L = 1 - meanᵢ corrⱼ( r_ε(cos(tᵢ, tⱼ)), r(cos(sᵢ, sⱼ)) )  over j ≠ i, where r are ranks, and r_ε(x) is the
    /// point nearest to x/ε among all mixtures of the orders of 1, …, n - 1.
    ///
    /// Equal cosines keep the order of the batch.
    pub struct SoftSpearman {
        /// ε, how soft ranks are, in cosine.
        epsilon: f64 = 0.01 => above(0.0),
    }
}

impl Loss for SoftSpearman {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        if t.dim(0) < 3 {
            return step.undefined("fewer than three samples have no others to rank");
        }
        let others = |x: Tensor| cosine_similarity(x, x).without_diagonal(); // [n, n - 1]
        let unit = |rank: Tensor| (rank - rank.mean_dim(1)).normalize(1);
        let soft = unit(soft_ranks(step, others(t) / self.epsilon));
        let hard = unit(others(s).ranks(1).float());
        1.0 - (soft * hard).sum_dim(1).mean()
    }
}

/// Each row of `[n, m]` projected onto the permutahedron of 1, …, m: sorted downwards, z less the isotonic
/// regression of z - (m, …, 1), which is constant in blocks, with their means.
fn soft_ranks(step: &Step, x: Tensor) -> Tensor {
    let (n, m) = (x.dim(0), x.dim(1));
    let (z, order) = x.sort(1, true);
    let y = z - (m - step.range(0..m).float()).reshape([1, m]);

    let (first, last) = blocks(&y.to_vec(), n, m);
    let [first, last] = [first, last].map(|ends| step.constant_index([n, m], &ends));
    let zero = step.constant([n, 1], &vec![0.0; n]);
    let sums = zero.cat(1, y.cumsum(1)); // [n, m + 1]
    let means = (sums.gather(1, last) - sums.gather(1, first)) / (last.float() - first.float());
    (z - means).gather(1, order.float().argsort(1))
}

/// For each place of each row of `[n, m]` where its block begins and, one further, ends: blocks whose means fall,
/// made by merging neighbours that don't (pool adjacent violators).
fn blocks(values: &[f64], n: usize, m: usize) -> (Vec<i64>, Vec<i64>) {
    let (mut first, mut last) = (vec![0; n * m], vec![1; n * m]);
    for (row, values) in values.chunks(m.max(1)).enumerate() {
        let mut stack: Vec<(f64, usize, usize)> = Vec::new(); // sum, first, last
        for (i, &value) in values.iter().enumerate() {
            let mut block = (value, i, i + 1);
            let mean = |b: &(f64, usize, usize)| b.0 / (b.2 - b.1) as f64;
            while let Some(before) = stack.pop_if(|before| mean(before) <= mean(&block)) {
                block = (before.0 + block.0, before.1, block.2);
            }
            stack.push(block);
        }
        for (_, from, to) in stack {
            first[row * m + from..row * m + to].fill(from as i64);
            last[row * m + from..row * m + to].fill(to as i64);
        }
    }
    (first, last)
}
