//! `retort loss check`: properties that a correct loss has, tried on any plugin.

pub mod card;
mod choices;
mod finite;
mod gradient;
pub mod junit;
mod order;
mod others;

pub use choices::words;

use crate::loss::case::{Case, Layout, Outcome};
use crate::loss::pin;
use crate::loss::probe::{self, probe};
use crate::plugin::registry::Found;
use burn::tensor::{Device, FloatDType};
use retort_core::{Limits, LossError, Session};
use retort_sdk::schema::Kind;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

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
    /// How long that took.
    pub seconds: f64,
}

impl Verdict {
    fn new(property: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Verdict { property, status, detail: detail.into(), input: None, seconds: 0.0 }
    }

    fn fails(property: &'static str, detail: impl Into<String>, input: &Case) -> Self {
        Verdict { input: Some(input.clone()), ..Verdict::new(property, Status::Fails, detail) }
    }

    /// What to do about it, if it fails.
    pub fn remedy(&self) -> Option<&'static str> {
        let property = PROPERTIES.iter().find(|p| p.name == self.property);
        property.filter(|_| self.status == Status::Fails).map(|p| p.remedy)
    }
}

/// What is asked of a loss.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// What to do where it fails.
    pub remedy: &'static str,
    /// It is tried with the hyperparameters as they are, however large.
    whole: bool,
}

impl Property {
    /// Whether it is tried with the hyperparameters as they are, however large.
    pub fn whole(&self) -> bool {
        self.whole
    }
}

const fn property(name: &'static str, asks: &'static str, remedy: &'static str) -> Property {
    Property { name, asks, remedy, whole: false }
}

const fn whole(name: &'static str, asks: &'static str, remedy: &'static str) -> Property {
    Property { name, asks, remedy, whole: true }
}

/// The properties, in the order they are shown.
pub const PROPERTIES: [Property; 18] = [
    whole(
        "runs",
        "random batches give a value, or the loss says that they lack something",
        "Run it by hand: `retort loss eval NAME --example`. Say with `step.undefined(why)` what a batch \
         may lack, and with `step.need_same_shape` that widths must be equal.",
    ),
    property(
        "gradient",
        "autodiff agrees with finite differences in 64 bits, detached values held",
        "NaN comes from a root, a logarithm or a division at 0: `safe_sqrt`, `norm`, `normalize`, \
         `clamp_min` and the shared distances are finite there. A difference comes from state outside of \
         the step: keep it in `step.buffer`. If nothing is trained, look for a `detach` too many.",
    ),
    property(
        "order",
        "the order of a batch's samples doesn't matter",
        "Compare rows by `labels()` and `ids()`, not by their place; sum over all pairs instead of \
         neighbours. If the place is meant, say why in the doc: \"Exempt from order: …\".",
    ),
    whole(
        "determinism",
        "the same step gives the same bits: again, in another thread, after other batches",
        "Take random numbers from `step.random_…`, and keep state in `step.buffer` or `step.once`: no \
         statics, no clock, no random numbers of your own, no order of a HashMap.",
    ),
    whole(
        "load path",
        "built in, native and WASM give the same bits",
        "Build both forms of one source, with one version of the SDK, and leave arithmetic to tensors: \
         `f64::exp` and its like differ between platforms.",
    ),
    property(
        "duplicates",
        "finite where embeddings coincide",
        "Distances of 0 have no slope: take `pairwise_distance`, `euclidean_distance`, or `safe_sqrt` in \
         place of `sqrt`.",
    ),
    property(
        "zero rows",
        "finite where embeddings are zero",
        "Divide by `norm(1).clamp_min(1e-12)` or take `normalize(1)`, which leaves a zero row zero.",
    ),
    property(
        "one class",
        "finite, or said to be undefined, and no silent zero, without negatives",
        "Begin with `step.need_negative_pairs()`, so that a batch of one class is skipped or refused.",
    ),
    property(
        "all distinct",
        "finite, or said to be undefined, and no silent zero, without positives",
        "Begin with `step.need_positive_pairs()`, so that a batch without pairs of a class is skipped or \
         refused.",
    ),
    property(
        "small batch",
        "finite, or said to be undefined, with one and two samples",
        "Divide by counts that can't be 0 (`clamp_min(1.0)`, `mean_where`), or say with \
         `step.undefined(why)` what a small batch lacks.",
    ),
    property(
        "huge norms",
        "finite at 10⁴ times the norm",
        "An exponential overflows: take `log_sum_exp`, `log_softmax`, `softplus`, or normalise first.",
    ),
    property(
        "tiny norms",
        "finite at 10⁻⁶ times the norm",
        "Something is divided by a square that is 0 in 32 bits: `normalize(1)` and `clamp_min` don't.",
    ),
    property(
        "outlier",
        "finite with one sample far from all others",
        "Subtract the largest exponent first: `log_sum_exp` and `log_softmax` do.",
    ),
    property(
        "f16 range",
        "finite over all magnitudes that 16-bit floats have",
        "Squares and exponentials leave the range of 32 bits: normalise, or clamp before them.",
    ),
    property(
        "choices",
        "every choice, at 6 and 512 dimensions: finite, in 32 bits as in 64, gradients as well",
        "Try the choice by hand: `retort loss eval NAME --example --set KEY=WORD --dtype f64`. Differences \
         of large numbers lose their digits in 32 bits: centre, normalise, or take logarithms.",
    ),
    whole(
        "scaling",
        "operations don't grow with the batch; memory by no more than its third power",
        "Replace a loop over samples by one operation on `[n, n]` or `[n, k]`: masks, `gather`, `rows`.",
    ),
    whole(
        "parameters",
        "none appears after the first step",
        "Ask for all of `step.param`, `step.buffer` and `step.once` in every step, before any branch, with \
         shapes that don't depend on the batch.",
    ),
    whole(
        "snapshot",
        "the numbers are the recorded ones",
        "If the definition was meant to change, record it anew: `retort snapshot record PLUGIN --force`.",
    ),
];

