//! What the host guarantees about a step, tried with hand-made calls through the plugin's side.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_core::{Inputs, Interpreter, Limits, LossCode, LossError, Session, Setup, reshaped};
use retort_sdk::Op;
use std::sync::{Arc, Mutex};

/// A loss made of calls.
struct Calls<F>(F);

impl<F: FnMut(&mut Interpreter) -> u64 + Send> LossCode for Calls<F> {
    fn run(&mut self, mut step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>) {
        let handle = (self.0)(&mut step);
        (step, Ok(handle))
    }
}

fn setup() -> Setup {
    Setup {
        device: Device::flex().autodiff(),
        dtype: FloatDType::F32,
        seed: 7,
        limits: Limits::default(),
    }
}

fn session(f: impl FnMut(&mut Interpreter) -> u64 + Send + 'static) -> Session {
    Session::new("test", Box::new(Calls(f)), setup())
}

fn inputs(rows: usize) -> Inputs {
    let values: Vec<f32> = (0..rows * 3).map(|i| i as f32 * 0.25 - 1.0).collect();
    let target = Tensor::from_data(TensorData::new(values, [rows, 3]), &setup().device);
    Inputs { labels: vec![0; rows], ids: (0..rows as i64).collect(), ..Inputs::new(target) }
}

fn target(step: &mut Interpreter) -> u64 {
    step.call(Op::Input as u32, &[], &[], "target")
}

fn op(step: &mut Interpreter, op: Op, args: &[u64], attrs: &[f64]) -> u64 {
    step.call(op as u32, args, attrs, "")
}

/// The message of a step that must fail.
fn failure(f: impl FnMut(&mut Interpreter) -> u64 + Send + 'static) -> String {
    session(f).step(&inputs(4)).expect_err("the step must fail").to_string()
}

#[test]
fn wrong_shapes_name_the_operation_and_both_shapes() {
    let message = failure(|step| {
        let a = target(step);
        let b = op(step, Op::Constant, &[], &[2.0, 1.0, 2.0, 0.0, 0.0]);
        op(step, Op::Sub, &[a, b], &[])
    });
    assert_eq!(
        message,
        "test: sub of [4, 3] and [1, 2]: the shapes don't broadcast: sizes must be equal or 1"
    );
}

#[test]
fn the_first_error_counts_and_the_rest_is_ignored() {
    let message = failure(|step| {
        let a = target(step);
        let bad = op(step, Op::Matmul, &[a, a], &[]);
        assert_eq!(bad, 0);
        assert_eq!(step.shape(bad), [1, 1, 1, 1]);
        assert!(step.read(bad).is_empty());
        step.call(Op::Blame as u32, &[], &[], "loss.rs:12");
        step.call(Op::Blame as u32, &[], &[], "loss.rs:99");
        op(step, Op::Exp, &[bad], &[])
    });
    assert!(message.starts_with("test: matmul of [4, 3] and [4, 3] at loss.rs:12: "), "{message}");
}

#[test]
fn forged_stale_and_foreign_handles_are_refused() {
    let forged = failure(|step| {
        let a = target(step);
        op(step, Op::Exp, &[a + 1], &[])
    });
    assert!(forged.contains("never gave out"), "{forged}");

    let kept = Arc::new(Mutex::new(0));
    let keep = kept.clone();
    let mut first = session(move |step| {
        let a = target(step);
        let mut kept = keep.lock().unwrap();
        if *kept == 0 {
            *kept = a;
        }
        op(step, Op::Sum, &[*kept], &[])
    });
    first.step(&inputs(4)).unwrap();
    first.commit();
    let stale = first.step(&inputs(4)).unwrap_err().to_string();
    assert!(stale.contains("another step"), "{stale}");

    let foreign = kept.clone();
    let mut second = session(move |step| op(step, Op::Sum, &[*foreign.lock().unwrap()], &[]));
    let foreign = second.step(&inputs(4)).unwrap_err().to_string();
    assert!(foreign.contains("another loss"), "{foreign}");
}

#[test]
fn wrong_kinds_are_refused() {
    let message = failure(|step| {
        let labels = step.call(Op::Input as u32, &[], &[], "labels");
        op(step, Op::Exp, &[labels], &[])
    });
    assert_eq!(message, "test: exp of [4]: operand 1 must be floats, and isn't");
    let message = failure(|step| {
        let a = target(step);
        op(step, Op::OneHot, &[a], &[3.0])
    });
    assert!(message.contains("must be integers"), "{message}");
}

