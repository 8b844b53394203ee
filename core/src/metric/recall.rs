//! Recall@K: the share of queries with a sample of their class among their K nearest others.

/// Embeddings of a data set, one row a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// `[n, dim]`, row-major.
    pub rows: Vec<f32>,
    /// Dimensions of a row.
    pub dim: usize,
    /// Class of each row, `[n]`.
    pub labels: Vec<i64>,
}

/// Why a metric isn't defined.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecallError {
    /// A K that no query can have.
    #[error(
        "Recall@{k} needs {k} other samples, but there are {n} samples in all: use a smaller K or more data"
    )]
    TooFew {
        /// The K asked for.
        k: usize,
        /// Samples there are.
        n: usize,
    },
    /// An embedding isn't a number.
    #[error("the embedding of sample {row} is not finite: the network has diverged")]
    NotFinite {
        /// The sample's row.
        row: usize,
    },
    /// Rows and labels don't fit.
    #[error("{values} values are no {labels} rows of {dim} dimensions")]
    Shape {
        /// Values given.
        values: usize,
        /// Labels given.
        labels: usize,
        /// Dimensions of a row.
        dim: usize,
    },
}

/// Queries whose distances are held at a time.
const TILE: usize = 64;

/// Recall@K for each K, by exact Euclidean distance.
///
/// The query is excluded by its index; equal distances are ordered by index. A query without
/// another sample of its class is a miss. Distances are computed in `f64` from differences of the
/// `f32` rows, so near neighbours far from the origin keep their order. Memory: `n` distances for
/// each query of a tile.
pub fn recall_at(embeddings: &Embeddings, ks: &[usize]) -> Result<Vec<f64>, RecallError> {
    let Embeddings { rows, dim, labels } = embeddings;
    let n = labels.len();
    if *dim == 0 || rows.len() != n * dim {
        return Err(RecallError::Shape { values: rows.len(), labels: n, dim: *dim });
    }
    if let Some(&k) = ks.iter().find(|&&k| k == 0 || k >= n) {
        return Err(RecallError::TooFew { k, n });
    }
    if let Some(bad) = rows.iter().position(|x| !x.is_finite()) {
        return Err(RecallError::NotFinite { row: bad / dim });
    }
    let deepest = ks.iter().max().copied().unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = n.div_ceil(threads).next_multiple_of(TILE);
    let starts: Vec<usize> = (0..n).step_by(share).collect();
    // Rank of the first hit of each query, 1 for the nearest; counted per thread, then added up.
    let counts = std::thread::scope(|scope| {
        let work = |start: usize| first_hits(embeddings, start..n.min(start + share), deepest);
        let running: Vec<_> = starts.iter().map(|&s| scope.spawn(move || work(s))).collect();
        running.into_iter().flat_map(|t| t.join().unwrap_or_default()).collect::<Vec<usize>>()
    });
    let hits = |k: usize| counts.iter().filter(|&&rank| rank <= k).count();
    Ok(ks.iter().map(|&k| hits(k) as f64 / n as f64).collect())
}

/// For each query the rank of its first neighbour of the same class; `usize::MAX` if that is not
/// among the `deepest` nearest.
fn first_hits(data: &Embeddings, queries: std::ops::Range<usize>, deepest: usize) -> Vec<usize> {
    let (dim, n) = (data.dim, data.labels.len());
    let row = |i: usize| &data.rows[i * dim..(i + 1) * dim];
    let mut ranks = Vec::with_capacity(queries.len());
    let mut distances = vec![0.0f64; n];
    for query in queries {
        let anchor = row(query);
        for (other, distance) in distances.iter_mut().enumerate() {
            *distance = squared_distance(anchor, row(other));
        }
        let class = data.labels[query];
        let partner = (0..n).filter(|&i| i != query && data.labels[i] == class);
        let nearest =
            partner.min_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(a.cmp(&b)));
        // The first hit's rank is how many others come before it.
        let rank = nearest.map(|hit| {
            let before = |&i: &usize| {
                i != query && distances[i].total_cmp(&distances[hit]).then(i.cmp(&hit)).is_lt()
            };
            1 + (0..n).filter(before).take(deepest).count()
        });
        ranks.push(rank.filter(|&r| r <= deepest).unwrap_or(usize::MAX));
    }
    ranks
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 4];
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    for (x, y) in a4.iter().zip(b4) {
        for lane in 0..4 {
            let d = f64::from(x[lane]) - f64::from(y[lane]);
            sums[lane] += d * d;
        }
    }
    let rest: f64 =
        a_rest.iter().zip(b_rest).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
    sums.iter().sum::<f64>() + rest
}
