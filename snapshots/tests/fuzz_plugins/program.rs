//! Random programs of operations: most are as an author would write them, so that they get deep; in
//! some, a few lines are wild.

use rand::seq::{IndexedMutRandom as _, IndexedRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use retort_sdk::Op;
use std::fmt;

/// One call of the host.
#[derive(Clone, Debug)]
pub struct Line {
    pub op: u32,
    pub args: Vec<Arg>,
    pub attrs: Vec<f64>,
    pub name: String,
    /// The shape that the result must have, if the host gives one.
    pub dims: Option<Vec<usize>>,
    /// What is done with the result besides.
    pub look: Look,
}

/// A handle.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// What the line with this number gave.
    Of(usize),
    /// Bits that the program made up.
    Forged(u64),
}

/// What is done with a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    Nothing,
    Read,
    /// It is what the loss returns.
    Return,
}

/// A program, and the batch it is for.
#[derive(Clone, Debug)]
pub struct Program {
    pub rows: usize,
    pub width: usize,
    pub labels: Vec<i64>,
    pub samples: usize,
    pub views: usize,
    /// Whether it computes in 64 bits.
    pub wide: bool,
    pub lines: Vec<Line>,
    /// Whether some of its lines are wild.
    pub wild: bool,
    /// Of each of three steps, whether it lands.
    pub commits: [bool; 3],
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "target [{}, {}], labels {:?}, {} samples in {} views, {}, commits {:?}",
            self.rows,
            self.width,
            self.labels,
            self.samples,
            self.views,
            if self.wide { "f64" } else { "f32" },
            self.commits
        )?;
        for (i, line) in self.lines.iter().enumerate() {
            let op =
                Op::from_code(line.op).map_or_else(|| line.op.to_string(), |op| op.to_string());
            let args = line.args.iter().take(8).map(|arg| match arg {
                Arg::Of(line) => format!("%{line}"),
                Arg::Forged(bits) => format!("{bits:#x}"),
            });
            let args: Vec<String> = args.collect();
            let attrs: Vec<f64> = line.attrs.iter().copied().take(12).collect();
            let name: String = line.name.chars().take(40).collect();
            writeln!(f, "%{i} = {op}({}; {attrs:?}; {name:?}) {:?}", args.join(", "), line.look)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Float,
    Int,
}

/// A result that later lines may use.
#[derive(Clone)]
struct Known {
    line: usize,
    kind: Kind,
    dims: Vec<usize>,
}

struct Author {
    rng: ChaCha8Rng,
    program: Program,
    known: Vec<Known>,
    /// Parameters, buffers and the like that have a name: `p3`.
    named: Vec<(Op, String, Vec<usize>)>,
}

/// Elements that a tensor of a program may have, as a rule.
const ELEMENTS: usize = 20_000;

/// Program number `number` of a seed.
pub fn program(seed: u64, number: u64) -> Program {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let rows = *[1, 2, 3, 4, 6, 8].choose(&mut rng).unwrap();
    let views = if rows % 2 == 0 && rng.random_bool(0.2) { 2 } else { 1 };
    let labels = match rng.random_range(0..10) {
        0 => vec![0; rows],
        1 => (0..rows).map(|_| *ODD_LABELS.choose(&mut rng).unwrap()).collect(),
        _ => (0..rows).map(|_| rng.random_range(0..4)).collect(),
    };
    let program = Program {
        rows,
        width: rng.random_range(1..7),
        labels,
        samples: rows + rng.random_range(0..5),
        views,
        wide: rng.random_bool(0.3),
        lines: Vec::new(),
        wild: rng.random_bool(0.4),
        commits: [rng.random_bool(0.8), rng.random_bool(0.8), true],
    };
    let mut author = Author { rng, program, known: Vec::new(), named: Vec::new() };
    author.input();
    let length = author.rng.random_range(3..40);
    while author.program.lines.len() < length {
        author.write();
    }
    author.end();
    if author.program.wild {
        author.run_wild();
    }
    author.program
}

const ODD_LABELS: [i64; 6] = [i64::MAX, i64::MIN, -1, 1 << 31, 1 << 53, 0];

const UNARY: [Op; 14] = [
    Op::Neg,
    Op::Exp,
    Op::Ln,
    Op::Ln1p,
    Op::Sqrt,
    Op::Relu,
    Op::Abs,
    Op::Detach,
    Op::Tanh,
    Op::Sigmoid,
    Op::Sin,
    Op::Cos,
    Op::Sum,
    Op::Transpose,
];
const SCALAR: [Op; 6] =
    [Op::AddScalar, Op::MulScalar, Op::DivScalar, Op::PowScalar, Op::ClampMin, Op::ClampMax];
