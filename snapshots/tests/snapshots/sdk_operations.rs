//! What the SDK composes of the host's operations: values against plain loops, gradients against
//! differences of those loops' results.

use burn::tensor::FloatDType;
use retort_core::Limits;
use retort_host::loss::case::{Case, Layout};
use retort_host::loss::probe;
use retort_host::plugin::native;
use retort_host::plugin::registry::Found;
use retort_sdk::abi::PluginTable;
use retort_sdk::prelude::*;
use retort_sdk::{Entry, entry, table};
use serde_json::{Map, Value, json};

type Matrix = Vec<Vec<f64>>;

macro_rules! operations {
    ($($variant:ident $word:literal: |$x:ident, $y:ident| $of_tensors:expr, |$a:ident, $b:ident| $of_numbers:expr;)*) => {
        retort_sdk::choice! {
            /// An operation.
            pub enum Which { $($variant = $word),* }
        }

        const WORDS: &[&str] = &[$($word),*];

        fn of_tensors(which: Which, x: Tensor, y: Tensor) -> Tensor {
            match which { $(Which::$variant => { let ($x, $y) = (x, y); let _ = $y; $of_tensors })* }
        }

        fn of_numbers(which: &str, a: &Matrix, b: &Matrix) -> Vec<f64> {
            match which {
                $($word => { let ($a, $b) = (a, b); let _ = $b; $of_numbers })*
                other => panic!("{other}"),
            }
        }
    };
}

fn flat(rows: impl IntoIterator<Item = Vec<f64>>) -> Vec<f64> {
    rows.into_iter().flatten().collect()
}

fn each(a: &Matrix, f: impl Fn(f64) -> f64) -> Vec<f64> {
    a.iter().flatten().map(|&x| f(x)).collect()
}

fn by_row(a: &Matrix, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    a.iter().map(|row| f(row)).collect()
}

fn columns(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(row: &[f64]) -> f64 {
    row.iter().sum()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let total: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| x.exp() / total).collect()
}

fn variance(row: &[f64], correction: f64) -> f64 {
    let mean = sum(row) / row.len() as f64;
    row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (row.len() as f64 - correction)
}

