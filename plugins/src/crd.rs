//! Tian, Krishnan & Isola, "Contrastive Representation Distillation", ICLR 2020, equations 17 to 19.

use retort_sdk::prelude::*;

choice! {
    /// What the loss looks at.
    pub enum On {
        /// The last feature vector, before the embedding layer.
        Feature = "feature",
        /// The embedding.
        Embedding = "embedding",
    }
}

hyper! {
    /// Tells a sample's own entry in the other network's memory from k random ones.
    ///
    /// L = -1/n Σᵢ [ log h(i, i) + Σⱼ log(1 - h(i, j)) ]  over k noise samples j, once for either anchor,
    /// where h(i, j) = p / (p + k/N),  p = e^{aᵢ·mⱼ/τ} / Z,  N is the size of the training set, and Z is
    /// N times the mean of the first batch's exponentials.
    ///
    /// As in the authors' code: memories of all samples, updated with momentum after each step; noise
    /// from other classes; 1e-7 beside k/N. Of a sample's views the last one is remembered.
    pub struct Crd {
        /// Width of the space that both networks are projected to.
        dim: usize = 128 => 1..,
        /// k, noise samples for each sample.
        negatives: usize = 4096 => 1..,
        /// τ; below 0.012 the exponentials leave the range of 32 bits.
        temperature: f64 = 0.07 => 0.012..,
        /// Share of the old entry that a memory update keeps.
        momentum: f64 = 0.5 => 0.0..=1.0,
        /// What the projections see.
        on: On = On::Feature,
        /// Where noise samples come from.
        noise: Negatives = Negatives::OtherClasses,
    }
}

impl Loss for Crd {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = match self.on {
            On::Embedding => (Some(step.target()), Some(step.source())),
            On::Feature => {
                (last_feature(&step.target_features()), last_feature(&step.source_features()))
            }
        };
        let (Some(t), Some(s)) = (t, s) else {
            return step.fail("the networks return no feature vector: set on = \"embedding\"");
        };
        let t = step.linear("embed_target", t, self.dim).normalize(1); // [n, dim]
        let s = step.linear("embed_source", s, self.dim).normalize(1); // [n, dim]

        let picks = step.contrast(self.negatives, self.noise); // [n, 1 + k]
        let bound = (3.0 / self.dim as f64).sqrt();
        let memory = |name| step.buffer(name, [step.samples(), self.dim], Init::Uniform(bound));
        let (memory_t, memory_s) = (memory("memory_target"), memory("memory_source"));

        let loss = self.contrast(step, "z_target", t, memory_s, picks)
            + self.contrast(step, "z_source", s, memory_t, picks);
        self.remember(memory_t, step.ids(), t);
        self.remember(memory_s, step.ids(), s);
        loss
    }
}

impl Crd {
    /// How well `anchor` tells column 0 of `picks` from the rest.
    fn contrast(&self, step: &Step, z: &str, anchor: Tensor, memory: Buffer, picks: Index) -> Tensor {
        let (n, k, samples) = (anchor.dim(0), self.negatives, step.samples());
        // The authors keep τ in 32 bits.
        let score = anchor.matmul(memory.get().t()) / f64::from(self.temperature as f32); // [n, N]
        let e = score.gather(1, picks).exp(); // [n, 1 + k]
        let p = e / step.once(z, e.mean() * samples);

        let m = k as f64 / samples as f64;
        let (own, other) = (p.slice(1, 0..1), p.slice(1, 1..1 + k));
        let log_h = (own / (own + (m + 1e-7))).ln().sum();
        let log_not_h = (m / (other + (m + 1e-7))).ln().sum();
        -(log_h + log_not_h) / n
    }

    /// Moves the batch's entries towards the new embeddings.
    fn remember(&self, memory: Buffer, ids: Index, x: Tensor) {
        let momentum = f64::from(self.momentum as f32); // as τ
        let mixed = momentum * memory.rows(ids) + (1.0 - momentum) * x.detach();
        memory.set_rows(ids, mixed.normalize(1));
    }
}
