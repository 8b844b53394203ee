//! Programs of operations through the interpreter: forward, backward, an update, three steps.

use crate::child::Case;
use crate::program::{Arg, Look, Program, program};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use retort_core::device::{DeviceChoice, resolve};
use retort_core::{Feature, Inputs, Interpreter, Limits, LossCode, Session, Setup, guarded};
use retort_sdk::Op;
use retort_snapshots::corpus::Memory;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What is counted, and what a good loss gives.
pub struct Target {
    device: Device,
    cpu: bool,
    ran: u64,
    tame: u64,
    good: u64,
    value: Option<u64>,
    ended: BTreeMap<String, u64>,
}

/// What a program saw that it must not see.
#[derive(Default)]
struct Notes {
    wrong: Vec<String>,
}

struct Code {
    program: Program,
    notes: Arc<Mutex<Notes>>,
}

impl LossCode for Code {
    fn run(&mut self, mut step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>) {
        let (mut handles, mut result) = (Vec::new(), 0);
        for (i, line) in self.program.lines.iter().enumerate() {
            let args = line.args.iter().map(|arg| match *arg {
                Arg::Of(line) => handles.get(line).copied().unwrap_or(0),
                Arg::Forged(bits) => bits,
            });
            let args: Vec<u64> = args.collect();
            let handle = step.call(line.op, &args, &line.attrs, &line.name);
            handles.push(handle);
            if let (Some(dims), true) = (&line.dims, handle != 0) {
                let has = step.shape(handle);
                if has != *dims {
                    let wrong = format!("%{i} has shape {has:?} instead of {dims:?}");
                    self.notes.lock().unwrap().wrong.push(wrong);
                }
            }
            match line.look {
                Look::Read => {
                    let (values, dims) = (step.read(handle).len(), step.shape(handle));
                    // One that isn't read because of a limit gives none.
                    let whole = values == dims.iter().product::<usize>();
                    if handle != 0 && values != 0 && !whole {
                        let wrong = format!("%{i} of shape {dims:?} gave {values} values");
                        self.notes.lock().unwrap().wrong.push(wrong);
                    }
                }
                Look::Return => result = handle,
                Look::Nothing => {}
            }
        }
        (step, Ok(result))
    }
}

const LIMITS: Limits = Limits {
    handles: 2000,
    tensor_bytes: 16 << 20,
    held_bytes: 64 << 20,
    host_seconds: 2.0,
    memory_bytes: 64 << 20,
    table_elements: 1000,
    instances: 8,
    seconds: 1.0,
    component_bytes: 1 << 20,
    compile_seconds: 5.0,
};

/// Mebibytes that a program may take: what its limit says, twice for what the allocator keeps, and the
/// threads' scratch.
const MEBIBYTES: u64 = 2 * 64 + 32;

