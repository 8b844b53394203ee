//! What the relaxed losses' authors' scripts (Kim, Kim, Cho & Kwak, CVPR 2021: `train_source.py`,
//! `train_target.py`) mean by their names and defaults, so that their command lines run here.
//!
//! Where their code is known to be wrong (a missing checkpoint is no error, frozen batch norms thaw
//! after the warm-up, Adam's ε is 1 in one of two scripts) the right thing is done; an option asks for
//! theirs where a result depends on it (`--thaw-batch-norm`, `--epsilon 1`).

use crate::experiment::{Experiment, LossConfig};
use crate::plugin::registry::short_name;
use clap::ValueEnum;

/// What a training has where neither its flags nor its file say something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Small networks on small pictures: minutes on a CPU.
    Small,
    /// The defaults of the relaxed losses' authors' scripts.
    Paper,
}

/// The paper's data sets.
const PAPER: &[&str] = &["cub", "cars", "sop"];

/// The authors' name of a data set, or any other, as it is called here.
pub fn dataset(name: &str) -> String {
    let lower = name.to_lowercase();
    if PAPER.contains(&lower.as_str()) { lower } else { name.to_owned() }
}

impl Preset {
    /// The preset of a data set.
    pub fn of(dataset: &str) -> Self {
        if PAPER.contains(&dataset) { Preset::Paper } else { Preset::Small }
    }

    /// The experiment that flags change. `role` is `source` or `target`.
    pub fn experiment(self, dataset: &str, role: &str) -> Experiment {
        let mut experiment = Experiment::default();
        dataset.clone_into(&mut experiment.data.name);
        if self == Preset::Small {
            return experiment;
        }
        let source = role == "source";
        if dataset == "sop" {
            experiment.recall_at = vec![1, 10, 100, 1000];
        }
        experiment.data.size = 224;
        "bn_inception".clone_into(&mut experiment.network.name);
        experiment.network.l2_norm = false;
        experiment.source_norm = if source { None } else { Some(true) };
        let recipe = &mut experiment.train;
        (recipe.epochs, recipe.batch, recipe.images_per_class) = (90, 90, 0);
        (recipe.lr, recipe.loss_lr_factor) = (1e-4, 100.0);
        (recipe.evaluate_every, recipe.workers) = (1, 8);
        if source {
            (recipe.schedule, recipe.clip_value) = ("step".into(), 10.0);
        }
        experiment.loss = losses(if source { "Proxy_Anchor" } else { "Relaxed_Contra" });
        experiment
    }
}

/// The losses that a name stands for: the authors', else one of that name. Three of theirs come with
/// Proxy-Anchor, and their own parameters learn at the network's rate.
pub fn losses(name: &str) -> Vec<LossConfig> {
    let alone = |name: &str| vec![LossConfig::new(name)];
    let beside_proxies = |name: &str| {
        let transfer = LossConfig { lr_factor: Some(1.0), ..LossConfig::new(name) };
        vec![transfer, LossConfig::new("proxy_anchor")]
    };
    match name {
        "Relaxed_Contra" => alone("relaxed_contrastive"),
        "Relaxed_MS" => alone("relaxed_ms"),
        "RKD" => alone("rkd"),
        "PKT" => alone("pkt"),
        "DarkRank" => alone("darkrank"),
        "Attention" => beside_proxies("attention"),
        "FitNet" => beside_proxies("fitnet"),
        "CRD" => beside_proxies("crd"),
        "Proxy_Anchor" => alone("proxy_anchor"),
        "Proxy_NCA" => alone("proxy_nca"),
        "MS" => alone("multi_similarity"),
        "Contrastive" => alone("contrastive"),
        "Triplet" => alone("triplet"),
        "NPair" => alone("n_pair"),
        other => alone(other),
    }
}

/// Whether a name is one of the authors'.
pub fn is_authors(name: &str) -> bool {
    !matches!(losses(name).as_slice(), [only] if only.name == name)
}

/// Sets a hyperparameter of those losses that the authors' flag of this name is for; whether there was
/// one.
pub fn set_hyper(losses: &mut [LossConfig], flag: &str, value: f64) -> bool {
    let (key, takers): (_, &[&str]) = match flag {
        "sigma" => ("sigma", &["relaxed_contrastive", "relaxed_ms"]),
        "delta" => ("delta", &["relaxed_contrastive", "relaxed_ms"]),
        "alpha" => ("alpha", &["proxy_anchor"]),
        _ => ("margin", &["proxy_anchor"]),
    };
    let mut found = false;
    for loss in losses {
        let name = short_name(&loss.name);
        if takers.contains(&name) {
            loss.hyper.insert(key.to_owned(), value.into());
            found = true;
        }
    }
    found
}
