//! What a step has used of its limits: bytes and seconds; and whether the user wants it to stop.

use super::limits::Limits;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a step may go on when the user wants to stop: nearly all end by themselves, and are saved.
const PATIENCE: Duration = Duration::from_millis(500);

/// The greatest size of a dimension: GPUs count with 32 bits.
pub(crate) const MAX_DIMENSION: u64 = i32::MAX as u64;

/// Elements that the fastest host reads or writes in a second. Estimates are made with the fastest, so
/// that nothing is refused that could have ended in time.
const ELEMENTS_PER_SECOND: f64 = 2e9;
/// Multiplications of a matrix product in a second, likewise.
const PRODUCTS_PER_SECOND: f64 = 1e11;

/// What the operation that runs reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    /// Elements of all operands together.
    pub(crate) elements: u64,
    /// Bytes of all operands together, as if each were copied.
    pub(crate) bytes: u64,
    /// Whether a gradient will flow through.
    pub(crate) tracked: bool,
}

/// A step's account.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    stop: Option<&'static AtomicBool>,
    /// Bytes that stay until the step ends, with gradients and what the host keeps for the loss.
    held: u64,
    /// Bytes of the tensors made.
    made: u64,
    /// Seconds that the operations take at least, forward and backward.
    estimated: f64,
    /// Time that they took.
    measured: Duration,
    operands: Operands,
    begun: Instant,
    stopped: bool,
}

type Fallible<T> = Result<T, String>;

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Budget {
            limits: limits.resolved(),
            stop: None,
            held: 0,
            made: 0,
            estimated: 0.0,
            measured: Duration::ZERO,
            operands: Operands::default(),
            begun: Instant::now(),
            stopped: false,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// From now on, a step that takes long ends when this is set.
    pub(crate) fn stop_on(&mut self, stop: &'static AtomicBool) {
        self.stop = Some(stop);
    }

    /// A new step, of a loss for which the host keeps this many bytes.
    pub(crate) fn begin(&mut self, kept: u64) {
        (self.held, self.made, self.estimated) = (kept, 0, 0.0);
        (self.measured, self.operands) = (Duration::ZERO, Operands::default());
        (self.begun, self.stopped) = (Instant::now(), false);
    }

    /// Bytes of the tensors made.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Whether the user's wish to stop ended the step.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether the user wants to stop, and the step has had its time to end by itself.
    pub(crate) fn stop_wanted(&self) -> bool {
        let wanted = self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        wanted && self.begun.elapsed() > PATIENCE
    }

    /// One of the host's functions that began at `start` has ended.
    pub(crate) fn took(&mut self, start: Instant) {
        self.measured += start.elapsed();
    }

    /// Refuses to go on where the user wants to stop, or the step has had its time.
    pub(crate) fn go_on(&mut self) -> Fallible<()> {
        self.within(self.measured)
    }

    /// The same in the middle of what began at `start`.
    pub(crate) fn go_on_since(&mut self, start: Instant) -> Fallible<()> {
        self.within(self.measured + start.elapsed())
    }

    fn within(&mut self, time: Duration) -> Fallible<()> {
        if self.stop_wanted() {
            self.stopped = true;
            return Err("the user stopped it".to_owned());
        }
        let limit = self.limits.host_seconds;
        if time.as_secs_f64() > limit {
            return Err(format!(
                "the step's operations took more than {limit} seconds (limit `host_seconds`)"
            ));
        }
        Ok(())
    }

    /// An operation begins that reads these operands.
    pub(crate) fn operation(&mut self, operands: Operands) {
        self.operands = operands;
    }

    /// The one rule of shapes, and what may be allocated: no dimension of 0, none beyond 31 bits,
    /// and the bytes of the result, of its gradient and of what is needed for a moment within limits.
    /// `scratch` counts bytes an element beside the operands' copies.
    pub(crate) fn reserve(&mut self, dims: [usize; 4], size: u64, scratch: u64) -> Fallible<()> {
        let elements = elements(dims)?;
        let bytes = elements.saturating_mul(size);
        if bytes > self.limits.tensor_bytes {
            return Err(format!(
                "the result of shape {dims:?} needs {}, more than the {} one tensor may have \
                 (limit `tensor_bytes`)",
                in_units(bytes),
                in_units(self.limits.tensor_bytes)
            ));
        }
        let gradient = if self.operands.tracked { bytes } else { 0 };
        self.made = self.made.saturating_add(bytes);
        self.hold(bytes.saturating_add(gradient), {
            let scratch = elements.saturating_mul(scratch).saturating_add(gradient);
            scratch.saturating_add(self.operands.bytes)
        })?;
        let touched = elements as f64 + self.operands.elements as f64;
        self.spend(self.passes() * touched / ELEMENTS_PER_SECOND)
    }

    /// Bytes that stay until the step ends, and more that are needed for a moment.
    pub(crate) fn hold(&mut self, bytes: u64, scratch: u64) -> Fallible<()> {
        let held = self.held.saturating_add(bytes);
        if held.saturating_add(scratch) > self.limits.held_bytes {
            return Err(format!(
                "the step's tensors need more than {} together, with their gradients and what is \
                 copied on the way (limit `held_bytes`)",
                in_units(self.limits.held_bytes)
            ));
        }
        self.held = held;
        Ok(())
    }

    /// A view reads nothing, but its gradient is as large as what it is a view of.
    pub(crate) fn view(&mut self) -> Fallible<()> {
        let touched = if self.operands.tracked { self.operands.elements as f64 } else { 0.0 };
        self.spend(touched / ELEMENTS_PER_SECOND)
    }

    /// Multiplications of a matrix product.
    pub(crate) fn product(&mut self, multiplications: f64) -> Fallible<()> {
        self.spend(self.passes() * multiplications / PRODUCTS_PER_SECOND)
    }

    /// How often the operation's work is done: a backward pass costs as much as two forward.
    fn passes(&self) -> f64 {
        if self.operands.tracked { 3.0 } else { 1.0 }
    }

    /// Comparisons of a sort.
    pub(crate) fn sort(&mut self, elements: f64) -> Fallible<()> {
        self.spend(elements * elements.max(2.0).log2() / ELEMENTS_PER_SECOND)
    }

    fn spend(&mut self, seconds: f64) -> Fallible<()> {
        self.estimated += seconds;
        let limit = self.limits.host_seconds;
        if self.estimated > limit {
            return Err(format!(
                "the step's operations would take more than {limit} seconds (limit `host_seconds`)"
            ));
        }
        Ok(())
    }
}

/// The number of elements of a shape that a tensor may have.
pub(crate) fn elements(dims: [usize; 4]) -> Fallible<u64> {
    if dims.contains(&0) {
        return Err(format!("shape {dims:?} has a dimension of 0: there is nothing in it"));
    }
    if let Some(d) = dims.iter().find(|&&d| d as u64 > MAX_DIMENSION) {
        return Err(format!(
            "shape {dims:?} has a dimension of {d}, more than {MAX_DIMENSION}, the greatest there is"
        ));
    }
    Ok(dims.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64)))
}

fn in_units(bytes: u64) -> String {
    match bytes {
        0..=0xFFFFF => format!("{bytes} bytes"),
        0x10_0000..=0x3FFF_FFFF => format!("{:.1} MiB", bytes as f64 / f64::from(1u32 << 20)),
        u64::MAX => "more bytes than there are numbers for".to_owned(),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30)),
    }
}