#[test]
fn every_operation_survives_every_kind_of_nonsense() {
    let attrs: [&[f64]; 8] = [
        &[],
        &[-1.0],
        &[f64::NAN],
        &[f64::INFINITY, 2.0],
        &[0.5],
        &[1e9, 1e9],
        &[1e300; 6],
        &[9.0, 9.0, 9.0],
    ];
    for &code in Op::ALL {
        for attrs in attrs {
            for operands in 0..4 {
                let calls = move |step: &mut Interpreter| {
                    let a = target(step);
                    let i = step.call(Op::Input as u32, &[], &[], "labels");
                    let args: [u64; 4] = [a, i, a, i];
                    let out = step.call(code as u32, &args[..operands], attrs, "x");
                    op(step, Op::Sum, &[if out == 0 { a } else { out }], &[])
                };
                let limits = Limits { tensor_bytes: 1 << 20, ..Limits::default() };
                let mut session =
                    Session::new("test", Box::new(Calls(calls)), Setup { limits, ..setup() });
                if let Err(error) = session.step(&inputs(4)) {
                    let message = error.to_string();
                    assert!(!message.contains("backend refused"), "{code}: {message}");
                }
            }
        }
    }
}

#[test]
fn a_tensor_beyond_the_limit_is_an_error_and_the_next_step_works() {
    let asked = Arc::new(Mutex::new(1e9));
    let ask = asked.clone();
    let mut session = session(move |step| {
        let n = *ask.lock().unwrap();
        let a = op(step, Op::RandomUniform, &[], &[n, n]);
        op(step, Op::Sum, &[a], &[])
    });
    let message = session.step(&inputs(4)).unwrap_err().to_string();
    assert!(message.contains("tensor_bytes"), "{message}");
    *asked.lock().unwrap() = 10.0;
    session.step(&inputs(4)).unwrap();
}

