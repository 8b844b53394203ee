//! What a loss may look at, and keep, in one training step.

use crate::{
    ffi::Host,
    op::Op,
    tensor::{Index, Tensor},
};

/// One batch, and the state that the host keeps for this loss.
#[derive(Clone, Debug)]
pub struct Step {
    host: Host,
    target: Option<Tensor>,
    source: Option<Tensor>,
    /// What the names of parameters, buffers and logged numbers begin with: empty, or ends in a dot.
    scope: String,
}

/// How a parameter or a buffer starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All the same value.
    Constant(f64),
    /// Normal distribution with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
}

crate::choice! {
    /// Where random negatives come from.
    pub enum Negatives {
        /// Samples of other classes than the row's.
        OtherClasses = "other-classes",
        /// All samples, each as likely.
        Uniform = "uniform",
    }
}

impl Init {
    /// The two numbers that stand for it in the binary interface.
    fn code(self) -> [f64; 2] {
        match self {
            Init::Zeros => [0.0, 0.0],
            Init::Constant(value) => [1.0, value],
            Init::Normal(deviation) => [2.0, deviation],
            Init::Uniform(bound) => [3.0, bound],
        }
    }

    fn attrs<const D: usize>(self, shape: [usize; D]) -> Vec<f64> {
        self.code().into_iter().chain(shape.map(|d| d as f64)).collect()
    }
}

impl Step {
    pub(crate) fn new(host: Host) -> Self {
        Step { host, target: None, source: None, scope: String::new() }
    }

    /// The same step with other embeddings of the target, `[n, d]`: what a loss that wraps another one
    /// shows it. Feature maps, labels and ids stay.
    #[must_use]
    pub fn with_target(&self, target: Tensor) -> Step {
        Step { target: Some(target), ..self.clone() }
    }

    /// The same step with other embeddings of the source, `[n, d']`.
    #[must_use]
    pub fn with_source(&self, source: Tensor) -> Step {
        Step { source: Some(source), ..self.clone() }
    }

