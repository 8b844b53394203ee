//! What the host guarantees about a step, tried with hand-made calls through the plugin's side.

use crate::common::{Calls, op};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_core::{Inputs, Interpreter, Limits, LossCode, LossError, Session, Setup, reshaped};
use retort_sdk::Op;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

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
    let target = target.require_grad();
    Inputs { labels: vec![0; rows], ids: (0..rows as i64).collect(), ..Inputs::new(target) }
}

fn target(step: &mut Interpreter) -> u64 {
    step.call(Op::Input as u32, &[], &[], "target")
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
        let learns = op(step, Op::Sum, &[rows], &[]);
        let nothing = op(step, Op::MulScalar, &[learns], &[0.0]);
        let seen = op(step, Op::Sum, &[buffer], &[]);
        let seen = op(step, Op::Add, &[seen, nothing], &[]);
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

/// A float of the step that an operation makes, and its message if it must fail.
fn message_of(make: impl FnMut(&mut Interpreter) -> u64 + Send + 'static) -> String {
    let message = failure(make);
    assert!(!message.contains("backend refused"), "{message}");
    message
}

#[test]
fn an_index_points_into_its_tensor_or_the_step_fails() {
    let index = |values: &'static [f64]| {
        move |step: &mut Interpreter| {
            let attrs: Vec<f64> =
                [1.0, values.len() as f64].iter().chain(values).copied().collect();
            op(step, Op::ConstantIndex, &[], &attrs)
        }
    };
    for (values, bad) in [(&[0.0, 4.0][..], "4"), (&[1.0, -1.0], "-1"), (&[4e8], "400000000")] {
        let make = index(values);
        let message = message_of(move |step| {
            let (a, i) = (target(step), make(step));
            op(step, Op::Rows, &[a, i], &[])
        });
        assert!(
            message.contains(&format!("the index holds {bad}, which is not in 0..4")),
            "{message}"
        );
        let make = index(values);
        let message = message_of(move |step| {
            let (a, i) = (target(step), make(step));
            let a = op(step, Op::Slice, &[a], &[1.0, 0.0, 1.0]);
            let i = op(step, Op::ReshapeIndex, &[i], &[values.len() as f64, 1.0]);
            op(step, Op::Gather, &[a, i], &[0.0])
        });
        assert!(message.contains(&format!("the index holds {bad}")), "{message}");
        let make = index(values);
        let message = message_of(move |step| {
            let i = make(step);
            op(step, Op::OneHot, &[i], &[4.0])
        });
        assert!(message.contains(&format!("the index holds {bad}")), "{message}");
        let make = index(values);
        let message = message_of(move |step| {
            step.call(Op::Buffer as u32, &[], &[0.0, 0.0, 4.0, 3.0], "bank");
            let (a, i) = (target(step), make(step));
            let rows = op(step, Op::Slice, &[a], &[0.0, 0.0, values.len() as f64]);
            step.call(Op::SetRows as u32, &[i, rows], &[], "bank")
        });
        assert!(message.contains(&format!("the index holds {bad}")), "{message}");
    }
}

#[test]
fn an_index_whose_bounds_say_too_little_is_read() {
    // 0..4 plus 0..4 may be 7, modulo and the values themselves say that it isn't.
    for (shift, fails) in [([0.0, 0.0, 0.0, 0.0], false), ([0.0, 0.0, 0.0, 1.0], true)] {
        let mut session = session(move |step| {
            let a = target(step);
            let range = op(step, Op::Range, &[], &[0.0, 4.0]);
            let down = op(step, Op::ConstantIndex, &[], &[1.0, 4.0, 0.0, -1.0, -2.0, -3.0]);
            let attrs: Vec<f64> = [1.0, 4.0].into_iter().chain(shift).collect();
            let shift = op(step, Op::ConstantIndex, &[], &attrs);
            let index = op(step, Op::AddIndex, &[range, down], &[]);
            let more = op(step, Op::AddIndex, &[range, shift], &[]);
            let index = op(step, Op::AddIndex, &[index, more], &[]);
            let rows = op(step, Op::Rows, &[a, index], &[]);
            op(step, Op::Sum, &[rows], &[])
        });
        assert_eq!(session.step(&inputs(4)).is_err(), fails);
    }
}

