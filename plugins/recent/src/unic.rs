//! Sariyildiz, Weinzaepfel, Lucas, Larlus & Kalantidis, "UNIC: Universal Classification Models via
//! Multi-teacher Distillation", ECCV 2024.

use retort_sdk::prelude::*;

hyper! {
    /// A map for each of several teachers turns the target's embedding into the teacher's; of a sample's
    /// teachers the one that fits worst always counts, the others at random.
    ///
    /// L = meanᵢ Σₖ mᵢₖ Lᵢₖ,  Lᵢₖ = 1 - cos(zᵢₖ, yᵢₖ) + mean h(zᵢₖ - yᵢₖ),  zₖ = Wₖ t + bₖ,
    /// where h is Huber's function, and yₖ the teacher's part of the source's embedding, each coordinate with
    /// mean 0 and variance 1; m is 1 for the largest of a sample's Lᵢₖ, else 0 with probability p.
    ///
    /// The source's embedding is the teachers', one after the other. Means and variances are running ones,
    /// biased towards no start.
    pub struct Unic {
        /// Coordinates of the first teacher; 0 is all, of one teacher.
        width_1: usize = 0,
        /// Coordinates of the second; 0 is none.
        width_2: usize = 0,
        /// Coordinates of the third; 0 is none.
        width_3: usize = 0,
        /// Coordinates of the fourth; 0 is none.
        width_4: usize = 0,
        /// p, probability that a teacher is left out.
        drop: f64 = 0.5 => 0.0..=1.0,
        /// How much of the running statistics each batch replaces.
        momentum: f64 = 0.1 => above(0.0),
    }
}

impl Loss for Unic {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, Σ widths]
        let (n, all) = (s.dim(0), s.dim(1));
        let given = [self.width_1, self.width_2, self.width_3, self.width_4];
        let mut widths: Vec<usize> = given.into_iter().filter(|&width| width > 0).collect();
        if widths.is_empty() {
            widths.push(all);
        }
        let sum: usize = widths.iter().sum();
        if sum != all {
            return step.fail(&format!(
                "the source has {all} coordinates, the teachers {sum}: set width_1 and so on"
            ));
        }
        let mut losses: Option<Tensor> = None; // [n, teachers]
        let mut start = 0;
        for (k, &width) in widths.iter().enumerate() {
            let name = format!("teacher{k}");
            let y = self.standardised(step, &name, s.slice(1, start..start + width));
            let z = step.linear(&name, t, width);
            let own = 1.0 - row_cosine(z, y).reshape([n, 1]) + huber(z - y).mean_dim(1);
            losses = Some(losses.map_or(own, |losses| losses.cat(1, own)));
            start += width;
        }
        let Some(losses) = losses else { return step.fail("there is no teacher") };
        let draw = step.random_uniform([n, widths.len()]);
        let constant = losses.detach();
        let worst = constant.equal(constant.max_dim(1));
        (losses * worst.max(1.0 - draw.below(self.drop))).sum_dim(1).mean()
    }
}

impl Unic {
    /// Coordinates with mean 0 and variance 1, by statistics of all batches so far, this one's included.
    fn standardised(&self, step: &Step, name: &str, x: Tensor) -> Tensor {
        let width = x.dim(1);
        let run = |what: &str, width: usize, now: Tensor| {
            let name = format!("{name}.{what}");
            let buffer = step.buffer(&name, [1, width], Init::Zeros);
            let value = (1.0 - self.momentum) * buffer.get() + self.momentum * now;
            buffer.set(value);
            value
        };
        let seen = run("seen", 1, step.constant([1, 1], &[1.0])); // what the zeros of the start leave
        let mean = run("mean", width, x.mean_dim(0)) / seen;
        let variance = run("variance", width, x.var(0, 0)) / seen;
        (x - mean) / (variance + 1e-6).sqrt()
    }
}
