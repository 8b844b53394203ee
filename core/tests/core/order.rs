//! Sort orders and ties, from the plugin's side.

use crate::common::{Calls, op};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_core::{Inputs, Interpreter, Limits, Session, Setup};
use retort_sdk::Op;
use std::cmp::Ordering;
use std::sync::{Arc, Mutex};

/// What a loss reads that computes `f` of this tensor, and the gradient of the loss that `f` returns.
fn read(
    values: &[f64],
    dims: &[usize],
    dtype: FloatDType,
    f: impl Fn(&mut Interpreter, u64) -> (u64, u64) + Send + 'static,
) -> (Vec<f64>, Vec<f64>) {
    let (device, limits) = (Device::flex().autodiff(), Limits::default());
    let setup = Setup { device: device.clone(), dtype, seed: 7, limits };
    let found = Arc::new(Mutex::new(Vec::new()));
    let (seen, shape) = (Arc::clone(&found), dims.to_vec());
    let code = Calls(move |step: &mut Interpreter| {
        let x = step.call(Op::Input as u32, &[], &[], "target");
        let dims: Vec<f64> = shape.iter().map(|&n| n as f64).collect();
        let x = op(step, Op::Reshape, &[x], &dims);
        let (wanted, loss) = f(step, x);
        *seen.lock().unwrap() = step.read(wanted);
        op(step, Op::Sum, &[loss], &[])
    });
    let data = TensorData::new(values.to_vec(), [1, values.len()]);
    let target = Tensor::<2>::from_data(data, (&device, dtype.into())).require_grad();
    let inputs = Inputs { labels: vec![0], ids: vec![0], ..Inputs::new(target.clone()) };
    let outcome = Session::new("test", Box::new(code), setup).step(&inputs).unwrap();
    let gradients = outcome.value.backward();
    let gradient = target.grad(&gradients).unwrap().into_data().iter::<f64>().collect();
    let found = found.lock().unwrap().clone();
    (found, gradient)
}

/// Few different numbers, among them NaN, both infinities and both zeros.
fn tied(n: usize) -> Vec<f64> {
    const NUMBERS: [f64; 9] =
        [0.0, -0.0, 1.5, f64::NAN, -2.0, f64::INFINITY, 1.5, f64::NEG_INFINITY, -1e-30];
    (0..n).map(|i| NUMBERS[(i * i + i / 7) % 9] * if i % 11 == 3 { -1.0 } else { 1.0 }).collect()
}

fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[test]
fn equal_elements_keep_their_order_along_every_dimension() {
    for n in [1, 2, 20, 21, 64, 500] {
        for d in 0..3 {
            for dtype in [FloatDType::F32, FloatDType::F64] {
                let mut dims = [3, 5, 4];
                dims[d] = n;
                let values = tied(dims.iter().product());
                let (order, _) = read(&values, &dims, dtype, move |step, x| {
                    (op(step, Op::Argsort, &[x], &[d as f64]), x)
                });
                let inner: usize = dims[d + 1..].iter().product();
                for row in 0..values.len() / n {
                    let at = |i: usize| (row / inner * n + i) * inner + row % inner;
                    let mut wanted: Vec<usize> = (0..n).collect();
                    wanted.sort_by(|&i, &j| compare(values[at(i)], values[at(j)]));
                    let found: Vec<usize> = (0..n).map(|i| order[at(i)] as usize).collect();
                    assert_eq!(found, wanted, "{n} along dimension {d}, row {row}, {dtype:?}");
                }
            }
        }
    }
}

/// As in PyTorch: `maximum` and `minimum` of equal elements give each half of the gradient, and of a NaN
/// NaN.
#[test]
fn larger_and_smaller_of_equal_elements_share_the_gradient() {
    let values = [1.0, 2.0, 3.0, f64::NAN, 1.0, f64::INFINITY, -1e308];
    let others = [1.0, 3.0, 2.0, 1.0, f64::NAN, f64::INFINITY, -1e308];
    for (which, wanted, slopes) in [
        (Op::Max, [1.0, 3.0, 3.0, f64::NAN, f64::NAN, f64::INFINITY, -1e308], [0.0, 1.0]),
        (Op::Min, [1.0, 2.0, 2.0, f64::NAN, f64::NAN, f64::INFINITY, -1e308], [1.0, 0.0]),
    ] {
        let both: Vec<f64> = values.into_iter().chain(others).collect();
        let (found, gradient) = read(&both, &[2, 7], FloatDType::F64, move |step, x| {
            let a = op(step, Op::Slice, &[x], &[0.0, 0.0, 1.0]);
            let b = op(step, Op::Slice, &[x], &[0.0, 1.0, 2.0]);
            let out = op(step, which, &[a, b], &[]);
            (out, out)
        });
        for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            assert!(
                found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan(),
                "{i}"
            );
        }
        let half = [0.5, slopes[0], slopes[1], 0.5, 0.5, 0.5, 0.5];
        let other = half.map(|x| 1.0 - x);
        assert_eq!(gradient, [half, other].concat(), "{which}");
    }
}