fn sorted(row: &[f64]) -> Vec<f64> {
    let mut row = row.to_vec();
    row.sort_by(f64::total_cmp);
    row
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn pairs(a: &Matrix, b: &Matrix, f: impl Fn(&[f64], &[f64]) -> f64) -> Vec<f64> {
    a.iter().flat_map(|a| b.iter().map(|b| f(a, b)).collect::<Vec<f64>>()).collect()
}

operations! {
    Log "log": |x, _y| (x.square() + 1.0).log(), |a, _b| each(a, |x| (x * x + 1.0).ln());
    Pow "pow": |x, _y| (x + 2.0).pow(1.5), |a, _b| each(a, |x| (x + 2.0).powf(1.5));
    Reciprocal "reciprocal": |x, _y| (x + 3.0).reciprocal(), |a, _b| each(a, |x| 1.0 / (x + 3.0));
    Clamp "clamp": |x, _y| x.clamp(-0.5, 0.25), |a, _b| each(a, |x| x.clamp(-0.5, 0.25));
    Sign "sign": |x, _y| x.sign() * x, |a, _b| each(a, f64::abs);
    Less "less": |x, y| x.less(y) * x,
        |a, b| a.iter().flatten().zip(b.iter().flatten()).map(|(&a, &b)| if a < b { a } else { 0.0 }).collect();
    Below "below": |x, _y| x.below(0.1) * x, |a, _b| each(a, |x| if x < 0.1 { x } else { 0.0 });
    MaskedFill "masked_fill": |x, _y| x.masked_fill(x.below(0.1), 7.0),
        |a, _b| each(a, |x| if x < 0.1 { 7.0 } else { x });
    LeakyRelu "leaky_relu": |x, _y| x.leaky_relu(0.1), |a, _b| each(a, |x| if x > 0.0 { x } else { 0.1 * x });
    Softmax "softmax": |x, _y| x.softmax(1), |a, _b| flat(a.iter().map(|row| softmax(row)));
    SoftmaxColumns "softmax_columns": |x, _y| x.softmax(0),
        |a, _b| flat(columns(&columns(a).iter().map(|row| softmax(row)).collect()));
    SoftmaxLarge "softmax_large": |x, _y| (x * 1e4 + 1e4).softmax(1) * 1e-4, |a, _b| {
        flat(a.iter().map(|row| {
            let top = row.iter().copied().fold(f64::MIN, f64::max);
            softmax(&row.iter().map(|x| 1e4 * (x - top)).collect::<Vec<f64>>()).iter().map(|x| x * 1e-4).collect()
        }))
    };
    LogSoftmax "log_softmax": |x, _y| x.log_softmax(1),
        |a, _b| flat(a.iter().map(|row| softmax(row).into_iter().map(f64::ln).collect()));
    LogSumExp "logsumexp": |x, _y| x.logsumexp(1), |a, _b| by_row(a, |row| row.iter().map(|x| x.exp()).sum::<f64>().ln());
    Var "var": |x, _y| x.var(1, 1), |a, _b| by_row(a, |row| variance(row, 1.0));
    VarOfValues "var_0": |x, _y| x.var(0, 0), |a, _b| by_row(&columns(a), |row| variance(row, 0.0));
    Std "std": |x, _y| x.std(1, 1), |a, _b| by_row(a, |row| variance(row, 1.0).sqrt());
    Norm1 "norm_1": |x, _y| x.norm_p(1.0, 1), |a, _b| by_row(a, |row| row.iter().map(|x| x.abs()).sum());
    Norm3 "norm_3": |x, _y| x.norm_p(3.0, 0),
        |a, _b| by_row(&columns(a), |row| row.iter().map(|x| x.abs().powi(3)).sum::<f64>().cbrt());
    Sort "sort": |x, _y| x.sort(1, false).0, |a, _b| flat(a.iter().map(|row| sorted(row)));
    SortDown "sort_down": |x, _y| x.sort(0, true).0, |a, _b| {
        flat(columns(&columns(a).iter().map(|row| sorted(row).into_iter().rev().collect()).collect()))
    };
    TopK "top_k": |x, _y| x.top_k(2, 1).0, |a, _b| flat(a.iter().map(|row| sorted(row)[2..].iter().rev().copied().collect()));
    TopKPlaces "top_k_places": |x, _y| x.top_k(2, 1).1.float() + 0.0 * x.slice(1, 0..2), |a, _b| {
        let place = |row: &[f64], rank: usize| {
            let wanted = sorted(row)[row.len() - 1 - rank];
            row.iter().position(|&x| x == wanted).unwrap() as f64
        };
        flat(a.iter().map(|row| vec![place(row, 0), place(row, 1)]))
    };
    Argmax "argmax": |x, _y| x.gather(1, x.argmax(1)), |a, _b| by_row(a, |row| row.iter().copied().fold(f64::MIN, f64::max));
    Argmin "argmin": |x, _y| x.gather(0, x.argmin(0)),
        |a, _b| by_row(&columns(a), |row| row.iter().copied().fold(f64::MAX, f64::min));
    Squeezed "squeezed": |x, _y| x.sum_dim(1).squeeze(1).unsqueeze(0).unsqueeze(2) * x.unsqueeze(1).slice(2, 0..1).swap_dims(0, 1),
        |a, _b| by_row(a, |row| sum(row) * row[0]);
    Permute "permute": |x, y| (x.unsqueeze(2) * y.unsqueeze(1)).permute([2, 0, 1]), |a, b| {
        flat((0..b[0].len()).map(|k| {
            a.iter().zip(b).flat_map(|(a, b)| a.iter().map(|x| x * b[k]).collect::<Vec<f64>>()).collect()
        }))
    };
    Diagonal "diagonal": |x, y| x.matmul(y.t()).diagonal(), |a, b| a.iter().zip(b).map(|(a, b)| dot(a, b)).collect();
    Trace "trace": |x, y| x.matmul(y.t()).trace(), |a, b| vec![a.iter().zip(b).map(|(a, b)| dot(a, b)).sum()];
    Cdist "cdist": |x, y| cdist(x, y), |a, b| pairs(a, b, distance);
    KlDivergence "kl_divergence": |x, y| kl_divergence(x.log_softmax(1), y.log_softmax(1), 1), |a, b| {
        let one = |(a, b): (&Vec<f64>, &Vec<f64>)| {
            softmax(a).iter().zip(softmax(b)).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
        };
        a.iter().zip(b).map(one).collect()
    };
    BinaryCrossEntropy "binary_cross_entropy": |x, y| binary_cross_entropy(x, y.above(0.0)), |a, b| {
        let one = |(&x, &y): (&f64, &f64)| {
            let p = 1.0 / (1.0 + (-x).exp());
            if y > 0.0 { -p.ln() } else { -(1.0 - p).ln() }
        };
        let all: Vec<f64> = a.iter().flatten().zip(b.iter().flatten()).map(one).collect();
        vec![sum(&all) / all.len() as f64]
    };
    Ranks "ranks": |x, _y| x.ranks(1).float() * x, |a, _b| flat(a.iter().map(|row| {
        let order = sorted(row);
        row.iter().map(|x| x * order.iter().position(|y| y == x).unwrap() as f64).collect()
    }));
    WithoutDiagonal "without_diagonal": |x, y| x.matmul(y.t()).without_diagonal(), |a, b| {
        let all = pairs(a, b, dot);
        let n = a.len();
        (0..n * n).filter(|i| i / n != i % n).map(|i| all[i]).collect()
    };
    RowCosine "row_cosine": |x, y| row_cosine(x, y), |a, b| {
        let one = |(a, b): (&Vec<f64>, &Vec<f64>)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        a.iter().zip(b).map(one).collect()
    };
    LogSoftmaxWhere "log_softmax_where": |x, y| log_softmax_where(x, y.above(-0.2), 1), |a, b| {
        flat(a.iter().zip(b).map(|(a, b)| {
            let sum: f64 = a.iter().zip(b).filter(|(_, y)| **y > -0.2).map(|(x, _)| x.exp()).sum();
            a.iter().zip(b).map(|(x, y)| if *y > -0.2 { x - sum.ln() } else { 0.0 }).collect()
        }))
    };
    EinsumMatmul "einsum_matmul": |x, y| einsum("nd,md->nm", x, y), |a, b| pairs(a, b, dot);
    EinsumTransposed "einsum_transposed": |x, y| einsum("nd,md->mn", x, y), |a, b| pairs(b, a, dot);
    EinsumRows "einsum_rows": |x, y| einsum("nd, nd -> n", x, y), |a, b| a.iter().zip(b).map(|(a, b)| dot(a, b)).collect();
    EinsumOuter "einsum_outer": |x, y| einsum("nd,ne->edn", x, y), |a, b| {
        let (n, d) = (a.len(), a[0].len());
        (0..d * d * n).map(|i| a[i % n][i / n % d] * b[i % n][i / n / d]).collect()
    };
    EinsumSums "einsum_sums": |x, y| einsum("nd,me->d", x, y), |a, b| {
        let all: f64 = b.iter().flatten().sum();
        columns(a).iter().map(|column| sum(column) * all).collect()
    };
    EinsumAll "einsum_all": |x, y| einsum("nd,nd->", x, y), |a, b| vec![a.iter().zip(b).map(|(a, b)| dot(a, b)).sum()];
    EinsumBatch "einsum_batch": |x, y| einsum("bn,bnk->kb", x, y.unsqueeze(2) * x.unsqueeze(1)), |a, b| {
        let (n, d) = (a.len(), a[0].len());
        (0..d * n).map(|i| { let (k, b_) = (i / n, i % n); (0..d).map(|j| a[b_][j] * b[b_][j] * a[b_][k]).sum() }).collect()
    };
}

hyper! {
    /// One operation, each of its results with another weight.
    pub struct Weighed {
        /// The operation.
        which: Which = Which::Log,
    }
}

fn weight(i: usize) -> f64 {
    (1.0 + i as f64).sin()
}

impl Loss for Weighed {
    fn loss(&self, step: &Step) -> Tensor {
        let out = of_tensors(self.which, step.target(), step.source()).flat();
        let n = out.dim(0);
        let weights: Vec<f64> = (0..n).map(weight).collect();
        (out * step.constant([n], &weights)).sum()
    }
}

struct Pack;

impl retort_sdk::Pack for Pack {
    const LOSSES: &'static [Entry] = &[entry::<Weighed>("weighed", "//! None.")];
}

static TABLE: PluginTable = table::<Pack>();

fn found(table: &'static PluginTable) -> Found {
    let pack = native::linked(table).unwrap();
    Found { definition: pack.description.losses[0].clone(), pack }
}

fn rows(data: &burn::tensor::TensorData) -> Matrix {
    let width = data.shape().to_vec()[1];
    data.iter::<f64>().collect::<Vec<f64>>().chunks(width).map(<[f64]>::to_vec).collect()
}

#[test]
fn values_and_gradients_are_those_of_plain_loops() {
    let (found, limits) = (found(&TABLE), Limits::default());
    let device = retort_snapshots::cpu();
    let case = Case::of(Layout { equal_widths: true, views: 1 }, 5, 4, 77);
    let (a, b) = (rows(case.target.as_ref().unwrap()), rows(case.source.as_ref().unwrap()));
    for word in WORDS {
        let expected = |a: &Matrix| -> f64 {
            let results = of_numbers(word, a, &b);
            results.iter().enumerate().map(|(i, x)| x * weight(i)).sum()
        };
        let hyper = Map::from_iter([("which".to_owned(), Value::from(*word))]);
        let mut session = probe::session(&found, &hyper, &limits, FloatDType::F64).unwrap();
        let outcome = case.step(&mut session, &device, FloatDType::F64);
        let outcome = outcome.unwrap_or_else(|e| panic!("{word}: {e}"));
        let wanted = expected(&a);
        assert!(
            (outcome.value - wanted).abs() < 1e-12 * wanted.abs().max(1.0),
            "{word}: {} is not {wanted}",
            outcome.value
        );
        for (i, &slope) in outcome.gradients["target"].iter().enumerate() {
            let at = |h: f64| {
                let mut moved = a.clone();
                moved[i / 4][i % 4] += h;
                expected(&moved)
            };
            let h = 1e-6;
            let found = (at(h) - at(-h)) / (2.0 * h);
            assert!(
                (slope - found).abs() < 1e-7 * found.abs().max(1.0),
                "{word}, element {i}: {slope} is not {found}"
            );
        }
    }
}

hyper! {
    /// Something that can't be.
    pub struct Wrong {
        /// Which.
        which: usize = 0,
    }
}

const WRONG: [&str; 13] = [
    "einsum \"nd,md\": it isn't of the form ab,bc->ac",
    "einsum \"nn,md->m\": n stands twice in one part",
    "einsum \"ndk,md->m\": the first tensor has shape [6, 4], not 3 dimensions",
    "einsum \"nd,dm->nm\": d has size 4 in the first tensor, 6 in the second",
    "einsum \"nd,md->nk\": k of the result is in neither tensor",
    "einsum \"nd,me->ndmen\": a tensor has at most four dimensions",
    "squeeze(1) of a tensor of shape [6, 4]",
    "unsqueeze(3) of a tensor of shape [6, 4]",
    "permute([0, 0]) of a tensor of shape [6, 4]",
    "var: the variance of 1 values with correction 1",
    "norm_p: p = 0.5 must be 1 to 1000",
    "without_diagonal of a tensor of shape [6, 4]",
    "there is no dimension 2",
];

impl Loss for Wrong {
    fn loss(&self, step: &Step) -> Tensor {
        let (x, y) = (step.target(), step.target().detach());
        let out = match self.which {
            0 => einsum("nd,md", x, y),
            1 => einsum("nn,md->m", x, y),
            2 => einsum("ndk,md->m", x, y),
            3 => einsum("nd,dm->nm", x, y),
            4 => einsum("nd,md->nk", x, y),
            5 => einsum("nd,me->ndmen", x, y),
            6 => x.squeeze(1),
            7 => x.unsqueeze(3),
            8 => x.permute([0, 0]),
            9 => x.slice(1, 0..1).var(1, 1),
            10 => x.norm_p(0.5, 1),
            11 => x.without_diagonal(),
            _ => x.top_k(2, 2).0,
        };
        out.sum()
    }
}

struct WrongPack;

impl retort_sdk::Pack for WrongPack {
    const LOSSES: &'static [Entry] = &[entry::<Wrong>("wrong", "//! None.")];
}

static WRONG_TABLE: PluginTable = table::<WrongPack>();

#[test]
fn what_cannot_be_fails_the_step_at_the_authors_line() {
    let found = found(&WRONG_TABLE);
    let case = Case::example(6, 4, 1);
    for (which, part) in WRONG.iter().enumerate() {
        let hyper = json!({ "which": which }).as_object().unwrap().clone();
        let mut session =
            probe::session(&found, &hyper, &Limits::default(), FloatDType::F64).unwrap();
        let error = case.step(&mut session, &retort_snapshots::cpu(), FloatDType::F64);
        let message = error.unwrap_err().to_string();
        assert!(message.contains(part), "{which}: {message}");
        assert!(message.contains("sdk_operations.rs:"), "{which}: {message}");
    }
}

hyper! {
    /// `Σ w x`, of which it keeps a sum.
    pub struct Inner {}
}

impl Loss for Inner {
    fn loss(&self, step: &Step) -> Tensor {
        let weight = step.param("weight", [1], Init::Constant(3.0));
        let kept = step.buffer("kept", [1], Init::Zeros);
        let sum = step.target().sum();
        kept.set(kept.get() + sum.reshape([1]));
        step.log("sum", sum);
        (weight * step.target()).sum() + 0.0 * step.source().sum()
    }
}

hyper! {
    /// The inner loss of the embeddings, and of them rounded; beside them, what a mask picks.
    pub struct Outer {}
}

impl Loss for Outer {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let hard = x.sign();
        let deep = step.scoped("outer");
        let rounded = deep.with_target(x.straight_through(hard)).with_source(hard).scoped("low");
        assert!(step.pairs_where(x.scalar(0.0) * x).is_none());
        let (row, column) = step.pairs_where(x.above(0.0)).unwrap();
        step.log("rows", row.float().sum());
        step.log("columns", column.float().sum());
        Inner {}.loss(step) + Inner {}.loss(&rounded)
    }
}

