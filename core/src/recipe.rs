//! How a network is trained: sizes, rates and schedule.

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

/// Settings of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training set.
    pub epochs: usize,
    /// Samples in a batch, before views.
    pub batch: usize,
    /// Samples of each class in a batch (IPC); 0 draws samples without regard to class.
    pub images_per_class: usize,
    /// Which samples form a batch.
    pub sampler: Sampling,
    /// Augmented copies of each sample in a batch.
    pub views: usize,
    /// How parameters are updated.
    pub optimizer: Method,
    /// Learning rate of the network.
    pub lr: f64,
    /// Factor of the learning rate for the embedding layer.
    pub embedding_lr_factor: f64,
    /// Factor of the learning rate for the losses' own parameters, such as proxies; a loss's
    /// `lr_factor` goes before it. (Proxy-Anchor's authors take 100, at a learning rate of 1e-4.)
    pub loss_lr_factor: f64,
    /// Weight decay: decoupled from the gradient in `AdamW`, added to it elsewhere.
    pub weight_decay: f64,
    /// ε beside the root in `AdamW`, Adam and RMSprop.
    pub epsilon: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Epochs between two falls of the schedule `step`.
    pub lr_decay_step: usize,
    /// What the learning rate is multiplied with at each fall of the schedule `step`.
    pub lr_decay_gamma: f64,
    /// Epochs in which the learning rate grows to its full value.
    pub warmup_epochs: usize,
    /// First epochs in which only the embedding layer and the losses' parameters learn.
    pub new_only_epochs: usize,
    /// Let frozen batch norms' scales and shifts learn after `new_only_epochs`, as the relaxed
    /// losses' authors' code does by mistake. Their statistics stay frozen.
    pub thaw_batch_norm: bool,
    /// Gradients are clamped to plus and minus this; 0 leaves them.
    pub clip_value: f64,
    /// Share of the old value in the average of the weights that is evaluated and saved instead of
    /// them; 0 takes the weights themselves.
    pub ema_decay: f64,
    /// Parts that a batch goes through the networks in, one after the other, when it doesn't fit into
    /// memory. The losses see the whole batch; batch norms see a part, unless frozen.
    pub chunks: usize,
    /// What to do when a loss isn't defined on a batch.
    pub on_undefined: OnUndefined,
    /// Type of the numbers.
    pub precision: Precision,
    /// Steps between two looks at the loss, which wait for the device.
    pub log_every: usize,
    /// Epochs between two evaluations; 0 evaluates at the end only.
    pub evaluate_every: usize,
    /// Evaluations without a better Recall (at the smallest K) after which the training ends; 0 goes
    /// on to the last epoch.
    pub patience: usize,
    /// Steps between two checkpoints; 0 writes them at the ends of epochs only.
    pub checkpoint_steps: usize,
    /// Epochs between two checkpoints that are kept as `epoch-NNNN.safetensors`; 0 keeps none but
    /// the last and the best.
    pub checkpoint_every: usize,
    /// How many of these stay, the newest; 0 keeps all.
    pub keep: usize,
    /// Threads that load pictures.
    pub workers: usize,
}

/// Which samples form a batch: a function of seed and epoch alone, so that a checkpoint that notes
/// seed, epoch and step has all of a sampler's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The same number of images of each of some classes; each image once in so many.
    #[default]
    Balanced,
    /// Any samples.
    Random,
    /// As `Balanced`, with epochs long enough for every class to come.
    AllClasses,
    /// As `Balanced`, with classes of two super-classes, where the data set has those.
    SuperClass,
}

/// How parameters are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; β 0.9 and 0.999.
    #[default]
    AdamW,
    /// Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; β 0.9 and 0.999.
    Adam,
    /// Stochastic gradient descent with Nesterov's momentum of 0.9.
    Sgd,
    /// Tieleman & Hinton, 2012, with α 0.9 and a momentum of 0.9.
    RmsProp,
}

/// How the learning rate falls over the epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine, down to 0 after the last epoch.
    #[default]
    Cosine,
    /// By `lr_decay_gamma` every `lr_decay_step` epochs.
    Step,
    /// Not at all.
    Constant,
}

/// Type of the network's and the losses' numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 64 bits, which GPUs rarely have: to compare with other implementations.
    F64,
    /// The networks compute in 16-bit floats (5 bits of exponent; gradients are scaled by 1024 on the
    /// way), all else in 32 bits: parameters, batch norms, the embedding layer, losses, updates. Micikevicius,
    /// Narang, Alben et al., "Mixed Precision Training", ICLR 2018.
    #[serde(rename = "mixed_f16")]
    MixedF16,
    /// The same in bfloat16, which has the range of 32 bits and needs no scale.
    #[serde(rename = "mixed_bf16")]
    MixedBf16,
}

impl Precision {
    /// Burn's name for the type of parameters, losses and updates.
    pub fn dtype(self) -> FloatDType {
        match self {
            Precision::F64 => FloatDType::F64,
            _ => FloatDType::F32,
        }
    }