/// An operation, what it gets, its result and its slopes.
type Kink<'a> = (Op, &'a [f64], &'a [f64], &'a [f64]);

/// The slope at a kink: none at 0 of `relu` and `abs`, all of it at the bound of a clamp, the first of equal
/// elements of `max_dim` and `min_dim`. NaN goes through.
#[test]
fn kinks_have_a_slope_and_nan_goes_through() {
    let nan = f64::NAN;
    let kinks = [0.0, -0.0, 1.0, nan, -1.0];
    let ties = [1.0, 2.0, 2.0, 1.0];
    let cases: [Kink; 8] = [
        (Op::Relu, &kinks, &[0.0, 0.0, 1.0, nan, 0.0], &[0.0, 0.0, 1.0, 1.0, 0.0]),
        (Op::Abs, &kinks, &[0.0, 0.0, 1.0, nan, 1.0], &[0.0, 0.0, 1.0, 0.0, -1.0]),
        (Op::ClampMin, &kinks, &[0.0, 0.0, 1.0, nan, 0.0], &[1.0, 1.0, 1.0, 1.0, 0.0]),
        (Op::ClampMax, &kinks, &[0.0, 0.0, 0.0, nan, -1.0], &[1.0, 1.0, 0.0, 1.0, 1.0]),
        (Op::MaxDim, &kinks, &[nan], &[0.0, 0.0, 0.0, 1.0, 0.0]),
        (Op::MinDim, &kinks, &[nan], &[0.0, 0.0, 0.0, 1.0, 0.0]),
        (Op::MaxDim, &ties, &[2.0], &[0.0, 1.0, 0.0, 0.0]),
        (Op::MinDim, &ties, &[1.0], &[1.0, 0.0, 0.0, 0.0]),
    ];
    for (which, values, wanted, slopes) in cases {
        let (found, gradient) = read(values, &[values.len()], FloatDType::F64, move |step, x| {
            let attrs: &[f64] = if matches!(which, Op::Relu | Op::Abs) { &[] } else { &[0.0] };
            let out = op(step, which, &[x], attrs);
            (out, out)
        });
        let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
        assert!(
            found.len() == wanted.len() && found.iter().zip(wanted).all(same),
            "{which}: {found:?}"
        );
        assert_eq!(gradient, slopes, "{which}");
    }
}

/// Comparisons are 0 or 1, also of NaN and of the two zeros.
#[test]
fn comparisons_of_nan_and_of_zeros() {
    let values = [1.0, f64::NAN, 0.0, f64::NAN, f64::INFINITY, 2.0];
    let others = [f64::NAN, 1.0, -0.0, f64::NAN, f64::INFINITY, 1.0];
    for (which, wanted) in
        [(Op::Greater, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), (Op::Equal, [0.0, 0.0, 1.0, 0.0, 1.0, 0.0])]
    {
        let both: Vec<f64> = values.into_iter().chain(others).collect();
        let (found, _) = read(&both, &[2, 6], FloatDType::F64, move |step, x| {
            let a = op(step, Op::Slice, &[x], &[0.0, 0.0, 1.0]);
            let b = op(step, Op::Slice, &[x], &[0.0, 1.0, 2.0]);
            (op(step, which, &[a, b], &[]), x)
        });
        assert_eq!(found, wanted, "{which}");
    }
}

/// `has` answers for what this step offers, and for names that no host has.
#[test]
fn a_loss_may_ask_what_a_step_has() {
    let (found, _) = read(&[1.0, 2.0], &[2], FloatDType::F64, |step, x| {
        let asked = [
            ("target", None, 1.0),
            ("labels", None, 1.0),
            ("ids", None, 1.0),
            ("classes", None, 0.0), // it wasn't said
            ("epoch", None, 1.0),
            ("source", None, 0.0),
            ("target_features", None, 0.0),
            ("target_features", Some(0.0), 0.0),
            ("relation", None, 0.0),
            ("source", Some(3.0), 0.0),
            ("\u{1b}[2J", None, 0.0),
        ];
        for (name, level, wanted) in asked {
            let id = step.call(Op::Has as u32, &[], level.as_slice(), name);
            assert_eq!(step.read(id), [wanted], "{name} {level:?}");
        }
        (x, x)
    });
    assert_eq!(found, [1.0, 2.0]);
}
