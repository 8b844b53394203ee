//! What nothing needs any more is freed while a step is computed. In a process of its own, whose peak counts.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Device, FloatDType, Tensor};
use retort_core::{Inputs, Interpreter, Limits, LossCode, Session, Setup};
use retort_sdk::Op;

/// A hundred operations on 4 MB, through which no gradient flows, and a thousand that lead nowhere.
struct Chain;

impl LossCode for Chain {
    fn run(&mut self, mut step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>) {
        let mut call = |op: Op, args: &[u64], attrs: &[f64], name: &str| {
            step.call(op as u32, args, attrs, name)
        };
        let target = call(Op::Input, &[], &[], "target");
        let mut a = call(Op::RandomUniform, &[], &[1000.0, 1000.0], "");
        for _ in 0..100 {
            a = call(Op::AddScalar, &[a], &[1.0], "");
        }
        let mut nowhere = a;
        for _ in 0..1000 {
            nowhere = call(Op::MulScalar, &[nowhere], &[0.5], "");
        }
        let (sum, learns) = (call(Op::Sum, &[a], &[], ""), call(Op::Sum, &[target], &[], ""));
        let loss = call(Op::Add, &[sum, learns], &[], "");
        (step, Ok(loss))
    }
}

/// Bytes that the process held at most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_step_holds_what_it_needs_and_no_more() {
    let device = Device::flex().autodiff();
    // The budget counts all that the loss asked for: 4.4 GB.
    let limits = Limits { held_bytes: 16 << 30, ..Limits::default() };
    let setup = Setup { device: device.clone(), dtype: FloatDType::F32, seed: 0, limits };
    let mut session = Session::new("chain", Box::new(Chain), setup);
    let target = Tensor::ones([2, 2], &device).require_grad();
    let before = peak();
    let value = session.step(&Inputs::new(target)).unwrap().value.into_scalar::<f64>();
    // 100 and the mean of a uniform draw.
    assert!((value / 1e6 - 100.5).abs() < 0.01, "{value}");
    let held = peak() - before;
    assert!(held < 40 << 20, "{} MiB for a chain of 4 MB", held >> 20);
}