#[test]
fn integers_never_leave_what_the_device_holds() {
    let message = message_of(|step| {
        let mut a = op(step, Op::ConstantIndex, &[], &[1.0, 1.0, f64::from(1 << 30)]);
        for _ in 0..12 {
            a = op(step, Op::AddIndex, &[a, a], &[]);
        }
        a
    });
    assert!(message.contains("its integers may leave -2147483648 to 2147483647"), "{message}");
    for bad in [0.5, f64::NAN, f64::INFINITY, 1e300] {
        let message = message_of(move |step| op(step, Op::ConstantIndex, &[], &[1.0, 1.0, bad]));
        assert!(message.contains("is not a whole number"), "{message}");
    }
    let message = message_of(|step| op(step, Op::ConstantIndex, &[], &[1.0, 1.0, 4_294_967_296.0]));
    assert!(message.contains("its integers may leave"), "{message}");
    // Labels may be only compared, so all that there are will do, and none is taken for another.
    let extreme = Inputs { labels: vec![i64::MAX, 0, 1 << 32, i64::MAX], ..inputs(4) };
    let mut session = session(|step| {
        let i = step.call(Op::Input as u32, &[], &[], "labels");
        let row = op(step, Op::ReshapeIndex, &[i], &[1.0, 4.0]);
        let column = op(step, Op::ReshapeIndex, &[i], &[4.0, 1.0]);
        let same = op(step, Op::Equal, &[row, column], &[]);
        op(step, Op::Sum, &[same], &[])
    });
    assert_eq!(session.step(&extreme).unwrap().value.into_scalar::<f32>(), 6.0);
}

#[test]
fn no_dimension_is_0_or_beyond_31_bits() {
    type Make = fn(&mut Interpreter) -> u64;
    let nothing: [Make; 9] = [
        |step| op(step, Op::RandomUniform, &[], &[0.0, 2.0, 1.0]),
        |step| op(step, Op::RandomIndex, &[], &[3.0, 0.0]),
        |step| op(step, Op::Constant, &[], &[1.0, 0.0]),
        |step| op(step, Op::ConstantIndex, &[], &[2.0, 4.0, 0.0]),
        |step| step.call(Op::Param as u32, &[], &[0.0, 0.0, 0.0], "p"),
        |step| step.call(Op::Buffer as u32, &[], &[0.0, 0.0, 3.0, 0.0], "b"),
        |step| op(step, Op::Eye, &[], &[0.0]),
        |step| {
            let i = step.call(Op::Input as u32, &[], &[], "labels");
            op(step, Op::OneHot, &[i], &[0.0])
        },
        |step| {
            let a = target(step);
            op(step, Op::Reshape, &[a], &[0.0, 12.0])
        },
    ];
    for make in nothing {
        let message = message_of(make);
        assert!(message.contains("has a dimension of 0"), "{message}");
    }
    let huge: [Make; 4] = [
        |step| op(step, Op::RandomUniform, &[], &[8e15]),
        |step| op(step, Op::Eye, &[], &[2_147_483_648.0]),
        |step| op(step, Op::Range, &[], &[0.0, 8e15]),
        |step| {
            let i = step.call(Op::Input as u32, &[], &[], "labels");
            op(step, Op::OneHot, &[i], &[8e15])
        },
    ];
    for make in huge {
        let message = message_of(make);
        assert!(message.contains("whole numbers of at most 2147483647"), "{message}");
    }
}

#[test]
fn a_batch_without_rows_is_an_error_of_the_step() {
    let empty = Tensor::<2>::zeros([0, 3], &setup().device);
    let message = session(target).step(&Inputs::new(empty)).unwrap_err().to_string();
    assert!(
        message.contains("input `target`") && message.contains("a dimension of 0"),
        "{message}"
    );
}

#[test]
fn names_messages_and_operands_are_bounded() {
    let message = message_of(|step| step.call(Op::Buffer as u32, &[], &[], &"x".repeat(257)));
    assert!(message.contains("its name has 257 bytes; at most 256"), "{message}");
    assert!(message.len() < 600);
    let message = message_of(|step| step.call(Op::Fail as u32, &[], &[], &"é".repeat(1 << 20)));
    assert!(message.len() < 5000, "{}", message.len());
    let message = message_of(|step| {
        let a = target(step);
        op(step, Op::Add, &vec![a; 1_000_000], &[])
    });
    assert!(message.contains("1000000 operands") && message.len() < 600, "{message}");
    let message = message_of(|step| {
        let a = target(step);
        op(step, Op::Reshape, &[a], &vec![1.0; 1_000_000])
    });
    assert!(message.contains("1000000 attributes") && message.len() < 600, "{message}");
}

