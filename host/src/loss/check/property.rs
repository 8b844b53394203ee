//! The properties that a correct loss has.

/// A property's facts, in the order in which properties are shown.
macro_rules! properties {
    ($($Property:ident: $name:literal, $whole:ident, $exemptible:ident, $asks:literal, $remedy:literal;)*) => {
        /// What is asked of a loss.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property {
            $(#[doc = $asks] $Property,)*
        }

        impl Property {
            /// All, in the order in which they are shown.
            pub const ALL: [Property; [$($name),*].len()] = [$(Property::$Property),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Property::$Property => $name,)* }
            }

            /// What it asks.
            pub fn asks(self) -> &'static str {
                match self { $(Property::$Property => $asks,)* }
            }

            /// What to do where it fails.
            pub fn remedy(self) -> &'static str {
                match self { $(Property::$Property => $remedy,)* }
            }

            /// Whether it is tried with the hyperparameters as they are, however large.
            pub fn whole(self) -> bool {
                match self { $(Property::$Property => stringify!($whole) == "whole",)* }
            }

            /// Whether a definition may give it up, if it says why. The others are never a matter of
            /// definition.
            pub fn exemptible(self) -> bool {
                match self { $(Property::$Property => stringify!($exemptible) == "exemptible",)* }
            }
        }
    };
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

properties! {
    Runs: "runs", whole, always,
        "random batches give a value, or the loss says that they lack something",
        "Run it by hand: `retort loss eval NAME --example`. Say with `step.undefined(why)` what a batch \
        may lack, and with `step.need_same_shape` that widths must be equal.";
    Gradient: "gradient", small, exemptible,
        "autodiff agrees with finite differences in 64 bits, detached values held",
        "NaN comes from a root, a logarithm or a division at 0: `safe_sqrt`, `norm`, `normalize`, \
        `clamp_min` and the shared distances are finite there. A difference comes from state outside of \
        the step: keep it in `step.buffer`. If nothing is trained, look for a `detach` too many.";
    Order: "order", small, exemptible,
        "the order of a batch's samples doesn't matter",
        "Compare rows by `labels()` and `ids()`, not by their place; sum over all pairs instead of \
        neighbours. If the place is meant, say why: `#[exempt(order = \"…\")]` in `hyper!`.";
    Determinism: "determinism", whole, always,
        "the same step gives the same bits: again, in another thread, after other batches",
        "Take random numbers from `step.random_…`, and keep state in `step.buffer` or `step.once`: no \
        statics, no clock, no random numbers of your own, no order of a HashMap.";
    LoadPath: "load path", whole, always,
        "built in, native and WASM give the same bits",
        "Build both forms of one source, with one version of the SDK, and leave arithmetic to tensors: \
        `f64::exp` and its like differ between platforms.";
    Duplicates: "duplicates", small, always,
        "finite where embeddings coincide",
        "Distances of 0 have no slope: take `pairwise_distance`, `euclidean_distance`, or `safe_sqrt` in \
        place of `sqrt`.";
    ZeroRows: "zero rows", small, always,
        "finite where embeddings are zero",
        "Divide by `norm(1).clamp_min(1e-12)` or take `normalize(1)`, which leaves a zero row zero.";
    OneClass: "one class", small, exemptible,
        "finite, or said to be undefined, and no silent zero, without negatives",
        "Begin with `step.need_negative_pairs()`, so that a batch of one class is skipped or refused.";
    AllDistinct: "all distinct", small, exemptible,
        "finite, or said to be undefined, and no silent zero, without positives",
        "Begin with `step.need_positive_pairs()`, so that a batch without pairs of a class is skipped or \
        refused.";
    SmallBatch: "small batch", small, exemptible,
        "finite, or said to be undefined, with one and two samples",
        "Divide by counts that can't be 0 (`clamp_min(1.0)`, `mean_where`), or say with \
        `step.undefined(why)` what a small batch lacks.";
    HugeNorms: "huge norms", small, always,
        "finite at 10⁴ times the norm",
        "An exponential overflows: take `log_sum_exp`, `log_softmax`, `softplus`, or normalise first.";
    TinyNorms: "tiny norms", small, always,
        "finite at 10⁻⁶ times the norm",
        "Something is divided by a square that is 0 in 32 bits: `normalize(1)` and `clamp_min` don't.";
    Outlier: "outlier", small, always,
        "finite with one sample far from all others",
        "Subtract the largest exponent first: `log_sum_exp` and `log_softmax` do.";
    F16Range: "f16 range", small, always,
        "finite over all magnitudes that 16-bit floats have",
        "Squares and exponentials leave the range of 32 bits: normalise, or clamp before them.";
    Choices: "choices", small, always,
        "every choice, at 6 and 512 dimensions: finite, in 32 bits as in 64, gradients as well",
        "Try the choice by hand: `retort loss eval NAME --example --set KEY=WORD --dtype f64`. Differences \
        of large numbers lose their digits in 32 bits: centre, normalise, or take logarithms.";
    Scaling: "scaling", whole, exemptible,
        "operations don't grow with the batch; memory by no more than its third power",
        "Replace a loop over samples by one operation on `[n, n]` or `[n, k]`: masks, `gather`, `rows`.";
    Parameters: "parameters", whole, always,
        "none appears after the first step",
        "Ask for all of `step.param`, `step.buffer` and `step.once` in every step, before any branch, with \
        shapes that don't depend on the batch.";
    Snapshot: "snapshot", whole, always,
        "the numbers are the recorded ones",
        "If the definition was meant to change, record it anew: `retort snapshot record PLUGIN --force`.";
}
