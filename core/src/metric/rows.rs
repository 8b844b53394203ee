//! Distances of rows: exactly, and within bounds from an `f32` product.

use super::Embeddings;
use std::ops::Range;

/// Dimensions up to which the bounds hold.
pub const WIDEST: usize = 1 << 20;

/// Half the distance from 1 to the next `f32`.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// Squared Euclidean distance in `f64`, from the differences of the `f32` values. Symmetric, and the
/// same on every machine.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        for lane in 0..8 {
            let d = f64::from(x[lane]) - f64::from(y[lane]);
            sums[lane] += d * d;
        }
    }
    let rest: f64 =
        a_rest.iter().zip(b_rest).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Where rows are moved to before they are multiplied, and how far off a product can be.
///
/// A row `x` becomes `y = (x - m) s`, with the gallery's mean `m` and a power of two `s` that makes
/// the largest value about 1, and is multiplied as `c = fl(y)`, in `f32`. Distances don't change by
/// `m`, so a cloud far from the origin loses nothing; by `s` nothing overflows. With the squared
/// norms `n` of the `y`, in `f64`, a pair's scaled squared distance is `n_i + n_j - 2 fl(c_i·c_j)`
/// within `slack (n_i + n_j) + tiny`, where, with `u = 2^-24`, the half unit of `f32`:
///
/// - an `f32` dot product over `dim` terms, in any order, with or without fused steps, is off by at
///   most `γ |c_i| |c_j| <= γ (n_i + n_j) / 2`, `γ = dim u / (1 - dim u)` (Higham, "Accuracy and
///   Stability of Numerical Algorithms", section 3.1); twice that is `γ (n_i + n_j)`;
/// - rounding `y` to `c` moves the product by at most `2u |y_i| |y_j|`: `2u (n_i + n_j)`;
/// - comparing in `f32` ([`Frame::sure`], [`Frame::maybe`]) rounds `n_j` and the sum: `4u` cover it;
/// - `10u` are left for second orders and for `f64`. So `slack = γ + 16u`;
/// - what underflows, or is flushed to zero, is below `2^-126` for each term: `tiny = dim 2^-120`.
pub struct Frame {
    mean: Vec<f32>,
    scale: f64,
    slack: f64,
    tiny: f64,
}

impl Frame {
    /// The frame of a gallery and the queries that look into it.
    pub fn new(gallery: &Embeddings, queries: &Embeddings) -> Self {
        let mut sums = vec![0.0f64; gallery.dim];
        for row in gallery.rows.chunks_exact(gallery.dim) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let n = gallery.len() as f64;
        let mean: Vec<f32> = sums.iter().map(|sum| (sum / n) as f32).collect();
        let mut largest = 0.0f64;
        for set in [gallery, queries] {
            for row in set.rows.chunks_exact(set.dim) {
                for (x, m) in row.iter().zip(&mean) {
                    largest = largest.max((f64::from(*x) - f64::from(*m)).abs());
                }
            }
        }
        let scale = if largest > 0.0 { (-largest.log2().ceil()).exp2() } else { 1.0 };
        let terms = gallery.dim as f64 * UNIT;
        let slack = terms / (1.0 - terms) + 16.0 * UNIT;
        Frame { mean, scale, slack, tiny: gallery.dim as f64 * (-120.0f64).exp2() }
    }

    /// Least and greatest scaled squared distance of a pair with this sum of squared norms.
    pub fn bounds(&self, norms: f64, dot: f32) -> (f64, f64) {
        let (distance, error) = (norms - 2.0 * f64::from(dot), self.error(norms));
        (distance - error, distance + error)
    }

    /// How far off a distance can be, for a pair with this sum of squared norms.
    pub fn error(&self, norms: f64) -> f64 {
        self.slack * norms + self.tiny
    }

    /// The number `a` by which `dot > far[j] + a` proves that row `j` is nearer to a query with
    /// this squared norm than the scaled squared distance `limit`.
    pub fn sure(&self, norm: f64, limit: f64) -> f32 {
        let a = (norm * (1.0 + self.slack) + self.tiny - limit) / 2.0;
        (a + 4.0 * UNIT * a.abs()) as f32
    }

    /// The number `b` for which `dot < near[j] + b` proves that row `j` is farther from a query with
    /// this squared norm than the scaled squared distance `limit`.
    pub fn maybe(&self, norm: f64, limit: f64) -> f32 {
        let b = (norm * (1.0 - self.slack) - self.tiny - limit) / 2.0;
        (b - 4.0 * UNIT * b.abs()) as f32
    }
}

/// Embeddings seen from a frame.
pub struct Rows<'a> {
    /// The rows themselves.
    pub data: &'a Embeddings,
    /// Squared norm of each row in the frame.
    pub norms: Vec<f64>,
    /// `n (1 + slack) / 2` of each row.
    pub far: Vec<f32>,
    /// `n (1 - slack) / 2` of each row.
    pub near: Vec<f32>,
}

impl<'a> Rows<'a> {
    /// Bytes of a row beside its values.
    pub const BYTES: usize = 16;

    /// The rows' norms.
    pub fn new(data: &'a Embeddings, frame: &Frame) -> Self {
        let norm = |row: &[f32]| {
            let squares = row.iter().zip(&frame.mean).map(|(x, m)| {
                let c = (f64::from(*x) - f64::from(*m)) * frame.scale;
                c * c
            });
            squares.sum::<f64>()
        };
        let norms: Vec<f64> = data.rows.chunks_exact(data.dim).map(norm).collect();
        let half = |slack: f64| norms.iter().map(|n| (n * (1.0 + slack) / 2.0) as f32).collect();
        let (far, near) = (half(frame.slack), half(-frame.slack));
        Rows { data, norms, far, near }
    }

    /// Appends rows as the product wants them.
    pub fn fill(&self, frame: &Frame, samples: impl Iterator<Item = usize>, out: &mut Vec<f32>) {
        out.clear();
        for sample in samples {
            let row = self.data.row(sample).iter().zip(&frame.mean);
            out.extend(row.map(|(x, m)| ((f64::from(*x) - f64::from(*m)) * frame.scale) as f32));
        }
    }
}

/// Queries and the gallery they look into.
pub struct Pair<'a> {
    /// Their common frame.
    pub frame: &'a Frame,
    /// The queries.
    pub queries: &'a Rows<'a>,
    /// The gallery.
    pub gallery: &'a Rows<'a>,
}

impl Pair<'_> {
    /// Bounds of a query's scaled squared distance to a sample of the gallery.
    pub fn bounds(&self, query: usize, sample: usize, dot: f32) -> (f64, f64) {
        self.frame.bounds(self.queries.norms[query] + self.gallery.norms[sample], dot)
    }

    /// The distance that orders them: squared, in the embeddings' own unit.
    pub fn exact(&self, query: usize, sample: usize) -> f64 {
        if self.queries.norms[query] == 0.0 && self.gallery.norms[sample] == 0.0 {
            return 0.0; // both are the mean: a network that has collapsed has many such pairs
        }
        squared_distance(self.queries.data.row(query), self.gallery.data.row(sample))
    }
}

/// A range cut into pieces of this length, the last one shorter.
pub fn pieces(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = range.end;
    range.step_by(length).map(move |start| start..end.min(start + length))
}