#[test]
fn values_that_are_kept_once_obey_the_freeze() {
    let mut count = 0;
    let mut session = session(move |step| {
        count += 1;
        let a = target(step);
        let name = if count > 2 { format!("late {count}") } else { "early".to_owned() };
        let kept = step.call(Op::Once as u32, &[a], &[], &name);
        let product = op(step, Op::Mul, &[a, kept], &[]);
        op(step, Op::Sum, &[product], &[])
    });
    session.probe(&inputs(4)).unwrap();
    session.step(&inputs(4)).unwrap();
    session.commit();
    let message = session.step(&inputs(4)).unwrap_err().to_string();
    assert!(message.contains("once `late 3`") && message.contains("after set-up"), "{message}");
    assert_eq!(session.state().keys().collect::<Vec<_>>(), ["buffer.early"]);
}

#[test]
fn what_nothing_learns_from_is_found_by_the_probe() {
    let mut constant = session(|step| {
        let a = target(step);
        let a = op(step, Op::Detach, &[a], &[]);
        op(step, Op::Sum, &[a], &[])
    });
    let message = constant.probe(&inputs(4)).unwrap_err().to_string();
    assert!(message.contains("doesn't depend on anything that learns"), "{message}");
}

fn products(n: f64) -> impl FnMut(&mut Interpreter) -> u64 + Send {
    move |step| {
        let mut a = op(step, Op::RandomUniform, &[], &[n]);
        while a != 0 {
            a = op(step, Op::Mul, &[a, a], &[]);
        }
        0
    }
}

