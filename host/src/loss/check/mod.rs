//! `retort loss check`: properties that a correct loss has, tried on any plugin.

pub mod card;
mod choices;
mod finite;
mod gradient;
pub mod junit;
mod order;
mod others;
mod property;

pub use choices::words;
pub use property::Property;

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
    /// It doesn't hold, and the loss says why: `#[exempt(order = "…")]`.
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
    /// Which.
    pub property: Property,
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
    fn new(property: Property, status: Status, detail: impl Into<String>) -> Self {
        Verdict { property, status, detail: detail.into(), input: None, seconds: 0.0 }
    }

    fn fails(property: Property, detail: impl Into<String>, input: &Case) -> Self {
        Verdict { input: Some(input.clone()), ..Verdict::new(property, Status::Fails, detail) }
    }

    /// What to do about it, if it fails.
    pub fn remedy(&self) -> Option<&'static str> {
        (self.status == Status::Fails).then(|| self.property.remedy())
    }
}

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

    /// The loss's reason why a property doesn't hold.
    fn exemption(&self, property: Property) -> Option<String> {
        let key = property.name().replace(' ', "_");
        self.found.definition.exempt.get(&key).cloned()
    }

    /// Tries one property.
    fn verdict(&self, property: Property) -> Verdict {
        let begun = Instant::now();
        let as_it_is;
        let subject = if property.whole() && !self.small.is_empty() {
            as_it_is = Subject { small: Map::new(), ..self.clone() };
            &as_it_is
        } else {
            self
        };
        let mut verdict = match property {
            Property::Runs => subject.runs(),
            Property::Gradient => gradient::check(subject),
            Property::Order => order::check(subject),
            Property::Determinism => others::determinism(subject),
            Property::LoadPath => others::load_path(subject),
            Property::Choices => choices::check(subject),
            Property::Scaling => others::scaling(subject),
            Property::Parameters => others::parameters(subject),
            Property::Snapshot => subject.snapshot(),
            property => finite::check(subject, property),
        };
        if verdict.status == Status::Fails
            && property.exemptible()
            && let Some(reason) = self.exemption(property)
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
                    return Verdict::fails(Property::Runs, detail, &case);
                }
                Tried::Gave(_) => defined += 1,
                Tried::Undefined(_) => {}
                Tried::Broke(why) => return Verdict::fails(Property::Runs, why, &case),
            }
        }
        if defined == 0 {
            let case = self.case(12, 8, 1);
            return Verdict::fails(Property::Runs, "it is undefined on every random batch", &case);
        }
        let words = self.layout.words().join(", ");
        let of = if words.is_empty() { words } else { format!(" of {words}") };
        let detail = format!("{defined} of 4 random batches{of} give a value");
        Verdict::new(Property::Runs, Status::Holds, detail)
    }

    fn snapshot(&self) -> Verdict {
        let Some((place, recorded)) = &self.pin else {
            let how =
                "there is none: make one with `retort snapshot record`, give it with --snapshot";
            return Verdict::new(Property::Snapshot, Status::Unchecked, how);
        };
        let defaults = self.found.definition.hyper.iter();
        if defaults.clone().any(|field| self.hyper.get(&field.name) != Some(&field.default)) {
            let why = "snapshots are of the default hyperparameters";
            return Verdict::new(Property::Snapshot, Status::Unchecked, why);
        }
        let now = match pin::record(&self.found, &self.limits) {
            Ok(now) => now,
            Err(e) => return Verdict::new(Property::Snapshot, Status::Fails, e.message),
        };
        match pin::differences(recorded, &now, pin::TOLERANCE).as_slice() {
            [] => {
                let lines = recorded.lines().count();
                let detail = format!("{lines} lines of {place}");
                Verdict::new(Property::Snapshot, Status::Holds, detail)
            }
            [first, rest @ ..] => {
                let more = if rest.is_empty() {
                    String::new()
                } else {
                    format!(", and {} more", rest.len())
                };
                Verdict::new(Property::Snapshot, Status::Fails, format!("{first}{more} ({place})"))
            }
        }
    }
}

/// Tries every property of every subject, on as many threads as there are processors; the verdicts of
/// each are in the order of [`Property::ALL`]. One that fails doesn't stop the others, unless the loss
/// doesn't run at all. `progress` hears what is being tried.
pub fn check(subjects: &[Subject], progress: impl Fn(&Subject, &str) + Sync) -> Vec<Vec<Verdict>> {
    let tried = |tasks: &[(usize, usize)]| {
        spread(tasks, |&(subject, property)| {
            let (subject, property) = (&subjects[subject], Property::ALL[property]);
            progress(subject, property.name());
            subject.verdict(property)
        })
    };
    let first: Vec<(usize, usize)> = (0..subjects.len()).map(|subject| (subject, 0)).collect();
    let mut verdicts: Vec<Vec<Verdict>> = tried(&first).into_iter().map(|v| vec![v]).collect();
    // The long ones first, so that no thread is left with one at the end.
    let mut rest: Vec<usize> = (1..Property::ALL.len()).collect();
    let long = [Property::Choices, Property::Gradient, Property::Snapshot, Property::Order];
    rest.sort_by_key(|&i| !long.contains(&Property::ALL[i]));
    let runs = |subject: &usize| verdicts[*subject][0].status != Status::Fails;
    let tasks: Vec<(usize, usize)> = rest
        .iter()
        .flat_map(|&property| (0..subjects.len()).filter(runs).map(move |s| (s, property)))
        .collect();
    let mut found: BTreeMap<(usize, usize), Verdict> =
        tasks.iter().copied().zip(tried(&tasks)).collect();
    for (subject, verdicts) in verdicts.iter_mut().enumerate() {
        verdicts.extend((1..Property::ALL.len()).map(|property| {
            found.remove(&(subject, property)).unwrap_or_else(|| {
                let property = Property::ALL[property];
                Verdict::new(property, Status::Unchecked, "the loss doesn't run")
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
            "property": v.property.name(), "verdict": v.status.to_string().to_lowercase(),
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