const REDUCE: [Op; 5] = [Op::SumDim, Op::MeanDim, Op::MaxDim, Op::MinDim, Op::CumSum];
const BINARY: [Op; 8] =
    [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Max, Op::Min, Op::Greater, Op::Equal];
const NUMBERS: [f64; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    3.0,
    7.0,
    16.0,
    255.0,
    65536.0,
    1e6,
    2_147_483_647.0,
    2_147_483_648.0,
    4_294_967_296.0,
    9_007_199_254_740_993.0,
    8e15,
    1e19,
    1e300,
    -1e300,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MIN_POSITIVE,
];

impl Author {
    fn push(&mut self, op: Op, args: &[usize], attrs: &[f64], name: &str) -> usize {
        let args = args.iter().map(|&line| Arg::Of(line)).collect();
        let (attrs, name) = (attrs.to_vec(), name.to_owned());
        let look = if self.rng.random_bool(0.03) { Look::Read } else { Look::Nothing };
        self.program.lines.push(Line { op: op as u32, args, attrs, name, dims: None, look });
        self.program.lines.len() - 1
    }

    /// A line whose result later ones may use.
    fn give(
        &mut self,
        op: Op,
        args: &[usize],
        attrs: &[f64],
        (kind, dims): (Kind, Vec<usize>),
    ) -> usize {
        let line = self.push(op, args, attrs, "");
        self.keep(line, kind, dims)
    }

    fn keep(&mut self, line: usize, kind: Kind, dims: Vec<usize>) -> usize {
        self.program.lines[line].dims = Some(dims.clone());
        self.known.push(Known { line, kind, dims });
        line
    }

    /// A result of this kind: one of the last, as a rule.
    fn pick(&mut self, kind: Kind) -> Option<Known> {
        let all: Vec<&Known> = self.known.iter().filter(|k| k.kind == kind).collect();
        let late = all.len().saturating_sub(6);
        let from = if self.rng.random_bool(0.7) { late } else { 0 };
        all[from..].choose(&mut self.rng).map(|k| (*k).clone())
    }

    fn size(&mut self) -> usize {
        match self.rng.random_range(0..100) {
            0 => 1000,
            1..=20 => 1,
            _ => self.rng.random_range(2..9),
        }
    }

    /// A shape of up to four dimensions, with as many elements as a program may have.
    fn shape(&mut self) -> Vec<usize> {
        let rank = self.rng.random_range(0..5);
        loop {
            let dims: Vec<usize> = (0..rank).map(|_| self.size()).collect();
            if dims.iter().product::<usize>() <= ELEMENTS {
                return dims;
            }
        }
    }

    fn input(&mut self) -> usize {
        let (n, d) = (self.program.rows, self.program.width);
        let (name, kind, dims) = match self.rng.random_range(0..8) {
            _ if self.known.is_empty() => ("target", Kind::Float, vec![n, d]),
            0 => ("source", Kind::Float, vec![n, d + 4]),
            1 | 2 => ("labels", Kind::Int, vec![n]),
            3 => ("ids", Kind::Int, vec![n]),
            4 => ("target_features", Kind::Float, vec![n, 3, 4, 4]),
            _ => ("target", Kind::Float, vec![n, d]),
        };
        let attrs: &[f64] = if name == "target_features" { &[0.0] } else { &[] };
        let line = self.push(Op::Input, &[], attrs, name);
        self.keep(line, kind, dims)
    }

    /// Integers below `end`, by a draw or as remainders of others.
    fn below(&mut self, end: usize, dims: &[usize]) -> usize {
        let reused = self.known.iter().find(|k| k.kind == Kind::Int && k.dims == dims).cloned();
        match reused {
            Some(known) if self.rng.random_bool(0.5) => {
                let dims = (Kind::Int, dims.to_vec());
                self.give(Op::ModIndex, &[known.line], &[end as f64], dims)
            }
            _ => {
                let attrs: Vec<f64> = [end].iter().chain(dims).map(|&d| d as f64).collect();
                self.give(Op::RandomIndex, &[], &attrs, (Kind::Int, dims.to_vec()))
            }
        }
    }

    fn uniform(&mut self, dims: &[usize]) -> usize {
        let op = if self.rng.random_bool(0.5) { Op::RandomUniform } else { Op::RandomNormal };
        self.give(op, &[], &floats(dims), (Kind::Float, dims.to_vec()))
    }