#[test]
fn the_hosts_operations_have_their_time_too() {
    let limits = Limits { host_seconds: 0.2, ..Limits::default() };
    for code in [
        Box::new(Calls(products(1e6))) as Box<dyn LossCode>,
        // Refused before it begins: it would compute for minutes.
        Box::new(Calls(|step: &mut Interpreter| {
            let a = op(step, Op::RandomUniform, &[], &[8192.0, 8192.0]);
            op(step, Op::Matmul, &[a, a], &[])
        })),
        // Shapes and values, asked for without end.
        Box::new(Calls(|step: &mut Interpreter| {
            let a = target(step);
            while !step.read(a).is_empty() {
                step.shape(a);
            }
            a
        })),
    ] {
        let begun = std::time::Instant::now();
        let mut session = Session::new("test", code, Setup { limits: limits.clone(), ..setup() });
        let message = session.step(&inputs(4)).unwrap_err().to_string();
        assert!(message.contains("(limit `host_seconds`)"), "{message}");
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_step_that_takes_long_can_be_stopped() {
    static STOP: AtomicBool = AtomicBool::new(true);
    let mut session = session(|step| {
        let a = target(step);
        while !step.read(a).is_empty() {}
        a
    });
    session.stop_on(&STOP);
    let begun = std::time::Instant::now();
    let error = session.step(&inputs(4)).unwrap_err();
    assert!(matches!(error, LossError::Stopped { .. }), "{error}");
    assert!(begun.elapsed().as_secs_f64() < 1.5, "{:?}", begun.elapsed());
    // One that ends by itself does.
    let mut short = Session::new("test", Box::new(Calls(draws())), setup());
    short.stop_on(&STOP);
    short.step(&inputs(4)).unwrap();
}

#[test]
fn copies_and_what_is_needed_for_a_moment_count_as_memory() {
    let limits = Limits { held_bytes: 100 << 20, ..Limits::default() };
    let reshapes = |step: &mut Interpreter| {
        let a = op(step, Op::RandomUniform, &[], &[1024.0, 1024.0]);
        let mut a = op(step, Op::Transpose, &[a], &[]);
        while a != 0 {
            a = op(step, Op::Reshape, &[a], &[1024.0, 1024.0]);
            a = op(step, Op::Transpose, &[a], &[]);
        }
        a
    };
    let sorts = |step: &mut Interpreter| {
        let a = op(step, Op::RandomUniform, &[], &[1e7]);
        op(step, Op::Argsort, &[a], &[0.0])
    };
    for code in [Box::new(Calls(reshapes)) as Box<dyn LossCode>, Box::new(Calls(sorts))] {
        let mut session = Session::new("test", code, Setup { limits: limits.clone(), ..setup() });
        let message = session.step(&inputs(4)).unwrap_err().to_string();
        assert!(message.contains("limit `held_bytes`"), "{message}");
    }
}

/// Burn's flex panicked in the gradient, or might have summed other elements.
#[test]
fn exchanged_dimensions_of_size_1_change_nothing() {
    let mut session = session(|step| {
        let p = step.call(Op::Param as u32, &[], &[2.0, 1.0, 8.0, 7.0, 6.0, 1.0], "p");
        let p = op(step, Op::SwapDims, &[p], &[1.0, 0.0]);
        let m = op(step, Op::MeanDim, &[p], &[0.0]);
        let m = op(step, Op::SwapDims, &[m], &[3.0, 0.0]);
        op(step, Op::Sum, &[m], &[])
    });
    let value = session.step(&inputs(4)).unwrap().value;
    let gradients = value.backward();
    let gradient = session.parameters().values[0].val().grad(&gradients).unwrap();
    let seventh = |x: f32| (x - 1.0 / 7.0).abs() < 1e-6;
    assert!(gradient.into_data().iter::<f32>().all(seventh));
}

/// While constants are held, a step has those of the step that kept them: a detached tensor, and values
/// that the plugin read.
#[test]
fn constants_of_a_step_can_be_held() {
    let mut session = session(|step| {
        let x = target(step);
        let constant = op(step, Op::Detach, &[x], &[]);
        let product = op(step, Op::Mul, &[x, constant], &[]);
        let (sum, total) = (op(step, Op::Sum, &[product], &[]), op(step, Op::Sum, &[x], &[]));
        let read = step.read(total)[0];
        op(step, Op::AddScalar, &[sum], &[read])
    });
    let numbers = |by: f64| (0..12).map(|i| by * (f64::from(i) * 0.25 - 1.0)).collect::<Vec<f64>>();
    let batch = |by: f64| {
        let x = Tensor::from_data(TensorData::new(numbers(by), [4, 3]), &setup().device);
        Inputs::new(x.require_grad())
    };
    let value = |session: &mut Session, by: f64| {
        let value = session.step(&batch(by)).unwrap().value;
        session.discard();
        value.into_data().iter::<f64>().next().unwrap()
    };
    let expected = |x: &[f64], constant: &[f64]| -> f64 {
        x.iter().zip(constant).map(|(x, c)| x * c).sum::<f64>() + constant.iter().sum::<f64>()
    };
    let (a, b) = (numbers(1.0), numbers(3.0));
    session.keep_constants();
    assert_eq!(value(&mut session, 1.0), expected(&a, &a));
    session.hold_constants(true);
    for _ in 0..2 {
        assert_eq!(value(&mut session, 3.0), expected(&b, &a));
    }
    session.hold_constants(false);
    assert_eq!(value(&mut session, 3.0), expected(&b, &b));
}

/// What [`Session::trace`] finds; each call is its own line.
fn traced(f: impl FnMut(&mut Interpreter) -> u64 + Send + 'static) -> Option<String> {
    let mut session = session(f);
    let found = session.trace(&inputs(4)).map(|failure| failure.to_string());
    // Nothing of it stays.
    assert!(session.step(&inputs(4)).is_ok() && session.step_number() == 0);
    found
}

#[test]
fn the_first_operation_that_is_not_finite_is_found() {
    let line = |step: &mut Interpreter, n: u32| {
        step.call(Op::Blame as u32, &[], &[], &format!("x.rs:{n}"))
    };
    // ln(0) is where it begins, however far it goes; what is infinite beside the way is meant.
    let found = traced(move |step| {
        let t = target(step);
        let beside = op(step, Op::MulScalar, &[t], &[f64::INFINITY]);
        line(step, 1);
        let zero = op(step, Op::MulScalar, &[t], &[0.0]);
        line(step, 2);
        let ln = op(step, Op::Ln, &[zero], &[]);
        line(step, 3);
        let product = op(step, Op::Mul, &[ln, zero], &[]);
        line(step, 4);
        let _ = beside;
        op(step, Op::Sum, &[product], &[])
    });
    assert_eq!(
        found.unwrap(),
        "ln of [4, 3] at x.rs:3: its result holds infinity, its operands don't"
    );

    // A finite loss whose way back isn't: the root of zero.
    let found = traced(move |step| {
        let t = target(step);
        let zero = op(step, Op::MulScalar, &[t], &[0.0]);
        let root = op(step, Op::Sqrt, &[zero], &[]);
        line(step, 7);
        let rest = op(step, Op::AddScalar, &[root], &[1.0]);
        line(step, 8);
        op(step, Op::Sum, &[rest], &[])
    });
    let why = "sqrt of [4, 3] at x.rs:7: the gradient that it gives holds ";
    assert!(found.as_ref().unwrap().starts_with(why), "{found:?}");

    let sound = traced(|step| {
        let t = target(step);
        let square = op(step, Op::Mul, &[t, t], &[]);
        op(step, Op::Sum, &[square], &[])
    });
    assert_eq!(sound, None);
}

/// Operations that a loss asks for, as they are recorded.
fn formulas(f: impl FnMut(&mut Interpreter) -> u64 + Send + 'static) -> Vec<String> {
    let lines = session(f).listing(&inputs(4)).unwrap();
    lines.into_iter().map(|line| line.formula).collect()
}

#[test]
fn what_is_asked_for_twice_is_recorded_once_unless_a_gradient_flows_through() {
    let lines = formulas(|step| {
        let t = target(step);
        let labels = step.call(Op::Input as u32, &[], &[], "labels");
        let mut sum = op(step, Op::Sum, &[t], &[]);
        for _ in 0..2 {
            let labels = step.call(Op::Input as u32, &[], &[], "labels");
            let floats = op(step, Op::Float, &[labels], &[]);
            let total = op(step, Op::Sum, &[floats], &[]);
            let (t, twice) = (target(step), op(step, Op::MulScalar, &[t], &[2.0]));
            let both = op(step, Op::Add, &[t, twice], &[]);
            let both = op(step, Op::Reshape, &[both], &[4.0, 3.0]); // as it is
            let one = op(step, Op::Sum, &[both], &[]);
            sum = op(step, Op::Add, &[sum, total], &[]);
            sum = op(step, Op::Add, &[sum, one], &[]);
        }
        let _ = labels;
        sum
    });
    let count =
        |what: &str| lines.iter().filter(|line| line.contains(&format!("= {what}"))).count();
    assert_eq!((count("input `target`"), count("input `labels`"), count("float")), (1, 1, 1));
    assert_eq!((count("mul_scalar"), count("reshape")), (2, 0), "{lines:?}");
    // And drawn numbers are drawn each time.
    let lines = formulas(|step| {
        let (a, b) =
            (op(step, Op::RandomNormal, &[], &[2.0]), op(step, Op::RandomNormal, &[], &[2.0]));
        let t = target(step);
        let (a, t) = (op(step, Op::Mul, &[a, b], &[]), op(step, Op::Sum, &[t], &[]));
        let a = op(step, Op::Sum, &[a], &[]);
        op(step, Op::Add, &[a, t], &[])
    });
    assert_eq!(lines.iter().filter(|line| line.contains("random_normal")).count(), 2);
}

#[test]
fn constants_are_the_same_in_later_steps_and_follow_the_batch() {
    let mut session = session(|step| {
        let t = target(step);
        let n = step.shape(t)[0] as f64;
        let eye = op(step, Op::Eye, &[], &[n]);
        let off = op(step, Op::Neg, &[eye], &[]);
        let off = op(step, Op::AddScalar, &[off], &[1.0]);
        let product = op(step, Op::Matmul, &[off, t], &[]);
        op(step, Op::Sum, &[product], &[])
    });
    let mut value = |rows: usize| {
        let outcome = session.step(&inputs(rows)).unwrap().value;
        session.commit();
        outcome.into_scalar::<f64>()
    };
    // Each row is summed by all others.
    let sum = |rows: usize| (0..rows * 3).map(|i| i as f64 * 0.25 - 1.0).sum::<f64>();
    for rows in [4, 4, 5, 4, 4] {
        assert!((value(rows) - (rows as f64 - 1.0) * sum(rows)).abs() < 1e-4);
    }
}
