//! `retort loss check`: properties that a correct loss has, tried on any plugin.

pub mod card;
mod choices;
mod finite;
mod gradient;
mod order;
mod others;

pub use choices::words;

use crate::case::{Case, Outcome};
use crate::pin;
use crate::plugin::registry::Found;
use burn::tensor::{Device, FloatDType};
use retort_core::{Limits, LossError, Session, Setup};
use serde_json::{Map, Value, json};

/// Whether a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was tried, and holds.
    Holds,
    /// It was tried, and doesn't.
    Fails,
    /// It doesn't hold, and the loss's doc says why: `Exempt from <property>: …`.
    Exempt,
    /// It couldn't be tried.
    Unchecked,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Status::Holds => "holds",
            Status::Fails => "FAILS",
            Status::Exempt => "exempt",
            Status::Unchecked => "unchecked",
        })
    }
}

/// One property of a loss.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its name, one of [`PROPERTIES`].
    pub property: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// What was found, in words.
    pub detail: String,
    /// The smallest batch that shows a failure.
    pub input: Option<Case>,
}

impl Verdict {
    fn new(property: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Verdict { property, status, detail: detail.into(), input: None }
    }

    fn fails(property: &'static str, detail: impl Into<String>, input: &Case) -> Self {
        Verdict { input: Some(input.clone()), ..Verdict::new(property, Status::Fails, detail) }
    }
}

/// The properties, in the order they are tried, with what each asks.
pub const PROPERTIES: [(&str, &str); 18] = [
    ("runs", "random batches give a value, or the loss says that they lack something"),
    ("gradient", "autodiff agrees with finite differences in 64 bits"),
    ("order", "the order of a batch's samples doesn't matter"),
    (
        "determinism",
        "the same step gives the same bits: again, in another thread, after other batches",
    ),
    ("load path", "built in, native and WASM give the same bits"),
    ("duplicates", "finite where embeddings coincide"),
    ("zero rows", "finite where embeddings are zero"),
    ("one class", "finite, or said to be undefined, and no silent zero, without negatives"),
    ("all distinct", "finite, or said to be undefined, and no silent zero, without positives"),
    ("small batch", "finite, or said to be undefined, with one and two samples"),
    ("huge norms", "finite at 10⁴ times the norm"),
    ("tiny norms", "finite at 10⁻⁶ times the norm"),
    ("outlier", "finite with one sample far from all others"),
    ("f16 range", "finite over all magnitudes that 16-bit floats have"),
    (
        "choices",
        "every choice, at 6 and 512 dimensions: finite, in 32 bits as in 64, gradients as well",
    ),
    ("scaling", "operations don't grow with the batch; memory by no more than its third power"),
    ("parameters", "none appears after the first step"),
    ("snapshot", "the numbers are the recorded ones"),
];

/// Properties that a definition may give up, if its doc says why. The others are never a matter of
/// definition.
const EXEMPTIBLE: [&str; 6] =
    ["gradient", "order", "one class", "all distinct", "small batch", "scaling"];

/// What is checked, and against what.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The loss.
    pub found: &'a Found,
    /// Its resolved hyperparameters.
    pub hyper: Map<String, Value>,
    /// Limits of every step.
    pub limits: Limits,
    /// The same loss from other files.
    pub others: Vec<Found>,
    /// The recorded snapshot, and where it is.
    pub pin: Option<(String, String)>,
}

/// What a step gave, or why not: undefined on this batch, or broken.
enum Tried {
    Gave(Outcome),
    Undefined(String),
    Broke(String),
}

fn cpu() -> Device {
    Device::flex().autodiff()
}