    /// Something that broadcasts with `a`: itself, a reduction of it, noise, or a number.
    fn partner(&mut self, a: &Known) -> Known {
        let line = match self.rng.random_range(0..5) {
            0 => return a.clone(),
            1 | 2 if !a.dims.is_empty() => {
                let d = self.rng.random_range(0..a.dims.len());
                let mut dims = a.dims.clone();
                dims[d] = 1;
                self.give(Op::MeanDim, &[a.line], &[d as f64], (Kind::Float, dims))
            }
            3 => self.uniform(&a.dims),
            _ => self.give(Op::Sum, &[a.line], &[], (Kind::Float, vec![])),
        };
        self.known.iter().rfind(|k| k.line == line).cloned().unwrap_or_else(|| a.clone())
    }

    /// Writes a line or a few that make sense.
    #[expect(clippy::too_many_lines, reason = "one arm a kind of operation")]
    fn write(&mut self) {
        let (float, int) = (self.pick(Kind::Float), self.pick(Kind::Int));
        let Some(a) = float else { return };
        let (rank, x) = (a.dims.len(), a.line);
        let d = if rank == 0 { 0 } else { self.rng.random_range(0..rank) };
        let float = |dims: Vec<usize>| (Kind::Float, dims);
        match self.rng.random_range(0..40) {
            0 | 1 => drop(self.input()),
            2 => {
                let facts = ["classes", "samples", "views", "epoch", "progress", "positive_pairs"];
                let name = *facts.choose(&mut self.rng).unwrap();
                let line = self.push(Op::Fact, &[], &[], name);
                self.program.lines[line].look = Look::Read;
            }
            3 | 4 => self.state(&a),
            5 => {
                let dims = self.shape();
                self.uniform(&dims);
            }
            6 => {
                let dims = self.shape();
                let n: usize = dims.iter().product();
                let mut attrs = vec![dims.len() as f64];
                attrs.extend(floats(&dims));
                let (op, kind) = if self.rng.random_bool(0.5) {
                    (Op::Constant, Kind::Float)
                } else {
                    (Op::ConstantIndex, Kind::Int)
                };
                attrs.extend((0..n).map(|i| i as f64 % 7.0));
                self.give(op, &[], &attrs, (kind, dims));
            }
            7 => {
                let k = self.rng.random_range(0..4);
                let dims = vec![self.program.rows, 1 + k];
                self.give(Op::Contrast, &[], &[k as f64, 0.0], (Kind::Int, dims));
            }
            8..=13 => {
                let op = *BINARY.choose(&mut self.rng).unwrap();
                let b = self.partner(&a);
                self.give(op, &[x, b.line], &[], float(a.dims));
            }
            14 => {
                let (b, mask) = (self.partner(&a), self.partner(&a));
                self.give(Op::Select, &[x, b.line, mask.line], &[], float(a.dims));
            }
            15..=18 => {
                let op = *UNARY.choose(&mut self.rng).unwrap();
                let mut dims = a.dims;
                match op {
                    Op::Sum => dims.clear(),
                    Op::Transpose if rank < 2 => return,
                    Op::Transpose => dims.swap(rank - 1, rank - 2),
                    _ => {}
                }
                self.give(op, &[x], &[], float(dims));
            }
            19..=21 => {
                let op = *SCALAR.choose(&mut self.rng).unwrap();
                let number = [0.5, -1.0, 2.0, 3.0, 1e-12][self.rng.random_range(0..5)];
                self.give(op, &[x], &[number], float(a.dims));
            }
            22..=24 if rank > 0 => {
                let op = *REDUCE.choose(&mut self.rng).unwrap();
                let mut dims = a.dims;
                if op != Op::CumSum {
                    dims[d] = 1;
                }
                self.give(op, &[x], &[d as f64], float(dims));
            }
            25 if rank >= 2 => {
                let (k, m) = (a.dims[rank - 1], self.size());
                let b = self.uniform(&[k, m]);
                let mut dims = a.dims;
                dims[rank - 1] = m;
                self.give(Op::Matmul, &[x, b], &[], float(dims));
            }
            26 if rank >= 2 => {
                let e = self.rng.random_range(0..rank);
                let mut dims = a.dims;
                dims.swap(d, e);
                self.give(Op::SwapDims, &[x], &[d as f64, e as f64], float(dims));
            }
            27 | 28 => {
                let dims = self.factors(a.dims.iter().product());
                self.give(Op::Reshape, &[x], &floats(&dims), float(dims));
            }
            29 if rank > 0 => {
                let (start, end) = self.range(a.dims[d]);
                let mut dims = a.dims;
                dims[d] = end - start;
                let attrs = [d as f64, start as f64, end as f64];
                self.give(Op::Slice, &[x], &attrs, float(dims));
            }
            30 if rank > 0 && 2 * a.dims.iter().product::<usize>() <= ELEMENTS => {
                let mut dims = a.dims;
                dims[d] *= 2;
                self.give(Op::Cat, &[x, x], &[d as f64], float(dims));
            }
            31 | 32 if rank > 0 => {
                let mut dims = a.dims;
                let most = ELEMENTS * dims[0] / dims.iter().product::<usize>();
                let m = self.size().min(most.max(1));
                let index = self.below(dims[0], &[m]);
                dims[0] = m;
                self.give(Op::Rows, &[x, index], &[], float(dims));
            }
            33 if rank > 0 => {
                let mut dims = a.dims;
                let n = dims[d];
                dims[d] = self.rng.random_range(1..5);
                let index = self.below(n, &dims);
                self.give(Op::Gather, &[x, index], &[d as f64], float(dims));
            }
            34 if rank == 4 => {
                let (h, w) = (self.rng.random_range(1..6), self.rng.random_range(1..6));
                let dims = vec![a.dims[0], a.dims[1], h, w];
                self.give(Op::AdaptiveAvgPool, &[x], &[h as f64, w as f64], float(dims));
            }
            35 if rank > 0 => {
                self.give(Op::Argsort, &[x], &[d as f64], (Kind::Int, a.dims));
            }
            36 => {
                let n = self.size().min(100);
                self.give(Op::Eye, &[], &[n as f64], float(vec![n, n]));
                let (start, end) = self.range(50);
                let dims = (Kind::Int, vec![end - start]);
                self.give(Op::Range, &[], &[start as f64, end as f64], dims);
            }
            37..=39 => {
                if let Some(i) = int {
                    self.integers(&i);
                }
            }
            _ => {}
        }
    }