/// Properties that a definition may give up, if its doc says why. The others are never a matter of
/// definition.
const EXEMPTIBLE: [&str; 6] =
    ["gradient", "order", "one class", "all distinct", "small batch", "scaling"];

/// What is checked, and against what.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The loss.
    pub found: Found,
    /// Its resolved hyperparameters.
    pub hyper: Map<String, Value>,
    /// Limits of every step.
    pub limits: Limits,
    /// The same loss from other files.
    pub others: Vec<Found>,
    /// The recorded snapshot, and where it is.
    pub pin: Option<(String, String)>,
    /// The plainest batches that it takes.
    layout: Layout,
    /// Whole numbers that are smaller than their default, because it only takes longer.
    small: Map<String, Value>,
}

/// Widths, queues and numbers of negatives above this are made smaller where they are defaults.
const LARGE: u64 = 32;

/// What a step gave, or why not: undefined on this batch, or broken.
enum Tried {
    Gave(Outcome),
    Undefined(String),
    Broke(String),
}

fn cpu() -> Device {
    Device::flex().autodiff()
}

impl Subject {
    /// A loss to be checked, alone.
    pub fn new(found: Found, hyper: Map<String, Value>, limits: Limits) -> Self {
        let layout = probe(&found, &hyper, &limits).map_or(Layout::ALL[0], |p| p.layout);
        let large = found.definition.hyper.iter().filter(|field| {
            let default = field.default.as_u64().filter(|&x| x > LARGE);
            field.kind == Kind::Integer
                && default.is_some()
                && hyper.get(&field.name).and_then(Value::as_u64) == default
                && field.range.contains(LARGE as f64)
        });
        let small: Map<String, Value> =
            large.map(|field| (field.name.clone(), Value::from(LARGE))).collect();
        let (others, pin) = (Vec::new(), None);
        let mut subject = Subject { found, hyper, limits, others, pin, layout, small };
        let case = subject.case(12, 8, 1);
        let gives =
            |subject: &Subject| matches!(subject.run(&case, FloatDType::F64), Tried::Gave(_));
        if !subject.small.is_empty() && !gives(&subject) {
            subject.small.clear();
        }
        subject
    }

    /// The same, to be compared with other forms of it and with its snapshot.
    pub fn against(self, others: Vec<Found>, pin: Option<(String, String)>) -> Self {
        Subject { others, pin, ..self }
    }

    /// Hyperparameters that most properties are tried with in place of their defaults.
    pub fn small(&self) -> &Map<String, Value> {
        &self.small
    }

    /// What a batch must be like.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// A batch that the loss takes; `n` is rounded up to whole views.
    fn case(&self, n: usize, d: usize, salt: u64) -> Case {
        Case::of(self.layout, n, d, salt)
    }

    fn open(&self, found: &Found, dtype: FloatDType) -> Result<Session, LossError> {
        let mut hyper = self.hyper.clone();
        hyper.extend(self.small.clone());
        probe::session(found, &hyper, &self.limits, dtype)
    }