impl Subject<'_> {
    fn open(&self, found: &Found, dtype: FloatDType) -> Result<Session, LossError> {
        let name = &found.definition.name;
        let fault = |e: crate::plugin::PluginError| LossError::Fault {
            loss: name.clone(),
            fault: e.to_string(),
        };
        let code = found.create(&self.hyper, &self.limits).map_err(fault)?;
        let setup = Setup { device: cpu(), dtype, seed: 1, limits: self.limits.clone() };
        Ok(Session::new(name, code, setup))
    }

    fn session(&self, dtype: FloatDType) -> Result<Session, LossError> {
        self.open(self.found, dtype)
    }

    /// One step of a new session.
    fn run(&self, case: &Case, dtype: FloatDType) -> Tried {
        let outcome = self.session(dtype).and_then(|mut session| {
            session.load_state(case.state.clone())?;
            case.step(&mut session, &cpu(), dtype)
        });
        match outcome {
            Ok(outcome) => Tried::Gave(outcome),
            Err(LossError::Undefined { why, .. }) => Tried::Undefined(why),
            Err(error) => Tried::Broke(error.to_string()),
        }
    }

    /// Whether the loss asks for an input.
    fn uses(&self, input: &str) -> bool {
        let case = Case::example(12, 8, 1);
        self.session(FloatDType::F32).is_ok_and(|mut session| {
            let _ = session.step(&case.inputs(&cpu(), FloatDType::F32));
            session.inputs_used().contains(input)
        })
    }

    /// The doc's reason why a property doesn't hold.
    fn exemption(&self, property: &str) -> Option<String> {
        let doc = &self.found.definition.doc;
        let start = doc.find(&format!("Exempt from {property}: "))?;
        let reason = doc[start..].split_once(": ")?.1;
        let reason = reason.split("\n\n").next().unwrap_or_default();
        let reason = reason.split("Exempt from ").next().unwrap_or_default();
        Some(reason.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Tries every property. One that fails doesn't stop the others, unless the loss doesn't run at
    /// all.
    pub fn check(&self, mut progress: impl FnMut(&str)) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (property, _) in PROPERTIES {
            progress(property);
            let mut verdict = match property {
                "runs" => self.runs(),
                "gradient" => gradient::check(self),
                "order" => order::check(self),
                "determinism" => others::determinism(self),
                "load path" => others::load_path(self),
                "choices" => choices::check(self),
                "scaling" => others::scaling(self),
                "parameters" => others::parameters(self),
                "snapshot" => self.snapshot(),
                _ => finite::check(self, property),
            };
            if verdict.status == Status::Fails
                && EXEMPTIBLE.contains(&property)
                && let Some(reason) = self.exemption(property)
            {
                verdict.status = Status::Exempt;
                verdict.detail = format!("{reason} (found: {})", verdict.detail);
            }
            let broken = property == "runs" && verdict.status == Status::Fails;
            verdicts.push(verdict);
            if broken {
                let rest = PROPERTIES.iter().skip(1);
                verdicts.extend(
                    rest.map(|(p, _)| Verdict::new(p, Status::Unchecked, "the loss doesn't run")),
                );
                break;
            }
        }
        verdicts
    }

    fn runs(&self) -> Verdict {
        let mut defined = 0;
        for (n, d) in [(2, 2), (4, 3), (6, 4), (12, 8)] {
            let case = Case::example(n, d, 1);
            match self.run(&case, FloatDType::F32) {
                Tried::Gave(outcome) if !outcome.value.is_finite() => {
                    let detail = format!("the value is {} on a random batch", outcome.value);
                    return Verdict::fails("runs", detail, &case);
                }
                Tried::Gave(_) => defined += 1,
                Tried::Undefined(_) => {}
                Tried::Broke(why) => return Verdict::fails("runs", why, &case),
            }
        }
        if defined == 0 {
            let case = Case::example(12, 8, 1);
            return Verdict::fails("runs", "it is undefined on every random batch", &case);
        }
        Verdict::new("runs", Status::Holds, format!("{defined} of 4 random batches give a value"))
    }

    fn snapshot(&self) -> Verdict {
        let Some((place, recorded)) = &self.pin else {
            let how =
                "there is none: make one with `retort snapshot record`, give it with --snapshot";
            return Verdict::new("snapshot", Status::Unchecked, how);
        };
        let defaults = self.found.definition.hyper.iter();
        if defaults.clone().any(|field| self.hyper.get(&field.name) != Some(&field.default)) {
            let why = "snapshots are of the default hyperparameters";
            return Verdict::new("snapshot", Status::Unchecked, why);
        }
        let now = match pin::record(self.found, &self.limits) {
            Ok(now) => now,
            Err(e) => return Verdict::new("snapshot", Status::Fails, e.message),
        };
        match pin::differences(recorded, &now, pin::TOLERANCE).as_slice() {
            [] => {
                let lines = recorded.lines().count();
                let detail = format!("{lines} lines of {place}");
                Verdict::new("snapshot", Status::Holds, detail)
            }
            [first, rest @ ..] => {
                let more = if rest.is_empty() {
                    String::new()
                } else {
                    format!(", and {} more", rest.len())
                };
                Verdict::new("snapshot", Status::Fails, format!("{first}{more} ({place})"))
            }
        }
    }
}

/// The verdicts as JSON.
pub fn to_json(verdicts: &[Verdict]) -> Value {
    let one = |v: &Verdict| {
        json!({
            "property": v.property, "verdict": v.status.to_string().to_lowercase(),
            "detail": v.detail, "input": v.input.as_ref().map(in_words),
        })
    };
    verdicts.iter().map(one).collect()
}

/// A small batch written out, a large one by its shape.
pub fn in_words(case: &Case) -> String {
    let number = |x: f64| {
        let short = format!("{x:.4}");
        if x != 0.0 && (x.abs() < 1e-3 || x.abs() >= 1e5) { format!("{x:.3e}") } else { short }
    };
    let matrix = |data: &burn::tensor::TensorData| {
        let dims = data.shape().to_vec();
        let values: Vec<f64> = data.iter::<f64>().collect();
        if values.len() > 16 || dims.len() != 2 {
            return format!("{dims:?}");
        }
        let rows: Vec<String> = values
            .chunks(dims[1].max(1))
            .map(|row| {
                format!("[{}]", row.iter().map(|&x| number(x)).collect::<Vec<_>>().join(", "))
            })
            .collect();
        format!("[{}]", rows.join(", "))
    };
    let mut parts = Vec::new();
    parts.extend(case.target.as_ref().map(|x| format!("target {}", matrix(x))));
    parts.extend(case.source.as_ref().map(|x| format!("source {}", matrix(x))));
    parts.push(format!("labels {:?}", case.labels));
    parts.extend((case.views > 1).then(|| format!("views {}", case.views)));
    parts.join(", ")
}