struct OuterPack;

impl retort_sdk::Pack for OuterPack {
    const LOSSES: &'static [Entry] = &[entry::<Outer>("outer", "//! None.")];
}

static OUTER_TABLE: PluginTable = table::<OuterPack>();

#[test]
fn a_loss_shows_another_one_other_embeddings_under_names_of_its_own() {
    let found = found(&OUTER_TABLE);
    let case = Case::of(Layout { equal_widths: true, views: 1 }, 5, 4, 77);
    let mut session =
        probe::session(&found, &Map::new(), &Limits::default(), FloatDType::F64).unwrap();
    let outcome = case.step(&mut session, &retort_snapshots::cpu(), FloatDType::F64).unwrap();
    let x = rows(case.target.as_ref().unwrap());
    let all: f64 = x.iter().flatten().sum();
    let signs: f64 = x.iter().flatten().map(|x| x.signum()).sum();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    close(outcome.value, 3.0 * (all + signs));
    outcome.gradients["target"].iter().for_each(|&slope| close(slope, 6.0));
    close(outcome.gradients["param.weight"][0], all);
    close(outcome.gradients["param.outer.low.weight"][0], signs);
    close(outcome.terms["sum"], all);
    close(outcome.terms["outer.low.sum"], signs);
    let state = |name: &str| outcome.state[&format!("buffer.{name}")].iter::<f64>().next().unwrap();
    close(state("kept"), all);
    close(state("outer.low.kept"), signs);
    let positive = |of: fn(usize, usize) -> usize| -> f64 {
        let places = (0..x.len()).flat_map(|i| (0..x[0].len()).map(move |j| (i, j)));
        places.filter(|&(i, j)| x[i][j] > 0.0).map(|(i, j)| of(i, j) as f64).sum()
    };
    close(outcome.terms["rows"], positive(|i, _| i));
    close(outcome.terms["columns"], positive(|_, j| j));
}

#[test]
fn an_input_that_is_missing_is_named_at_the_authors_line() {
    let found = found(&OUTER_TABLE);
    let whole = Case::of(Layout { equal_widths: true, views: 1 }, 5, 4, 77);
    for case in [Case { source: None, ..whole.clone() }, Case { target: None, ..whole }] {
        let mut session =
            probe::session(&found, &Map::new(), &Limits::default(), FloatDType::F64).unwrap();
        let error = case.step(&mut session, &retort_snapshots::cpu(), FloatDType::F64);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("sdk_operations.rs:"), "{message}");
    }
}