    /// Lines on integers.
    fn integers(&mut self, i: &Known) {
        let (rank, x, dims) = (i.dims.len(), i.line, i.dims.clone());
        let d = if rank == 0 { 0 } else { self.rng.random_range(0..rank) };
        let int = |dims: Vec<usize>| (Kind::Int, dims);
        match self.rng.random_range(0..9) {
            0 if rank == 1 => {
                let n = self.size();
                let classes = self.rng.random_range(1..9);
                let index = self.below(classes, &[n]);
                let dims = (Kind::Float, vec![n, classes]);
                self.give(Op::OneHot, &[index], &[classes as f64], dims);
            }
            1 if rank > 0 && 2 * dims.iter().product::<usize>() <= ELEMENTS => {
                let mut dims = dims;
                dims[d] *= 2;
                self.give(Op::CatIndex, &[x, x], &[d as f64], int(dims));
            }
            2 => {
                let dims = self.factors(dims.iter().product());
                self.give(Op::ReshapeIndex, &[x], &floats(&dims), int(dims));
            }
            3 if rank > 0 => {
                let (start, end) = self.range(dims[d]);
                let mut dims = dims;
                dims[d] = end - start;
                let attrs = [d as f64, start as f64, end as f64];
                self.give(Op::SliceIndex, &[x], &attrs, int(dims));
            }
            4 if rank > 0 => {
                let mut out = dims.clone();
                out[d] = self.rng.random_range(1..5);
                let index = self.below(dims[d], &out);
                self.give(Op::GatherIndex, &[x, index], &[d as f64], int(out));
            }
            5 => drop(self.give(Op::AddIndex, &[x, x], &[], int(dims))),
            6 => {
                let n = *[1, 2, 7, 1000, 1 << 30].choose(&mut self.rng).unwrap();
                self.give(Op::ModIndex, &[x], &[f64::from(n)], int(dims));
            }
            7 => drop(self.give(Op::Equal, &[x, x], &[], (Kind::Float, dims))),
            _ => drop(self.give(Op::Float, &[x], &[], (Kind::Float, dims))),
        }
    }