impl Target {
    pub fn new() -> Self {
        let name = std::env::var("RETORT_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        let (device, info) = resolve(name.parse::<DeviceChoice>().unwrap()).unwrap();
        let cpu = info.is_cpu();
        Target { device, cpu, ran: 0, tame: 0, good: 0, value: None, ended: BTreeMap::new() }
    }

    fn setup(&self, dtype: FloatDType) -> Setup {
        // A software GPU compiles a shader for seconds.
        let host_seconds = if self.cpu { LIMITS.host_seconds } else { 100.0 };
        let limits = Limits { host_seconds, ..LIMITS };
        Setup { device: self.device.clone(), dtype, seed: 3, limits }
    }

    fn values(dims: &[usize], dtype: FloatDType) -> TensorData {
        let n = dims.iter().product::<usize>();
        let values: Vec<f32> = (0..n).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
        TensorData::new(values, dims.to_vec()).convert_dtype(DType::from(dtype))
    }

    fn inputs(&self, program: &Program, dtype: FloatDType) -> Inputs {
        let options = || (&self.device, DType::from(dtype));
        let (n, d) = (program.rows, program.width);
        let target = Tensor::<2>::from_data(Self::values(&[n, d], dtype), options());
        let map = Tensor::<4>::from_data(Self::values(&[n, 3, 4, 4], dtype), options());
        Inputs {
            source: Some(Tensor::from_data(Self::values(&[n, d + 4], dtype), options())),
            target_features: vec![Feature::Map(map.require_grad())],
            labels: program.labels.clone(),
            ids: (0..n as i64).map(|i| i % (n / program.views) as i64).collect(),
            classes: 4,
            samples: program.samples,
            sample_labels: (0..program.samples as i64).map(|i| i % 3).collect(),
            views: program.views,
            ..Inputs::new(target.require_grad())
        }
    }

    /// Three steps of a program; the value of each, or what it ended with.
    fn steps(
        &self,
        program: &Program,
        session: &mut Session,
        dtype: FloatDType,
    ) -> Result<(), String> {
        let inputs = self.inputs(program, dtype);
        if program.commits[1] {
            session.probe(&inputs).map_err(|e| e.to_string())?;
        }
        let mut optimizer = SgdConfig::new().init();
        for commit in program.commits {
            let outcome = session.step(&inputs).map_err(|e| e.to_string())?;
            let step = guarded(|| {
                outcome.value.clone().into_scalar::<f64>();
                if outcome.value.is_tracked() {
                    let mut gradients = outcome.value.backward();
                    let of = GradientsParams::from_module(&mut gradients, session.parameters());
                    session.update(|p| optimizer.step(1e-3, p, of));
                }
                if commit { session.commit() } else { session.discard() }
            });
            step.map_err(|why| format!("the backend refused: {why}"))?;
        }
        let state = session.state();
        session.load_state(state).map_err(|e| e.to_string())
    }

    /// A loss that behaves: the sum of the squares of a product with a parameter.
    fn good(&self) -> u64 {
        let line = |op: Op, args: &[usize], attrs: &[f64], name: &str, look| crate::program::Line {
            op: op as u32,
            args: args.iter().map(|&line| Arg::Of(line)).collect(),
            attrs: attrs.to_vec(),
            name: name.to_owned(),
            dims: None,
            look,
        };
        let lines = vec![
            line(Op::Input, &[], &[], "target", Look::Nothing),
            line(Op::Param, &[], &[2.0, 1.0, 3.0, 2.0], "p", Look::Nothing),
            line(Op::Matmul, &[0, 1], &[], "", Look::Nothing),
            line(Op::Mul, &[2, 2], &[], "", Look::Nothing),
            line(Op::Sum, &[3], &[], "", Look::Return),
        ];
        let program = Program {
            rows: 4,
            width: 3,
            labels: vec![0, 0, 1, 1],
            samples: 4,
            views: 1,
            wide: false,
            lines,
            wild: false,
            commits: [true; 3],
        };
        let code = Code { program: program.clone(), notes: Arc::default() };
        let mut session = Session::new("good", Box::new(code), self.setup(FloatDType::F32));
        let inputs = self.inputs(&program, FloatDType::F32);
        session.step(&inputs).unwrap().value.into_scalar::<f64>().to_bits()
    }
}

impl Case for Target {
    fn run(&mut self, seed: u64, number: u64, show: bool) -> Result<(), String> {
        let program = program(seed, number);
        if show {
            println!("{program}");
        }
        let dtype = if program.wide && self.cpu { FloatDType::F64 } else { FloatDType::F32 };
        let notes = Arc::<Mutex<Notes>>::default();
        let code = Code { program: program.clone(), notes: notes.clone() };
        let memory = Memory::now();
        let ended = guarded(|| {
            let mut session = Session::new("random", Box::new(code), self.setup(dtype));
            self.steps(&program, &mut session, dtype)
        });
        let ended = ended.map_err(|why| format!("it panicked: {why}"))?;
        if show {
            println!("{ended:?}, {} MiB", memory.grown());
        }
        self.ran += 1;
        self.tame += u64::from(!program.wild);
        match &ended {
            Ok(()) => self.good += u64::from(!program.wild),
            Err(why) => {
                let kind: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
                let kind = kind.split(": ").last().unwrap_or_default().chars().take(50).collect();
                *self.ended.entry(kind).or_default() += 1;
                // Memory that a GPU doesn't have is its own affair.
                let known = why.contains("buffer of size");
                if why.contains("the backend refused") && !known {
                    return Err(why.clone());
                }
            }
        }
        // Where the time is over in between, a shape is that of a step that has failed.
        let late = ended.is_err_and(|why| why.contains("host_seconds"));
        if let Some(wrong) = notes.lock().unwrap().wrong.first().filter(|_| !late) {
            return Err(wrong.clone());
        }
        if self.cpu && memory.grown() > MEBIBYTES {
            return Err(format!("it took {} MiB", memory.grown()));
        }
        if number.is_multiple_of(20) {
            let value = self.good();
            let first = *self.value.get_or_insert(value);
            if value != first {
                return Err(format!("afterwards a good loss is {value:x} instead of {first:x}"));
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let mut ended: Vec<_> = self.ended.iter().collect();
        ended.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let ended: Vec<String> =
            ended.iter().take(12).map(|(why, n)| format!("{n} {why}")).collect();
        format!(
            "{} programs, {} of {} tame ones to their end; {}",
            self.ran,
            self.good,
            self.tame,
            ended.join(", ")
        )
    }

    fn check(&self) -> Result<(), String> {
        if self.good * 2 >= self.tame {
            return Ok(());
        }
        Err(format!("programs don't get deep any more: {}", self.summary()))
    }
}
