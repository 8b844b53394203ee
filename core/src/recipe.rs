//! How a network is trained: sizes, rates and schedule.

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
    /// Learning rate of the network.
    pub lr: f64,
    /// Factor of the learning rate for the losses' own parameters, such as proxies. (Proxy-Anchor's
    /// authors take 100, at a learning rate of 1e-4.)
    pub loss_lr_factor: f64,
    /// `AdamW`'s decoupled weight decay.
    pub weight_decay: f64,
    /// Epochs in which the learning rate grows to its full value.
    pub warmup_epochs: usize,
    /// Gradients are clamped to plus and minus this; 0 leaves them.
    pub clip_value: f64,
    /// What to do when a loss isn't defined on a batch.
    pub on_undefined: OnUndefined,
    /// Steps between two looks at the loss, which wait for the device.
    pub log_every: usize,
    /// Epochs between two evaluations; 0 evaluates at the end only.
    pub evaluate_every: usize,
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
            lr: 2e-3,
            loss_lr_factor: 10.0,
            weight_decay: 1e-4,
            warmup_epochs: 0,
            clip_value: 0.0,
            on_undefined: OnUndefined::Error,
            log_every: 10,
            evaluate_every: 0,
            workers: 1,
        }
    }
}

impl Recipe {
    /// Refuses settings that make no sense; the message names the key.
    pub fn check(&self) -> Result<(), String> {
        let at_least_one = [
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("views", self.views),
            ("log_every", self.log_every),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, v)| *v == 0) {
            return Err(format!("{key} = 0: it must be at least 1"));
        }
        let not_negative = [
            ("lr", self.lr),
            ("loss_lr_factor", self.loss_lr_factor),
            ("weight_decay", self.weight_decay),
            ("clip_value", self.clip_value),
        ];
        match not_negative.iter().find(|(_, v)| !v.is_finite() || *v < 0.0) {
            Some((key, v)) => Err(format!("{key} = {v}: it must be a number of at least 0")),
            None => Ok(()),
        }
    }

    /// Learning rate in an epoch: linear warm-up, then a half cosine down to 0 after the last.
    pub fn lr_in(&self, epoch: usize) -> f64 {
        if epoch < self.warmup_epochs {
            return self.lr * (epoch + 1) as f64 / (self.warmup_epochs + 1) as f64;
        }
        let length = self.epochs.saturating_sub(self.warmup_epochs).max(1);
        let share = (epoch - self.warmup_epochs) as f64 / length as f64;
        self.lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
    }
}