    /// The 16-bit type that networks compute in, if they do.
    pub fn half(self) -> Option<FloatDType> {
        match self {
            Precision::MixedF16 => Some(FloatDType::F16),
            Precision::MixedBf16 => Some(FloatDType::BF16),
            _ => None,
        }
    }

    /// What gradients are multiplied with on their way through the networks, so that small ones
    /// aren't rounded to zero.
    pub fn gradient_scale(self) -> Option<f64> {
        (self == Precision::MixedF16).then_some(1024.0)
    }
}

/// What to do when a loss isn't defined on a batch, such as one without two samples of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUndefined {
    /// End the training.
    #[default]
    Error,
    /// Leave the loss out of the step, and count.
    Skip,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            epochs: 20,
            batch: 80,
            images_per_class: 4,
            sampler: Sampling::Balanced,
            views: 1,
            optimizer: Method::AdamW,
            lr: 2e-3,
            embedding_lr_factor: 1.0,
            loss_lr_factor: 10.0,
            weight_decay: 1e-4,
            epsilon: 1e-8,
            schedule: Schedule::Cosine,
            lr_decay_step: 10,
            lr_decay_gamma: 0.5,
            warmup_epochs: 0,
            new_only_epochs: 0,
            thaw_batch_norm: false,
            clip_value: 0.0,
            ema_decay: 0.0,
            chunks: 1,
            on_undefined: OnUndefined::Error,
            precision: Precision::F32,
            log_every: 10,
            evaluate_every: 0,
            patience: 0,
            checkpoint_steps: 0,
            checkpoint_every: 0,
            keep: 0,
            workers: 1,
        }
    }
}

impl Recipe {
    /// Refuses settings that make no sense; the message names the key.
    pub fn check(&self) -> Result<(), String> {
        let (never, memory) =
            ((1_000_000_000, "more would never come"), "a batch is held in memory");
        let ranges = [
            ("epochs", self.epochs, 1, never),
            ("batch", self.batch, 1, (1_000_000, memory)),
            ("images_per_class", self.images_per_class, 0, (1_000_000, memory)),
            ("views", self.views, 1, (1000, memory)),
            ("lr_decay_step", self.lr_decay_step, 1, never),
            ("warmup_epochs", self.warmup_epochs, 0, never),
            ("new_only_epochs", self.new_only_epochs, 0, never),
            ("chunks", self.chunks, 1, (1_000_000, "a batch has no more parts")),
            ("log_every", self.log_every, 1, never),
            ("evaluate_every", self.evaluate_every, 0, never),
            ("patience", self.patience, 0, never),
            ("checkpoint_steps", self.checkpoint_steps, 0, never),
            ("checkpoint_every", self.checkpoint_every, 0, never),
            ("keep", self.keep, 0, never),
            ("workers", self.workers, 0, (1000, "each is a thread")),
        ];
        for (key, value, least, (most, why)) in ranges {
            if value < least {
                return Err(format!("{key} = {value}: it must be at least {least}"));
            }
            if value > most {
                return Err(format!("{key} = {value}: it must be at most {most}; {why}"));
            }
        }
        let not_negative = [
            ("lr", self.lr),
            ("embedding_lr_factor", self.embedding_lr_factor),
            ("loss_lr_factor", self.loss_lr_factor),
            ("weight_decay", self.weight_decay),
            ("epsilon", self.epsilon),
            ("lr_decay_gamma", self.lr_decay_gamma),
            ("clip_value", self.clip_value),
            ("ema_decay", self.ema_decay),
        ];
        if let Some((key, v)) = not_negative.iter().find(|(_, v)| !v.is_finite() || *v < 0.0) {
            return Err(format!("{key} = {v:?}: it must be a number of at least 0"));
        }
        if self.ema_decay >= 1.0 {
            return Err(format!("ema_decay = {:?}: it must be below 1", self.ema_decay));
        }
        if self.patience > 0 && self.evaluate_every == 0 {
            return Err(format!(
                "patience = {}: it counts evaluations, and evaluate_every = 0 asks for none before \
                 the end; set evaluate_every = 1",
                self.patience
            ));
        }
        Ok(())
    }

    /// Learning rate in an epoch, from 0: linear warm-up, then the schedule.
    pub fn lr_in(&self, epoch: usize) -> f64 {
        if epoch < self.warmup_epochs {
            return self.lr * (epoch + 1) as f64 / (self.warmup_epochs + 1) as f64;
        }
        let length = self.epochs.saturating_sub(self.warmup_epochs).max(1);
        let epoch = epoch - self.warmup_epochs;
        match self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Step => {
                self.lr * self.lr_decay_gamma.powi((epoch / self.lr_decay_step.max(1)) as i32)
            }
            Schedule::Cosine => {
                let share = epoch as f64 / length as f64;
                self.lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
            }
        }
    }
}
