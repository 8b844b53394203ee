//! How a network is trained: sizes, rates and schedule.

use crate::optimizer::OPTIMIZERS;
use crate::schedule::{Make, SCHEDULES};
use crate::settings;
use burn::tensor::FloatDType;
use retort_datasets::part::{Chosen, Part};
use retort_datasets::{AUGMENTATIONS, SAMPLERS};
use serde::{Deserialize, Serialize};

/// More epochs or steps than this would never come.
const NEVER: i32 = 1_000_000_000;
/// A batch is held in memory.
const BATCH: i32 = 1_000_000;

settings! {
    /// Settings of a training.
    #[serde(deny_unknown_fields)]
    pub struct Recipe {
        /// Passes over the training set.
        epochs: usize = 20 => 1..=NEVER,
        /// Samples in a batch, before views.
        batch: usize = 80 => 1..=BATCH,
        /// Samples of each class in a batch (IPC); 0 draws samples without regard to class.
        images_per_class: usize = 4 => 0..=BATCH,
        /// Which samples form a batch.
        sampler: Chosen = "balanced".into(),
        /// Augmented copies of each sample in a batch.
        views: usize = 1 => 1..=1000,
        /// How pictures are changed at random, one after the other; none takes what suits the data set.
        augmentation: Vec<Chosen> = Vec::new(),
        /// How parameters are updated.
        optimizer: Chosen = "adamw".into(),
        /// Learning rate of the network.
        lr: f64 = 2e-3 => 0.0..,
        /// Factor of the learning rate for the embedding layer.
        embedding_lr_factor: f64 = 1.0 => 0.0..,
        /// Factor of the learning rate for the losses' own parameters, such as proxies; a loss's
        /// `lr_factor` goes before it. (Proxy-Anchor's authors take 100, at a learning rate of 1e-4.)
        loss_lr_factor: f64 = 10.0 => 0.0..,
        /// Weight decay: decoupled from the gradient in `adamw`, added to it elsewhere.
        weight_decay: f64 = 1e-4 => 0.0..,
        /// How the learning rate falls over the epochs.
        schedule: Chosen = "cosine".into(),
        /// Epochs in which the learning rate grows to its full value.
        warmup_epochs: usize = 0 => 0..=NEVER,
        /// First epochs in which only the embedding layer and the losses' parameters learn.
        new_only_epochs: usize = 0 => 0..=NEVER,
        /// Let frozen batch norms' scales and shifts learn after `new_only_epochs`, as the relaxed
        /// losses' authors' code does by mistake. Their statistics stay frozen.
        thaw_batch_norm: bool = false,
        /// Gradients are clamped to plus and minus this; 0 leaves them.
        clip_value: f64 = 0.0 => 0.0..,
        /// Share of the old value in the average of the weights that is evaluated and saved instead of
        /// them; 0 takes the weights themselves.
        ema_decay: f64 = 0.0 => 0.0..,
        /// Parts that a batch goes through the networks in, one after the other, when it doesn't fit into
        /// memory. The losses see the whole batch; batch norms see a part, unless frozen.
        chunks: usize = 1 => 1..=BATCH,
        /// What to do when a loss isn't defined on a batch.
        on_undefined: OnUndefined = OnUndefined::Error,
        /// Type of the numbers.
        precision: Precision = Precision::F32,
        /// Look after each step whether the loss and all that learns is finite, and name the operation where it
        /// first isn't: slow. (A training that diverged does the steps since its last checkpoint again for that.)
        detect_anomaly: bool = false,
        /// Steps between two looks at the loss, which wait for the device.
        log_every: usize = 10 => 1..=NEVER,
        /// Epochs between two evaluations; 0 evaluates at the end only.
        evaluate_every: usize = 0 => 0..=NEVER,
        /// Pictures in a batch of an evaluation.
        evaluation_batch: usize = 64 => 1..=BATCH,
        /// Evaluations without a better Recall (at the smallest K) after which the training ends; 0 goes
        /// on to the last epoch.
        patience: usize = 0 => 0..=NEVER,
        /// Steps between two checkpoints; 0 writes them at the ends of epochs only.
        checkpoint_steps: usize = 0 => 0..=NEVER,
        /// Epochs between two checkpoints that are kept as `epoch-NNNN.safetensors`; 0 keeps none but
        /// the last and the best.
        checkpoint_every: usize = 0 => 0..=NEVER,
        /// How many of these stay, the newest; 0 keeps all.
        keep: usize = 0 => 0..=NEVER,
        /// Threads that load pictures, in evaluations at least one.
        workers: usize = 1 => 0..=1000,
    }
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

impl Recipe {
    /// Refuses settings that make no sense; the message names the key.
    pub fn check(&self) -> Result<(), String> {
        self.in_range()?;
        self.clone().resolve()?;
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

    /// Puts in the options' defaults of all that is named: sampler, augmentations, optimiser, schedule.
    pub fn resolve(&mut self) -> Result<(), String> {
        let of = |key: &'static str| move |why: String| format!("{key}: {why}");
        self.sampler.resolve("sampler", SAMPLERS).map_err(of("sampler"))?;
        for one in &mut self.augmentation {
            one.resolve("augmentation", AUGMENTATIONS).map_err(of("augmentation"))?;
        }
        self.optimizer.resolve("optimiser", OPTIMIZERS).map_err(of("optimizer"))?;
        self.schedule.resolve("schedule", SCHEDULES).map_err(of("schedule"))
    }

    /// Learning rate in an epoch, from 0: linear warm-up, then the schedule. Of a recipe that
    /// [`check`](Self::check) takes.
    pub fn lr_in(&self, epoch: usize) -> f64 {
        if epoch < self.warmup_epochs {
            return self.lr * (epoch + 1) as f64 / (self.warmup_epochs + 1) as f64;
        }
        let epochs = self.epochs.saturating_sub(self.warmup_epochs).max(1);
        let schedule = self.schedule.find("schedule", SCHEDULES);
        let factor = |(part, options): (&Part<Make>, _)| {
            (part.make)(&options).factor(epoch - self.warmup_epochs, epochs)
        };
        self.lr * schedule.map_or(1.0, factor)
    }
}
