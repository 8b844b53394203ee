//! Every operation the host performs for a plugin.
//!
//! Codes are part of the binary interface: append only, pinned by a snapshot. `args` are tensor
//! handles, `attrs` numbers, `name` a string; dimensions count from the left, from 0. What an operation
//! takes and gives is told by the same list: hosts check calls by it. In its texts `a` and `b` are the operands,
//! and attributes have the names that the list gives them; the methods of the SDK have these texts, too.

/// What an operation takes or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tensor of floats.
    Float,
    /// A tensor of integers.
    Int,
    /// Either; both, where an operation takes two.
    Any,
    /// A number about the step, to be read at once.
    Number,
    /// No handle that means anything.
    Nothing,
}

/// What a number among an operation's attributes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Any number.
    Number,
    /// A whole number from 0 to 2³¹ - 1.
    Size,
    /// A dimension of the first operand.
    Dimension,
    /// The place in a list, where the input is one.
    Level,
    /// Sizes of at most four dimensions: all numbers that follow.
    Shape,
    /// All numbers that follow.
    Values,
}

/// Operands, attributes by name, and result.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Of each operand, what it is.
    pub operands: &'static [Kind],
    /// Of each attribute, its name and what it is.
    pub attributes: &'static [(&'static str, Attribute)],
    /// What comes out.
    pub result: Kind,
}

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $code:literal $name:ident($($operand:ident),*)
        $([$($attribute:ident: $kind:ident),*])? -> $result:ident)*) => {
        /// An operation's number in the binary interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Op { $($(#[doc = $doc])+ $name = $code),* }

        impl Op {
            /// All operations, in the order of their codes.
            pub const ALL: &[Op] = &[$(Op::$name),*];

            /// The operation with this code, if this version has one.
            pub const fn from_code(code: u32) -> Option<Op> {
                match code { $($code => Some(Op::$name),)* _ => None }
            }

            /// The operation's one-line documentation: operands and result with shapes.
            pub const fn doc(self) -> &'static str {
                match self { $(Op::$name => concat!($($doc),+)),* }
            }

            /// What it takes and gives.
            pub const fn signature(self) -> Signature {
                match self { $(Op::$name => Signature {
                    operands: &[$(Kind::$operand),*],
                    attributes: &[$($((stringify!($attribute), Attribute::$kind)),*)?],
                    result: Kind::$result,
                }),* }
            }
        }

        /// An operation's documentation, for the method that asks for it.
        macro_rules! op_doc {
            $(($name) => { concat!($($doc),+) };)*
        }
        pub(crate) use op_doc;
    };
}

