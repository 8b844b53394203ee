//! Every operation the host performs for a plugin.
//!
//! Codes are part of the binary interface: append only, pinned by a snapshot. `args` are tensor
//! handles, `attrs` numbers, `name` a string; dimensions count from the left, from 0.

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $code:literal $name:ident)*) => {
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
        }
    };
}

ops! {
    // What the step offers, and what the host keeps.
    /// Input `name`: `target`, `source` `[n, d]`, `labels`, `ids` `[n]`; feature lists take attrs `[level]`.
    1 Input
    /// A number about the step, to be read at once: `classes`, `samples`, `views`, `epoch`, `progress`, …
    2 Fact
    /// Learnable parameter `name`; attrs `[init, scale, dims…]`.
    3 Param
    /// Buffer `name` as it was at the start of the step; attrs `[init, scale, dims…]`.
    4 Buffer
    /// Sets rows `args[0]` `[n]` of buffer `name` to `args[1]` `[n, …]` when the step ends; the last of equal indices wins.
    5 SetRows
    /// Sets buffer `name` to `args[0]` when the step ends.
    6 SetBuffer
    /// The value that `args[0]` had the first time this name was seen.
    7 Once
    /// Reports scalar `args[0]` beside the loss as `name`.
    8 Log
    /// Random integers below `attrs[0]`, of shape `attrs[1..]`.
    9 RandomIndex
    /// Random floats in `[0, 1)`, of shape `attrs`.
    10 RandomUniform
    /// Random floats from the standard normal distribution, of shape `attrs`.
    11 RandomNormal
    /// Floats from the plugin; attrs `[rank, dims…, values…]`.
    12 Constant
    /// Integers from the plugin; attrs `[rank, dims…, values…]`.
    13 ConstantIndex
    /// Fails the step with the message `name`.
    14 Fail
    /// Names the source line (`file:line`) of the operation that failed first.
    15 Blame
    /// Says that the loss isn't defined on this batch; `name` says why.
    16 Undefined
    /// Each row's own sample id, then `attrs[0]` random ones: of other classes if `attrs[1]` is 1, of any if 0; `[n, 1 + attrs[0]]`. Views of a sample share them.
    17 Contrast

    // Arithmetic, element by element; shapes broadcast from the right.
    /// `a + b`
    20 Add
    /// `a - b`
    21 Sub
    /// `a * b`
    22 Mul
    /// `a / b`
    23 Div
    /// The larger of `a` and `b`.
    24 Max
    /// The smaller of `a` and `b`.
    25 Min
    /// `a + attrs[0]`
    26 AddScalar
    /// `a * attrs[0]`
    27 MulScalar
    /// `a / attrs[0]`
    28 DivScalar
    /// `a ^ attrs[0]`
    29 PowScalar
    /// 1 where `a > b`, else 0; no gradient.
    30 Greater
    /// 1 where `a == b`, else 0; no gradient. Both floats or both integers.
    31 Equal
    /// `a` where the mask `args[2]` is not 0, else `b`; args `[a, b, mask]`. The other branch gets no gradient, not even NaN.
    32 Select

    // One operand, element by element.
    /// `-a`
    40 Neg
    /// `eᵃ`
    41 Exp
    /// Natural logarithm.
    42 Ln
    /// `ln(1 + a)`, exact near 0.
    43 Ln1p
    /// Square root.
    44 Sqrt
    /// `max(a, 0)`
    45 Relu
    /// `|a|`
    46 Abs
    /// `max(a, attrs[0])`; no gradient below.
    47 ClampMin
    /// `min(a, attrs[0])`; no gradient above.
    48 ClampMax
    /// The same values as a constant: no gradient flows through.
    49 Detach
    /// Hyperbolic tangent.
    50 Tanh
    /// `1 / (1 + e⁻ᵃ)`
    51 Sigmoid
    /// Sine.
    52 Sin
    /// Cosine.
    53 Cos

    // Reductions. Those along a dimension `attrs[0]` keep it with size 1.
    /// Sum of all elements, a scalar.
    60 Sum
    /// Sum along a dimension.
    61 SumDim
    /// Mean along a dimension.
    62 MeanDim
    /// Largest element along a dimension.
    63 MaxDim
    /// Smallest element along a dimension.
    64 MinDim
    /// Running sum along a dimension, which keeps its size.
    65 CumSum

    // Shape and selection.
    /// Matrix product `[…, n, k]` by `[…, k, m]`: `[…, n, m]`; leading dimensions broadcast.
    80 Matmul
    /// Exchanges the last two dimensions.
    81 Transpose
    /// The same elements in shape `attrs`.
    82 Reshape
    /// Elements `attrs[1]..attrs[2]` of dimension `attrs[0]`.
    83 Slice
    /// Joins floats along dimension `attrs[0]`.
    84 Cat
    /// Rows `args[1]` `[m]` of `args[0]` `[n, …]`: `[m, …]`.
    85 Rows
    /// `out[.., i, ..] = a[.., index[.., i, ..], ..]` along dimension `attrs[0]`; args `[a, index]`.
    86 Gather
    /// Exchanges dimensions `attrs[0]` and `attrs[1]`.
    87 SwapDims
    /// Average over windows of `[n, c, h, w]` that give `[n, c, attrs[0], attrs[1]]`.
    88 AdaptiveAvgPool

    // Integers.
    /// Positions that sort dimension `attrs[0]` upwards, stable.
    100 Argsort
    /// `[n]` integers below `attrs[0]`: `[n, attrs[0]]` floats, one 1 a row.
    101 OneHot
    /// Identity matrix `[attrs[0], attrs[0]]`.
    102 Eye
    /// Joins integers along dimension `attrs[0]`.
    103 CatIndex
    /// The same integers in shape `attrs`.
    104 ReshapeIndex
    /// Integers as floats.
    105 Float
    /// Elements `attrs[1]..attrs[2]` of dimension `attrs[0]` of integers.
    106 SliceIndex
    /// `out[.., i, ..] = a[.., index[.., i, ..], ..]` for integers; args `[a, index]`.
    107 GatherIndex
    /// Integers `attrs[0]..attrs[1]`.
    108 Range
    /// `a + b` for integers.
    109 AddIndex
    /// `a` modulo `attrs[0]`, never negative, for integers.
    110 ModIndex
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