    /// Lines about what the host keeps.
    fn state(&mut self, a: &Known) {
        let mut buffers = self.named.iter().filter(|(op, ..)| *op == Op::Buffer);
        let buffer = buffers.next_back().map(|(_, name, dims)| (name.clone(), dims.clone()));
        match (self.rng.random_range(0..6), buffer) {
            (0, Some((name, dims))) if !dims.is_empty() => {
                let m = self.rng.random_range(1..5);
                let index = self.below(dims[0], &[m]);
                let rows = self.uniform(&[&[m], &dims[1..]].concat());
                self.push(Op::SetRows, &[index, rows], &[], &name);
            }
            (1, Some((name, dims))) => {
                let value = self.uniform(&dims);
                self.push(Op::SetBuffer, &[value], &[], &name);
            }
            (2, _) => {
                let name = format!("once{}", self.program.lines.len());
                let line = self.push(Op::Once, &[a.line], &[], &name);
                self.keep(line, Kind::Float, a.dims.clone());
            }
            (3, _) => {
                let sum = self.give(Op::Sum, &[a.line], &[], (Kind::Float, vec![]));
                self.push(Op::Log, &[sum], &[], "log");
            }
            (4, _) if !self.named.is_empty() => {
                let (op, name, dims) = self.named.choose(&mut self.rng).unwrap().clone();
                self.named_line(op, &name, dims);
            }
            (way, _) => {
                let op = if way % 2 == 0 { Op::Param } else { Op::Buffer };
                let (name, dims) = (format!("n{}", self.program.lines.len()), self.shape());
                self.named.push((op, name.clone(), dims.clone()));
                self.named_line(op, &name, dims);
            }
        }
    }

    fn named_line(&mut self, op: Op, name: &str, dims: Vec<usize>) {
        // How it starts is part of the name's meaning: the same for one name.
        let mut attrs = vec![name.len() as f64 % 4.0, 0.5];
        attrs.extend(floats(&dims));
        let line = self.push(op, &[], &attrs, name);
        self.keep(line, Kind::Float, dims);
    }

    fn range(&mut self, n: usize) -> (usize, usize) {
        let start = self.rng.random_range(0..n);
        (start, self.rng.random_range(start..n) + 1)
    }

    /// Up to four sizes with this product.
    fn factors(&mut self, n: usize) -> Vec<usize> {
        let (mut left, mut dims) = (n, Vec::new());
        for _ in 0..3 {
            let fits: Vec<usize> = (1..=left.min(64)).filter(|f| left % f == 0).collect();
            let f = *fits.choose(&mut self.rng).unwrap();
            if self.rng.random_bool(0.5) {
                dims.push(f);
                left /= f;
            }
        }
        dims.insert(self.rng.random_range(0..=dims.len()), left);
        dims
    }

    /// The loss: the sums of the target and of some results.
    fn end(&mut self) {
        let mut sum = self.push(Op::Sum, &[0], &[], "");
        for _ in 0..3 {
            let Some(a) = self.pick(Kind::Float) else { continue };
            let more = self.push(Op::Sum, &[a.line], &[], "");
            sum = self.push(Op::Add, &[sum, more], &[], "");
        }
        for line in &mut self.program.lines {
            line.look = if line.look == Look::Return { Look::Nothing } else { line.look };
        }
        self.program.lines[sum].look = Look::Return;
    }

    /// Makes a few lines wild. What comes after them may have any shape.
    fn run_wild(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            let at = self.rng.random_range(0..self.program.lines.len());
            self.program.lines[at..].iter_mut().for_each(|line| line.dims = None);
            let (number, forged) = (self.number(), self.forged(at));
            let rng = &mut self.rng;
            let line = &mut self.program.lines[at];
            match rng.random_range(0..9) {
                0 => line.op = *Op::ALL.choose(rng).unwrap() as u32,
                1 => line.op = rng.random_range(0..130),
                2 => match line.args.choose_mut(rng) {
                    Some(arg) => *arg = forged,
                    None => line.args.push(forged),
                },
                3 => line.args.push(forged),
                4 => drop(line.args.pop()),
                5 | 6 => match line.attrs.choose_mut(rng) {
                    Some(attr) => *attr = number,
                    None => line.attrs.push(number),
                },
                7 => line.attrs.truncate(rng.random_range(0..2)),
                _ => {
                    let long = "x".repeat(5000);
                    let names =
                        ["", "target", "labels", "\u{1b}[2J\0", "../x", &long, "n1", "epoch"];
                    line.name = (*names.choose(rng).unwrap()).to_owned();
                }
            }
        }
    }

    fn number(&mut self) -> f64 {
        if self.rng.random_bool(0.5) {
            *NUMBERS.choose(&mut self.rng).unwrap()
        } else {
            f64::from(self.rng.random_range(-2..40))
        }
    }

    fn forged(&mut self, before: usize) -> Arg {
        match self.rng.random_range(0..6) {
            0 => Arg::Forged(self.rng.random()),
            1 => Arg::Forged(self.rng.random_range(0..4)),
            _ if before == 0 => Arg::Forged(0),
            _ => Arg::Of(self.rng.random_range(0..before)),
        }
    }
}

fn floats(dims: &[usize]) -> Vec<f64> {
    dims.iter().map(|&d| d as f64).collect()
}