    /// The same step, in which names of parameters, buffers and logged numbers begin with `name` and a
    /// dot: what a loss that wraps another one twice gives each.
    #[must_use]
    pub fn scoped(&self, name: &str) -> Step {
        Step { scope: format!("{}{name}.", self.scope), ..self.clone() }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.scope)
    }

    #[track_caller]
    fn tensor(&self, op: Op, name: &str, args: &[u64], attrs: &[f64]) -> Tensor {
        Tensor { host: self.host, id: self.host.call(op, args, attrs, name) }
    }

    #[track_caller]
    fn index(&self, op: Op, name: &str, attrs: &[f64]) -> Index {
        Index { host: self.host, id: self.host.call(op, &[], attrs, name) }
    }

    #[track_caller]
    fn fact(&self, name: &str) -> f64 {
        let id = self.host.call(Op::Fact, &[], &[], name);
        self.host.read(id).first().copied().unwrap_or(1.0)
    }

    /// Whether this step has an input or a fact: `source`, `labels`, `ids`, `target_features`, `classes`, … It
    /// asks without failing, so a loss may do with less, and may know more than today's hosts offer.
    pub fn has(&self, name: &str) -> bool {
        let replaced =
            name == "target" && self.target.is_some() || name == "source" && self.source.is_some();
        let id = self.host.call(Op::Has, &[], &[], name);
        replaced || self.host.read(id).first().is_some_and(|x| *x != 0.0)
    }

    /// The target's embeddings, `[n, d]`, as the network gives them.
    #[track_caller]
    pub fn target(&self) -> Tensor {
        // No closure: its line would be this one, not the caller's.
        match self.target {
            Some(other) => other,
            None => self.tensor(Op::Input, "target", &[], &[]),
        }
    }

    /// The source's embeddings, `[n, d']`, without gradient.
    #[track_caller]
    pub fn source(&self) -> Tensor {
        // No closure: its line would be this one, not the caller's.
        match self.source {
            Some(other) => other,
            None => self.tensor(Op::Input, "source", &[], &[]),
        }
    }

    /// The target's feature maps `[n, c, h, w]`, early ones first; the last is its pooled vector `[n, c]`.
    #[track_caller]
    pub fn target_features(&self) -> Vec<Tensor> {
        self.features("target_features")
    }

    /// The source's feature maps, as the target's, without gradient.
    #[track_caller]
    pub fn source_features(&self) -> Vec<Tensor> {
        self.features("source_features")
    }

    #[track_caller]
    fn features(&self, name: &str) -> Vec<Tensor> {
        let count = self.fact(name) as usize;
        let mut list = Vec::with_capacity(count);
        for level in 0..count {
            list.push(self.tensor(Op::Input, name, &[], &[level as f64]));
        }
        list
    }

    /// Class of each row, `[n]`, from 0.
    #[track_caller]
    pub fn labels(&self) -> Index {
        self.index(Op::Input, "labels", &[])
    }

    /// Position of each row's sample in the training set, `[n]`; views of one sample share it.
    #[track_caller]
    pub fn ids(&self) -> Index {
        self.index(Op::Input, "ids", &[])
    }

    /// Classes in the training set.
    #[track_caller]
    pub fn classes(&self) -> usize {
        self.fact("classes") as usize
    }

    /// Samples in the training set.
    #[track_caller]
    pub fn samples(&self) -> usize {
        self.fact("samples") as usize
    }

    /// Views of each sample in the batch: rows `i` and `i + n / views` show the same sample.
    #[track_caller]
    pub fn views(&self) -> usize {
        self.fact("views") as usize
    }

    /// Number of each row's sample within the batch, `[n]`: views of one sample share it.
    #[track_caller]
    pub fn shown_samples(&self, n: usize) -> Index {
        let samples = (n / self.views()).max(1);
        // Rows beyond the last whole view show samples of their own.
        let whole = samples * self.views();
        let number = |row: usize| if row < whole { row % samples } else { row };
        let numbers: Vec<i64> = (0..n).map(|row| number(row) as i64).collect();
        self.constant_index([n], &numbers)
    }

    /// Masks of the pairs `i ≠ j` of one class, and of the pairs of two classes: `[n, n]` each.
    #[track_caller]
    pub fn pairs(&self) -> (Tensor, Tensor) {
        let same = self.labels().same();
        (same.off_diagonal(), 1.0 - same)
    }

    /// Every ordered pair `i ≠ j` of one class, by `i`, then by `j`: its place in a flattened `[n, n]`
    /// matrix, and `i`; `[m]` each, none if no two samples share a class. Far fewer than all pairs, as a
    /// rule.
    #[track_caller]
    pub fn positive_pairs(&self) -> Option<(Index, Index)> {
        let labels = self.labels();
        let (n, m) = (labels.len(), 2 * self.fact("positive_pairs") as usize);
        if m == 0 {
            return None;
        }
        let other = 1.0 - labels.same().off_diagonal();
        // Distinct keys: the order of the pairs is no matter of how a device sorts equal ones.
        let key = other.reshape([n * n]) * (n * n) + self.range(0..n * n).float();
        let place = key.argsort(0).slice(0, 0..m);
        let zeros = self.range(0..n).modulo(1).reshape([1, n]);
        let row = self.range(0..n).column().plus(zeros).reshape([n * n]); // 0, 0, …, 1, 1, …
        Some((place, row.gather(0, place)))
    }

    /// The pairs for which a mask `[n, m]` isn't 0, by row, then by column: `[p]` each, none if there is no
    /// such pair. Waits for the device; [`positive_pairs`](Self::positive_pairs) doesn't.
    #[track_caller]
    pub fn pairs_where(&self, mask: Tensor) -> Option<(Index, Index)> {
        let columns = mask.dim(1).max(1);
        let values = mask.to_vec();
        let places = values.iter().enumerate().filter(|&(_, &value)| value != 0.0);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        if places.is_empty() {
            return None;
        }
        let rows: Vec<i64> = places.iter().map(|&place| (place / columns) as i64).collect();
        let columns: Vec<i64> = places.iter().map(|&place| (place % columns) as i64).collect();
        let n = places.len();
        Some((self.constant_index([n], &rows), self.constant_index([n], &columns)))
    }

    /// Declares the loss undefined on a batch in which no two samples share a class. A step without
    /// labels fails.
    #[track_caller]
    pub fn need_positive_pairs(&self) {
        self.labels();
        if self.fact("positive_pairs") == 0.0 {
            self.undefined("no two samples of the batch share a class: draw at least two of each");
        }
    }

    /// Declares the loss undefined on a batch in which all samples share a class. A step without labels
    /// fails.
    #[track_caller]
    pub fn need_negative_pairs(&self) {
        self.labels();
        if self.fact("negative_pairs") == 0.0 {
            self.undefined("all samples of the batch are of one class: draw at least two classes");
        }
    }

    /// Declares the loss undefined where the training set has one class.
    #[track_caller]
    pub fn need_two_classes(&self) {
        if self.classes() < 2 {
            self.undefined("the training set has one class: there is nothing to tell it from");
        }
    }

    /// Fails the step unless target and source have one shape: arithmetic would stretch a size of 1
    /// without a word. `else_` says what to do about it.
    #[track_caller]
    pub fn need_same_shape(&self, target: Tensor, source: Tensor, else_: &str) {
        let (t, s) = (target.dims(), source.dims());
        if t != s {
            self.fail(&format!("the target has shape {t:?} and the source {s:?}: {else_}"));
        }
    }

    /// The epoch, from 0.
    #[track_caller]
    pub fn epoch(&self) -> usize {
        self.fact("epoch") as usize
    }

    /// Share of the training that is done, from 0 to 1.
    #[track_caller]
    pub fn progress(&self) -> f64 {
        self.fact("progress")
    }

    /// A tensor that the optimiser trains, kept by the host under `name`.
    #[track_caller]
    pub fn param<const D: usize>(&self, name: &str, shape: [usize; D], init: Init) -> Tensor {
        self.tensor(Op::Param, &self.name(name), &[], &init.attrs(shape))
    }

    /// A tensor that the host keeps from step to step, without gradient.
    #[track_caller]
    pub fn buffer<'n, const D: usize>(
        &'n self,
        name: &'n str,
        shape: [usize; D],
        init: Init,
    ) -> Buffer<'n> {
        let now = self.tensor(Op::Buffer, &self.name(name), &[], &init.attrs(shape));
        Buffer { step: self, name, now }
    }

    /// The value `x` had the first time this name was seen, without gradient.
    #[track_caller]
    pub fn once(&self, name: &str, x: Tensor) -> Tensor {
        self.tensor(Op::Once, &self.name(name), &[x.id], &[])
    }

    /// A learnable affine map `x Wᵀ + b`: `[n, d]` gives `[n, out]`. Parameters as in PyTorch:
    /// `name.weight` `[out, d]` and `name.bias` `[out]`, both uniform in ±1/√d.
    #[track_caller]
    pub fn linear(&self, name: &str, x: Tensor, out: usize) -> Tensor {
        let d = x.dim(1);
        let init = Init::Uniform((d as f64).sqrt().recip());
        let weight = self.param(&format!("{name}.weight"), [out, d], init);
        let bias = self.param(&format!("{name}.bias"), [out], init);
        x.matmul(weight.t()) + bias
    }

    /// A learnable 1x1 convolution without bias, on maps `[n, c, h, w]` to `[n, out, h, w]`. Parameter
    /// as in PyTorch: `name.weight` `[out, c, 1, 1]`.
    #[track_caller]
    pub fn conv1x1(&self, name: &str, x: Tensor, out: usize, init: Init) -> Tensor {
        let (n, c, h, w) = (x.dim(0), x.dim(1), x.dim(2), x.dim(3));
        let weight = self.param(&format!("{name}.weight"), [out, c, 1, 1], init);
        let y = weight.reshape([1, out, c]).matmul(x.reshape([n, c, h * w]));
        y.reshape([n, out, h, w])
    }

    /// Each row's own sample id, then those of `k` random samples: `[n, 1 + k]`. Views of a sample
    /// share the draw, as they share the id.
    #[track_caller]
    pub fn contrast(&self, k: usize, from: Negatives) -> Index {
        let other = f64::from(u8::from(from == Negatives::OtherClasses));
        self.index(Op::Contrast, "", &[k as f64, other])
    }

    /// Random integers below `end`, the same on every device for one seed.
    #[track_caller]
    pub fn random_index<const D: usize>(&self, shape: [usize; D], end: usize) -> Index {
        let attrs: Vec<f64> = [end].into_iter().chain(shape).map(|d| d as f64).collect();
        self.index(Op::RandomIndex, "", &attrs)
    }

    /// Random numbers in `[0, 1)`.
    #[track_caller]
    pub fn random_uniform<const D: usize>(&self, shape: [usize; D]) -> Tensor {
        self.tensor(Op::RandomUniform, "", &[], &shape.map(|d| d as f64))
    }

    /// Random numbers from the standard normal distribution.
    #[track_caller]
    pub fn random_normal<const D: usize>(&self, shape: [usize; D]) -> Tensor {
        self.tensor(Op::RandomNormal, "", &[], &shape.map(|d| d as f64))
    }

    /// Uploads values, row-major.
    #[track_caller]
    pub fn constant<const D: usize>(&self, shape: [usize; D], values: &[f64]) -> Tensor {
        self.tensor(Op::Constant, "", &[], &upload(shape, values.iter().copied()))
    }

    /// Uploads integers, row-major.
    #[track_caller]
    pub fn constant_index<const D: usize>(&self, shape: [usize; D], values: &[i64]) -> Index {
        self.index(Op::ConstantIndex, "", &upload(shape, values.iter().map(|&v| v as f64)))
    }

    /// The integers `range`, `[end - start]`.
    #[track_caller]
    pub fn range(&self, range: std::ops::Range<usize>) -> Index {
        self.index(Op::Range, "", &[range.start as f64, range.end as f64])
    }

    /// Reports a scalar beside the loss, as `name`.
    #[track_caller]
    pub fn log(&self, name: &str, x: Tensor) {
        self.tensor(Op::Log, &self.name(name), &[x.id], &[]);
    }

    /// Fails the step: something is wrong that no other batch would mend. Returns a tensor to return.
    #[track_caller]
    pub fn fail(&self, why: &str) -> Tensor {
        self.host.fail(why);
        self.tensor(Op::Fail, "", &[], &[])
    }

    /// The loss isn't defined on this batch: `on_undefined` in the experiment says whether that ends
    /// the training, or skips the batch. Returns a tensor to return.
    #[track_caller]
    pub fn undefined(&self, why: &str) -> Tensor {
        self.tensor(Op::Undefined, why, &[], &[])
    }
}

fn upload<const D: usize>(shape: [usize; D], values: impl Iterator<Item = f64>) -> Vec<f64> {
    [D].into_iter().chain(shape).map(|d| d as f64).chain(values).collect()
}

/// A tensor that the host keeps. Reads see its value at the start of the step; writes land when
/// the step ends well.
#[derive(Clone, Copy, Debug)]
pub struct Buffer<'n> {
    step: &'n Step,
    name: &'n str,
    now: Tensor,
}

impl Buffer<'_> {
    /// The whole value.
    pub fn get(self) -> Tensor {
        self.now
    }

    /// Rows by number: `[m]` gives `[m, …]`.
    #[track_caller]
    pub fn rows(self, index: Index) -> Tensor {
        self.now.rows(index)
    }

    /// Sets rows when the step ends. Where a row is named twice, the later one wins.
    #[track_caller]
    pub fn set_rows(self, index: Index, rows: Tensor) {
        self.now.host.call(Op::SetRows, &[index.id, rows.id], &[], &self.step.name(self.name));
    }

    /// Sets the whole value when the step ends.
    #[track_caller]
    pub fn set(self, value: Tensor) {
        self.now.host.call(Op::SetBuffer, &[value.id], &[], &self.step.name(self.name));
    }
}