ops! {
    // What the step offers, and what the host keeps.
    /// Input `name`: `target`, `source` `[n, d]`, `labels`, `ids` `[n]`; feature lists take attrs `[level]`.
    1 Input() [level: Level] -> Any
    /// A number about the step, to be read at once: `classes`, `samples`, `views`, `epoch`, `progress`, …
    2 Fact() -> Number
    /// Learnable parameter `name`; attrs `[init, scale, dims…]`.
    3 Param() [init: Number, scale: Number, dims: Shape] -> Float
    /// Buffer `name` as it was at the start of the step; attrs `[init, scale, dims…]`.
    4 Buffer() [init: Number, scale: Number, dims: Shape] -> Float
    /// Sets rows `args[0]` `[n]` of buffer `name` to `args[1]` `[n, …]` when the step ends; the last of equal indices wins.
    5 SetRows(Int, Float) -> Float
    /// Sets buffer `name` to `args[0]` when the step ends.
    6 SetBuffer(Float) -> Float
    /// The value that `args[0]` had the first time this name was seen.
    7 Once(Float) -> Float
    /// Reports scalar `args[0]` beside the loss as `name`.
    8 Log(Float) -> Float
    /// Random integers below `attrs[0]`, of shape `attrs[1..]`.
    9 RandomIndex() [end: Size, dims: Shape] -> Int
    /// Random floats in `[0, 1)`, of shape `attrs`.
    10 RandomUniform() [dims: Shape] -> Float
    /// Random floats from the standard normal distribution, of shape `attrs`.
    11 RandomNormal() [dims: Shape] -> Float
    /// Floats from the plugin; attrs `[rank, dims…, values…]`.
    12 Constant() [rank: Size, values: Values] -> Float
    /// Integers from the plugin; attrs `[rank, dims…, values…]`.
    13 ConstantIndex() [rank: Size, values: Values] -> Int
    /// Fails the step with the message `name`.
    14 Fail() -> Nothing
    /// Names the source line (`file:line`) of the operation that failed first.
    15 Blame() -> Nothing
    /// Says that the loss isn't defined on this batch; `name` says why.
    16 Undefined() -> Nothing
    /// Each row's own sample id, then `attrs[0]` random ones: of other classes if `attrs[1]` is 1, of any if 0; `[n, 1 + attrs[0]]`. Views of a sample share them.
    17 Contrast() [k: Size, other: Number] -> Int
    /// 1 if this step has the input or fact `name`, else 0, to be read at once; of feature lists their place `attrs[0]`. Never fails, whatever the name.
    18 Has() [level: Level] -> Number

    // Arithmetic, element by element; shapes broadcast from the right.
    /// `a + b`
    20 Add(Float, Float) -> Float
    /// `a - b`
    21 Sub(Float, Float) -> Float
    /// `a * b`
    22 Mul(Float, Float) -> Float
    /// `a / b`
    23 Div(Float, Float) -> Float
    /// The larger of `a` and `b`; where they are equal, each gets half of the gradient. NaN where either is.
    24 Max(Float, Float) -> Float
    /// The smaller of `a` and `b`; where they are equal, each gets half of the gradient. NaN where either is.
    25 Min(Float, Float) -> Float
    /// `a + x`
    26 AddScalar(Float) [x: Number] -> Float
    /// `a * x`
    27 MulScalar(Float) [x: Number] -> Float
    /// `a / x`
    28 DivScalar(Float) [x: Number] -> Float
    /// `a ^ x`
    29 PowScalar(Float) [x: Number] -> Float
    /// 1 where `a > b`, else 0, also where either is NaN; no gradient.
    30 Greater(Float, Float) -> Float
    /// 1 where `a == b`, else 0; no gradient. Both floats or both integers; 0 equals -0, and NaN equals nothing.
    31 Equal(Any, Any) -> Float
    /// `a` where the mask is not 0, else `b`; args `[a, b, mask]`. The other branch gets no gradient, not even NaN.
    32 Select(Float, Float, Float) -> Float

    // One operand, element by element.
    /// `-a`
    40 Neg(Float) -> Float
    /// `eᵃ`
    41 Exp(Float) -> Float
    /// Natural logarithm.
    42 Ln(Float) -> Float
    /// `ln(1 + a)`, exact near 0.
    43 Ln1p(Float) -> Float
    /// Square root. Its gradient at 0 is infinite.
    44 Sqrt(Float) -> Float
    /// `max(a, 0)`; no gradient at 0. NaN stays.
    45 Relu(Float) -> Float
    /// `|a|`; no gradient at 0.
    46 Abs(Float) -> Float
    /// `max(a, x)`; no gradient below, all of it at the bound. NaN stays.
    47 ClampMin(Float) [x: Number] -> Float
    /// `min(a, x)`; no gradient above, all of it at the bound. NaN stays.
    48 ClampMax(Float) [x: Number] -> Float
    /// The same values as a constant: no gradient flows through.
    49 Detach(Float) -> Float
    /// Hyperbolic tangent.
    50 Tanh(Float) -> Float
    /// `1 / (1 + e⁻ᵃ)`
    51 Sigmoid(Float) -> Float
    /// Sine.
    52 Sin(Float) -> Float
    /// Cosine.
    53 Cos(Float) -> Float

    // Reductions.
    /// Sum of all elements, a scalar.
    60 Sum(Float) -> Float
    /// Sum along dimension `dim`, which stays with size 1.
    61 SumDim(Float) [dim: Dimension] -> Float
    /// Mean along dimension `dim`, which stays with size 1.
    62 MeanDim(Float) [dim: Dimension] -> Float
    /// Largest element along dimension `dim`, which stays with size 1; of equal ones the first gets the gradient. NaN where one is, and then the first NaN gets it.
    63 MaxDim(Float) [dim: Dimension] -> Float
    /// Smallest element along dimension `dim`, which stays with size 1; of equal ones the first gets the gradient. NaN where one is, and then the first NaN gets it.
    64 MinDim(Float) [dim: Dimension] -> Float
    /// Running sum along dimension `dim`, which keeps its size.
    65 CumSum(Float) [dim: Dimension] -> Float

    // Shape and selection.
    /// Matrix product `[…, n, k]` by `[…, k, m]`: `[…, n, m]`; leading dimensions broadcast.
    80 Matmul(Float, Float) -> Float
    /// Exchanges the last two dimensions.
    81 Transpose(Float) -> Float
    /// The same elements in the shape `dims`.
    82 Reshape(Float) [dims: Shape] -> Float
    /// Elements `start..end` of dimension `dim`.
    83 Slice(Float) [dim: Dimension, start: Size, end: Size] -> Float
    /// `a`, then `b`, along dimension `dim`.
    84 Cat(Float, Float) [dim: Dimension] -> Float
    /// Rows `index` `[m]` of `a` `[n, …]`: `[m, …]`; args `[a, index]`.
    85 Rows(Float, Int) -> Float
    /// `out[.., i, ..] = a[.., index[.., i, ..], ..]` along dimension `dim`; args `[a, index]`.
    86 Gather(Float, Int) [dim: Dimension] -> Float
    /// Exchanges dimensions `dim` and `with`.
    87 SwapDims(Float) [dim: Dimension, with: Dimension] -> Float
    /// Average over windows of `[n, c, h, w]` that give `[n, c, height, width]`.
    88 AdaptiveAvgPool(Float) [height: Size, width: Size] -> Float

    // Integers.
    /// Positions that sort dimension `dim` upwards; equal elements (also 0 and -0) keep their order, NaNs come last in theirs. The same on every device.
    100 Argsort(Float) [dim: Dimension] -> Int
    /// `[n]` integers below `classes`, others are refused: `[n, classes]` floats, one 1 a row.
    101 OneHot(Int) [classes: Size] -> Float
    /// Identity matrix `[n, n]`.
    102 Eye() [n: Size] -> Float
    /// `a`, then `b`, along dimension `dim`; integers.
    103 CatIndex(Int, Int) [dim: Dimension] -> Int
    /// The same integers in the shape `dims`.
    104 ReshapeIndex(Int) [dims: Shape] -> Int
    /// Integers as floats.
    105 Float(Int) -> Float
    /// Elements `start..end` of dimension `dim` of integers.
    106 SliceIndex(Int) [dim: Dimension, start: Size, end: Size] -> Int
    /// `out[.., i, ..] = a[.., index[.., i, ..], ..]` along dimension `dim`, of integers; args `[a, index]`.
    107 GatherIndex(Int, Int) [dim: Dimension] -> Int
    /// Integers `start..end`.
    108 Range() [start: Size, end: Size] -> Int
    /// `a + b` for integers.
    109 AddIndex(Int, Int) -> Int
    /// `a` modulo `divisor`, never negative, for integers.
    110 ModIndex(Int) [divisor: Size] -> Int
}

impl core::fmt::Display for Op {
    /// The name as a plugin author writes it: `sum_dim`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, c) in format!("{self:?}").chars().enumerate() {
            if c.is_ascii_uppercase() && i > 0 {
                f.write_str("_")?;
            }
            write!(f, "{}", c.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Op;

    #[test]
    fn codes_are_distinct_and_found_again() {
        for &op in Op::ALL {
            assert_eq!(Op::from_code(op as u32), Some(op));
        }
        assert!(Op::ALL.is_sorted());
    }
}
