//! One step of an optimiser for many parameters by a few launches: the arithmetic of `optimizer/`.

use super::parts::{Layout, primitive, sequence, threads};
use burn::tensor::Tensor;
use burn_wgpu::CubeTensor;
use cubecl::prelude::*;

/// Which arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Adam, and with its decay apart `AdamW`.
    Adam,
    /// Momentum alone.
    Momentum,
    /// Nesterov's.
    Nesterov,
    /// RMSprop's, with momentum.
    RmsProp,
}

impl Arithmetic {
    /// Whether it remembers a second moment.
    pub(crate) fn has_second(self) -> bool {
        matches!(self, Arithmetic::Adam | Arithmetic::RmsProp)
    }
}

/// What is the same for all parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalars {
    pub(crate) epsilon: f64,
    /// Gradients are clamped to plus and minus this, if it isn't 0.
    pub(crate) clip: f64,
    /// Weight decay that is added to gradients.
    pub(crate) coupled: f64,
    /// Shares of the old first and second moment.
    pub(crate) shares: [f64; 2],
}

/// A parameter before its step, all `[len]`.
#[derive(Clone, Debug)]
pub(crate) struct Moving {
    pub(crate) parameter: Tensor<1>,
    pub(crate) gradient: Tensor<1>,
    /// First and second moment, zeros before its first step.
    pub(crate) memory: [Tensor<1>; 2],
    /// What the step is multiplied with.
    pub(crate) rate: f64,
    /// What the root of the second moment is divided by.
    pub(crate) root: f64,
    /// What the parameter is multiplied with: decoupled weight decay.
    pub(crate) keep: f64,
}

/// After it.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) parameter: Tensor<1>,
    pub(crate) memory: [Tensor<1>; 2],
}

/// Ranges of one launch: each number looks for its own.
const MOST: usize = 32;

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel has no structs of buffers")]
fn step(
    parameters: &[f32],
    gradients: &[f32],
    firsts: &[f32],
    seconds: &[f32],
    from: usize,
    ends: &Sequence<usize>,
    rates: &Sequence<f32>,
    roots: &Sequence<f32>,
    keeps: &Sequence<f32>,
    epsilon: f32,
    clip: f32,
    coupled: f32,
    share_1: f32,
    rest_1: f32,
    share_2: f32,
    rest_2: f32,
    out: &mut [f32],
    out_first: &mut [f32],
    out_second: &mut [f32],
    #[comptime] rule: Arithmetic,
) {
    let at = from + ABSOLUTE_POS;
    let mut begin = from;
    #[unroll]
    for i in 0..ends.len() {
        if at >= begin && at < ends[i] {
            let x = parameters[at];
            let mut g = gradients[at];
            if clip > 0.0f32 {
                g = clamp(g, -clip, clip);
            }
            g += x * coupled;
            let mut first = firsts[at];
            let mut second = seconds[at];
            let mut moved = x * keeps[i];
            match comptime!(rule) {
                Arithmetic::Adam => {
                    first = first * share_1 + g * rest_1;
                    second = second * share_2 + g * g * rest_2;
                    moved -= first * rates[i] / (second.sqrt() / roots[i] + epsilon);
                }
                Arithmetic::Momentum => {
                    first = first * share_1 + g;
                    moved -= first * rates[i];
                }
                Arithmetic::Nesterov => {
                    first = first * share_1 + g;
                    moved -= (g + first * share_1) * rates[i];
                }
                Arithmetic::RmsProp => {
                    second = second * share_2 + g * g * rest_2;
                    first = first * share_1 + g / (second.sqrt() + epsilon);
                    moved -= first * rates[i];
                }
            }
            out[at] = moved;
            out_first[at] = first;
            out_second[at] = second;
        }
        begin = ends[i];
    }
}

/// One step of parameters that all lie on a GPU, in 32 bits; in their order.
pub(crate) fn update(rule: Arithmetic, scalars: Scalars, moving: &[Moving]) -> Option<Vec<Moved>> {
    let of = |tensor: fn(&Moving) -> &Tensor<1>| {
        moving.iter().map(|one| primitive(tensor(one))).collect::<Option<Vec<CubeTensor>>>()
    };
    let (parameters, gradients) = (of(|one| &one.parameter)?, of(|one| &one.gradient)?);
    let (firsts, seconds) = (of(|one| &one.memory[0])?, of(|one| &one.memory[1])?);
    let (like, client) = (parameters.first()?, &parameters.first()?.client);
    let layout = Layout::new(&parameters, client);
    let read = [&parameters, &gradients, &firsts, &seconds].map(|parts| layout.joined(parts));
    let written = [(); 3].map(|()| layout.buffer(like));
    let [share_1, share_2] = scalars.shares;
    for ranges in ranges(moving, &layout).chunks(MOST) {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { continue };
        let (count, dim) = threads(client, last.end - first.begin);
        let [x, g, m, v] = read.clone().map(CubeTensor::into_buffer_arg);
        let [to, to_first, to_second] = written.clone().map(CubeTensor::into_buffer_arg);
        let number = |i: usize| sequence(ranges.iter().map(|range| range.numbers[i]));
        step::launch(
            client,
            count,
            dim,
            x,
            g,
            m,
            v,
            first.begin,
            sequence(ranges.iter().map(|range| range.end)),
            number(0),
            number(1),
            number(2),
            scalars.epsilon as f32,
            scalars.clip as f32,
            scalars.coupled as f32,
            share_1 as f32,
            (1.0 - share_1) as f32,
            share_2 as f32,
            (1.0 - share_2) as f32,
            to,
            to_first,
            to_second,
            rule,
        );
    }
    let [parameters, firsts, seconds] = written.map(|buffer| layout.views(&buffer));
    let memory = firsts.into_iter().zip(seconds).map(|(first, second)| [first, second]);
    let moved = parameters.into_iter().zip(memory);
    Some(moved.map(|(parameter, memory)| Moved { parameter, memory }).collect())
}

/// Neighbours in the buffer with the same numbers.
struct Range {
    begin: usize,
    end: usize,
    /// Rate, root, keep.
    numbers: [f32; 3],
}

fn ranges(moving: &[Moving], layout: &Layout) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (i, one) in moving.iter().enumerate() {
        let numbers = [one.rate, one.root, one.keep].map(|x| x as f32);
        let (begin, end) = (layout.starts[i], layout.end(i));
        match ranges.last_mut() {
            Some(last) if last.numbers.map(f32::to_bits) == numbers.map(f32::to_bits) => {
                last.end = end;
            }
            _ => ranges.push(Range { begin, end, numbers }),
        }
    }
    ranges
}
