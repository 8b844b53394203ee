//! Clusters of embeddings, for NMI.

use super::rows::squared_distance;
use super::{Distance, Embeddings, MetricError, Search};
use crate::random;
use rand::RngExt as _;

/// Passes over the data, if the clusters don't settle before: as many as faiss makes.
const PASSES: usize = 25;

/// Samples in clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The cluster of each sample, `[n]`.
    pub of: Vec<i64>,
    /// Passes made.
    pub passes: usize,
    /// Whether the last pass changed nothing.
    pub settled: bool,
}

/// Puts samples into `k` clusters by k-means.
///
/// The first centres are drawn by k-means++ (Arthur & Vassilvitskii, "k-means++: The Advantages of
/// Careful Seeding", SODA 2007): each next one is a sample, with a probability proportional to its
/// squared distance to the nearest centre so far. Then Lloyd's passes, up to 25: each sample goes to
/// its nearest centre (of equal ones to the first), each centre to the mean of its samples, summed in
/// `f64` in the order of the samples, rounded to `f32`. A centre without samples takes over the
/// sample that is farthest from its own centre. All distances are exact, so the same seed gives the
/// same clusters, whatever the machine, the device and its threads.
///
/// For the cosine, the rows are brought to length 1 first; centres are plain means.
pub fn kmeans(
    data: &Embeddings,
    k: usize,
    seed: u64,
    search: &Search,
) -> Result<Clusters, MetricError> {
    let data = &*data.prepared(search.distance)?;
    let search = Search { distance: Distance::Euclidean, ..search.clone() };
    if k == 0 || k > data.len() {
        return Err(MetricError::Clusters { k, n: data.len() });
    }
    let mut centres = Embeddings {
        rows: first_centres(data, k, seed, search.threads),
        dim: data.dim,
        labels: vec![0; k],
    };
    let mut clusters = Clusters { of: vec![-1; data.len()], passes: 0, settled: false };
    while clusters.passes < PASSES && !clusters.settled {
        let nearest = search.nearest(data, &centres, 1)?;
        let of: Vec<i64> = nearest.samples.iter().map(|&c| i64::from(c)).collect();
        clusters.settled = of == clusters.of;
        (clusters.of, clusters.passes) = (of, clusters.passes + 1);
        if !clusters.settled {
            centres.rows = means(data, k, &clusters.of, &nearest.distances);
        }
    }
    Ok(clusters)
}

/// Rows of the samples that k-means++ draws, `[k, dim]`.
fn first_centres(data: &Embeddings, k: usize, seed: u64, threads: usize) -> Vec<f32> {
    let n = data.len();
    let mut stream = random::stream(random::key(seed, "k-means++"), &[]);
    let mut centres = Vec::with_capacity(k * data.dim);
    let mut distances = vec![f64::INFINITY; n];
    let mut next = stream.random_range(0..n);
    let all = || std::thread::available_parallelism().map_or(1, usize::from);
    let share = n.div_ceil(if threads == 0 { all() } else { threads });
    for _ in 0..k {
        let centre = data.row(next);
        centres.extend_from_slice(centre);
        let update = |(part, distances): (usize, &mut [f64])| {
            for (i, distance) in distances.iter_mut().enumerate() {
                *distance = distance.min(squared_distance(centre, data.row(part * share + i)));
            }
        };
        if n * data.dim < 1 << 16 {
            distances.chunks_mut(share).enumerate().for_each(update);
        } else {
            std::thread::scope(|scope| {
                for part in distances.chunks_mut(share).enumerate() {
                    scope.spawn(move || update(part));
                }
            });
        }
        let mut left = stream.random::<f64>() * distances.iter().sum::<f64>();
        let passed = |distance: &f64| {
            left -= distance;
            *distance > 0.0 && left <= 0.0
        };
        // Rounding may leave a rest; and where all samples are centres already, any will do.
        let drawn = distances.iter().position(passed);
        next = drawn.or_else(|| distances.iter().rposition(|&d| d > 0.0)).unwrap_or(0);
    }
    centres
}

/// Mean of each cluster, `[k, dim]`; an empty one gets the sample farthest from its own centre.
fn means(data: &Embeddings, k: usize, of: &[i64], distances: &[f64]) -> Vec<f32> {
    let dim = data.dim;
    let (mut sums, mut counts) = (vec![0.0f64; k * dim], vec![0usize; k]);
    for (row, &cluster) in data.rows.chunks_exact(dim).zip(of) {
        let cluster = cluster as usize;
        counts[cluster] += 1;
        let sums = &mut sums[cluster * dim..(cluster + 1) * dim];
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let mut centres: Vec<f32> = sums
        .chunks_exact(dim)
        .zip(&counts)
        .flat_map(|(s, &n)| s.iter().map(move |x| (x / n as f64) as f32))
        .collect();
    let mut far: Vec<usize> = (0..data.len()).collect();
    far.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]).then(a.cmp(&b)));
    for (cluster, sample) in (0..k).filter(|&c| counts[c] == 0).zip(far) {
        centres[cluster * dim..(cluster + 1) * dim].copy_from_slice(data.row(sample));
    }
    centres
}