    fn session(&self, dtype: FloatDType) -> Result<Session, LossError> {
        self.open(&self.found, dtype)
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
        let case = self.case(12, 8, 1);
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

    /// Tries one property.
    fn verdict(&self, property: &Property) -> Verdict {
        let begun = Instant::now();
        let as_it_is;
        let subject = if property.whole && !self.small.is_empty() {
            as_it_is = Subject { small: Map::new(), ..self.clone() };
            &as_it_is
        } else {
            self
        };
        let mut verdict = match property.name {
            "runs" => subject.runs(),
            "gradient" => gradient::check(subject),
            "order" => order::check(subject),
            "determinism" => others::determinism(subject),
            "load path" => others::load_path(subject),
            "choices" => choices::check(subject),
            "scaling" => others::scaling(subject),
            "parameters" => others::parameters(subject),
            "snapshot" => subject.snapshot(),
            name => finite::check(subject, name),
        };
        if verdict.status == Status::Fails
            && EXEMPTIBLE.contains(&property.name)
            && let Some(reason) = self.exemption(property.name)
        {
            verdict.status = Status::Exempt;
            verdict.detail = format!("{reason} (found: {})", verdict.detail);
        }
        verdict.seconds = begun.elapsed().as_secs_f64();
        verdict
    }

    fn runs(&self) -> Verdict {
        let mut defined = 0;
        for (n, d) in [(2, 2), (4, 3), (6, 4), (12, 8)] {
            let case = self.case(n, d, 1);
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
            let case = self.case(12, 8, 1);
            return Verdict::fails("runs", "it is undefined on every random batch", &case);
        }
        let words = self.layout.words().join(", ");
        let of = if words.is_empty() { words } else { format!(" of {words}") };
        let detail = format!("{defined} of 4 random batches{of} give a value");
        Verdict::new("runs", Status::Holds, detail)
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
        let now = match pin::record(&self.found, &self.limits) {
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

/// Tries every property of every subject, on as many threads as there are processors; the verdicts of
/// each are in the order of [`PROPERTIES`]. One that fails doesn't stop the others, unless the loss
/// doesn't run at all. `progress` hears what is being tried.
pub fn check(subjects: &[Subject], progress: impl Fn(&Subject, &str) + Sync) -> Vec<Vec<Verdict>> {
    let tried = |tasks: &[(usize, usize)]| {
        spread(tasks, |&(subject, property)| {
            let (subject, property) = (&subjects[subject], &PROPERTIES[property]);
            progress(subject, property.name);
            subject.verdict(property)
        })
    };
    let first: Vec<(usize, usize)> = (0..subjects.len()).map(|subject| (subject, 0)).collect();
    let mut verdicts: Vec<Vec<Verdict>> = tried(&first).into_iter().map(|v| vec![v]).collect();
    // The long ones first, so that no thread is left with one at the end.
    let mut rest: Vec<usize> = (1..PROPERTIES.len()).collect();
    rest.sort_by_key(|&i| {
        !["choices", "gradient", "snapshot", "order"].contains(&PROPERTIES[i].name)
    });
    let runs = |subject: &usize| verdicts[*subject][0].status != Status::Fails;
    let tasks: Vec<(usize, usize)> = rest
        .iter()
        .flat_map(|&property| (0..subjects.len()).filter(runs).map(move |s| (s, property)))
        .collect();
    let mut found: BTreeMap<(usize, usize), Verdict> =
        tasks.iter().copied().zip(tried(&tasks)).collect();
    for (subject, verdicts) in verdicts.iter_mut().enumerate() {
        verdicts.extend((1..PROPERTIES.len()).map(|property| {
            found.remove(&(subject, property)).unwrap_or_else(|| {
                let name = PROPERTIES[property].name;
                Verdict::new(name, Status::Unchecked, "the loss doesn't run")
            })
        }));
    }
    verdicts
}

/// `work` on every task, on as many threads as there are processors.
fn spread<T: Sync, R: Send>(tasks: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some((i, task)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, tasks.get(i)?)))
        {
            done.push((i, work(task)));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<Vec<(usize, R)>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The verdicts as JSON.
pub fn to_json(verdicts: &[Verdict]) -> Value {
    let one = |v: &Verdict| {
        json!({
            "property": v.property, "verdict": v.status.to_string().to_lowercase(),
            "detail": v.detail, "input": v.input.as_ref().map(in_words),
            "remedy": v.remedy(), "seconds": v.seconds,
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