#[test]
fn the_number_and_the_bytes_of_tensors_are_limited() {
    for (limits, word) in [
        (Limits { handles: 50, ..Limits::default() }, "handles"),
        (Limits { held_bytes: 2000, ..Limits::default() }, "held_bytes"),
    ] {
        let endless = |step: &mut Interpreter| {
            let mut a = target(step);
            while a != 0 {
                a = op(step, Op::Exp, &[a], &[]);
            }
            0
        };
        let mut session =
            Session::new("test", Box::new(Calls(endless)), Setup { limits, ..setup() });
        let message = session.step(&inputs(4)).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn calls_that_compute_nothing_are_limited_too() {
    let endless = |step: &mut Interpreter| {
        while target(step) != 0 {}
        0
    };
    let limits = Limits { handles: 50, ..Limits::default() };
    let mut session = Session::new("test", Box::new(Calls(endless)), Setup { limits, ..setup() });
    let message = session.step(&inputs(4)).unwrap_err().to_string();
    assert!(message.contains("handles"), "{message}");
}

#[test]
fn a_loss_is_one_number() {
    let mut session = session(target);
    let error = session.step(&inputs(4)).unwrap_err();
    assert!(matches!(error, LossError::NotScalar { ref shape, .. } if *shape == [4, 3]), "{error}");
}

#[test]
fn parameters_that_appear_late_are_named() {
    let mut count = 0;
    let mut session = session(move |step| {
        count += 1;
        let name = if count > 1 { "late" } else { "early" };
        let p = step.call(Op::Param as u32, &[], &[0.0, 0.0, 2.0], name);
        op(step, Op::Sum, &[p], &[])
    });
    session.probe(&inputs(4)).unwrap();
    let message = session.step(&inputs(4)).unwrap_err().to_string();
    assert!(message.contains("param `late`") && message.contains("after set-up"), "{message}");
    assert_eq!(session.parameter_names(), ["early"]);
}

fn writes_rows(fail: Arc<Mutex<bool>>) -> impl FnMut(&mut Interpreter) -> u64 + Send {
    move |step| {
        let buffer = step.call(Op::Buffer as u32, &[], &[0.0, 0.0, 3.0, 3.0], "bank");
        let rows = target(step);
        let index = op(step, Op::ConstantIndex, &[], &[1.0, 4.0, 0.0, 2.0, 2.0, 0.0]);
        step.call(Op::SetRows as u32, &[index, rows], &[], "bank");
        let seen = op(step, Op::Sum, &[buffer], &[]);
        if *fail.lock().unwrap() { op(step, Op::Matmul, &[rows, rows], &[]) } else { seen }
    }
}

#[test]
fn buffer_writes_land_after_the_step_and_the_later_of_two_rows_wins() {
    let fail = Arc::new(Mutex::new(false));
    let mut session = session(writes_rows(fail.clone()));
    session.probe(&inputs(4)).unwrap();
    let bank = |s: &Session| s.state()["buffer.bank"].iter::<f32>().collect::<Vec<_>>();
    assert_eq!(bank(&session), [0.0; 9], "a probe leaves nothing");

    let outcome = session.step(&inputs(4)).unwrap();
    assert_eq!(outcome.value.into_scalar::<f32>(), 0.0, "reads see the start of the step");
    session.commit();
    // Rows of the target: 0 [-1, -0.75, -0.5], 1 [-0.25, 0, 0.25], 2 [0.5, …], 3 [1.25, …].
    let expected = [1.25, 1.5, 1.75, 0.0, 0.0, 0.0, 0.5, 0.75, 1.0];
    assert_eq!(bank(&session), expected);

    *fail.lock().unwrap() = true;
    session.step(&inputs(4)).unwrap_err();
    session.commit();
    assert_eq!(bank(&session), expected, "a step that failed leaves nothing");
}

fn draws() -> impl FnMut(&mut Interpreter) -> u64 + Send {
    |step| {
        let a = op(step, Op::RandomNormal, &[], &[5.0, 5.0]);
        let b = op(step, Op::RandomUniform, &[], &[5.0, 5.0]);
        let c = op(step, Op::Mul, &[a, b], &[]);
        op(step, Op::Sum, &[c], &[])
    }
}

#[test]
fn randomness_depends_on_seed_step_and_loss_alone() {
    let value = |session: &mut Session| {
        session.step(&inputs(4)).unwrap().value.into_scalar::<f32>().to_bits()
    };
    let (mut a, mut b) = (session(draws()), session(draws()));
    let first = value(&mut a);
    assert_eq!(first, value(&mut b));
    assert_eq!(first, value(&mut b), "the same step again draws the same");
    a.commit();
    assert_ne!(first, value(&mut a), "the next step draws anew");
    let mut other = Session::new("other", Box::new(Calls(draws())), setup());
    assert_ne!(first, value(&mut other));
    b.set_step_number(1);
    assert_eq!(value(&mut a), value(&mut b), "a resumed run draws what the first would have");
}

#[test]
fn given_draws_replace_the_hosts() {
    let mut session = session(|step| {
        let a = op(step, Op::RandomIndex, &[], &[10.0, 2.0, 2.0]);
        let a = op(step, Op::Float, &[a], &[]);
        op(step, Op::Sum, &[a], &[])
    });
    let with = |values: Vec<i64>, dims: [usize; 2]| Inputs {
        draws: vec![TensorData::new(values, dims)],
        ..inputs(4)
    };
    let outcome = session.step(&with(vec![1, 2, 3, 4], [2, 2])).unwrap();
    assert_eq!(outcome.value.into_scalar::<f32>(), 10.0);
    let message = session.step(&with(vec![1, 2, 3, 10], [2, 2])).unwrap_err().to_string();
    assert!(message.contains("holds 10"), "{message}");
    let message = session.step(&with(vec![1, 2, 3, 4], [4, 1])).unwrap_err().to_string();
    assert!(message.contains("random.0 has shape [4, 1]"), "{message}");
}

#[test]
fn sessions_in_two_threads_do_not_disturb_each_other() {
    let alone = session(draws()).step(&inputs(4)).unwrap().value.into_scalar::<f32>();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut session = session(draws());
                (0..20)
                    .map(|_| session.step(&inputs(4)).unwrap().value.into_scalar::<f32>())
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap().iter().all(|v| v.to_bits() == alone.to_bits()));
    }
}

#[test]
fn state_comes_back_as_it_was_saved() {
    let loss = || {
        |step: &mut Interpreter| {
            let p = step.call(Op::Param as u32, &[], &[2.0, 1.0, 2.0, 3.0], "weight");
            op(step, Op::Sum, &[p], &[])
        }
    };
    let mut a = session(loss());
    let value = a.step(&inputs(4)).unwrap().value.into_scalar::<f32>();
    let state = a.state();
    assert_eq!(state["param.weight"].shape().to_vec(), [2, 3]);

    let mut b = Session::new("test", Box::new(Calls(loss())), Setup { seed: 8, ..setup() });
    b.load_state(state.clone()).unwrap();
    assert_eq!(b.step(&inputs(4)).unwrap().value.into_scalar::<f32>(), value);

    let mut wrong = state;
    let turned = reshaped(wrong["param.weight"].clone(), &[3, 2]);
    wrong.insert("param.weight".to_owned(), turned);
    let mut c = session(loss());
    c.load_state(wrong).unwrap();
    let message = c.step(&inputs(4)).unwrap_err().to_string();
    assert!(message.contains("[3, 2]") && message.contains("[2, 3]"), "{message}");
}
