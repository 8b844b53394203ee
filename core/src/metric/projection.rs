//! Embeddings in two dimensions.

use bhtsne::tSNE;

/// The two directions in which rows spread most (principal components), `[n]` pairs.
///
/// By power iteration on the covariance, which is never formed; deterministic.
pub fn pca(rows: &[Vec<f64>]) -> Vec<(f64, f64)> {
    let Some(dim) = rows.first().map(Vec::len) else { return Vec::new() };
    let n = rows.len() as f64;
    let mean: Vec<f64> = (0..dim).map(|j| rows.iter().map(|r| r[j]).sum::<f64>() / n).collect();
    let mut centred: Vec<Vec<f64>> =
        rows.iter().map(|r| r.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
    let mut components = Vec::new();
    for _ in 0..2 {
        let direction = leading(&centred);
        let places: Vec<f64> = centred.iter().map(|r| dot(r, &direction)).collect();
        for (row, place) in centred.iter_mut().zip(&places) {
            row.iter_mut().zip(&direction).for_each(|(x, v)| *x -= place * v);
        }
        components.push(places);
    }
    components[0].iter().copied().zip(components[1].iter().copied()).collect()
}

/// The leading eigenvector of the rows' covariance, of unit length; its largest entry is positive.
fn leading(rows: &[Vec<f64>]) -> Vec<f64> {
    let longest = rows.iter().max_by(|a, b| dot(a, a).total_cmp(&dot(b, b)));
    let mut v = unit(longest.cloned().unwrap_or_default());
    for _ in 0..300 {
        let mut next = vec![0.0; v.len()];
        for row in rows {
            let along = dot(row, &v);
            next.iter_mut().zip(row).for_each(|(x, r)| *x += along * r);
        }
        let next = unit(next);
        let still = 1.0 - dot(&next, &v).abs() < 1e-12;
        v = next;
        if still {
            break;
        }
    }
    let largest = v.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(1.0);
    if largest < 0.0 { v.iter().map(|x| -x).collect() } else { v }
}

fn unit(v: Vec<f64>) -> Vec<f64> {
    let norm = dot(&v, &v).sqrt();
    if norm > 0.0 { v.iter().map(|x| x / norm).collect() } else { v }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Finite rows by t-SNE (van der Maaten & Hinton, 2008) from the principal components, `[n]` pairs; the components
/// themselves for fewer than eight rows.
pub fn tsne(rows: &[Vec<f64>]) -> Vec<(f64, f64)> {
    let components = pca(rows);
    // Its sums depend on how many threads share them.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let Some(one) = one.ok().filter(|_| rows.len() >= 8) else { return components };
    let rows: Vec<Vec<f32>> = rows.iter().map(|r| r.iter().map(|x| *x as f32).collect()).collect();
    let spread = components.iter().map(|p| p.0.abs()).fold(1e-12, f64::max);
    let start: Vec<f32> =
        components.iter().flat_map(|p| [p.0, p.1]).map(|x| (1e-2 * x / spread) as f32).collect();
    let perplexity = (rows.len() as f32 / 5.0).clamp(2.0, 20.0);
    let distance = |a: &Vec<f32>, b: &Vec<f32>| {
        a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt()
    };
    let places = one.install(|| {
        let mut tsne: tSNE<f32, Vec<f32>, 2> = tSNE::new(&rows);
        tsne.perplexity(perplexity).epochs(600).initial_embedding(start);
        tsne.exact(distance).embedding()
    });
    places.chunks_exact(2).map(|p| (f64::from(p[0]), f64::from(p[1]))).collect()
}

#[cfg(test)]
mod tests {
    use super::{pca, tsne};

    #[test]
    fn components_of_points_in_a_tilted_plane_keep_their_distances() {
        let flat: Vec<(f64, f64)> =
            (0..30).map(|i| (f64::from(i * i % 17), 0.3 * f64::from(i % 7))).collect();
        // An orthogonal pair of directions in four dimensions.
        let (u, v) = ([0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5]);
        let rows: Vec<Vec<f64>> =
            flat.iter().map(|(a, b)| (0..4).map(|j| a * u[j] + b * v[j] + 3.0).collect()).collect();
        let found = pca(&rows);
        for i in 0..flat.len() {
            let true_distance = (flat[i].0 - flat[0].0).hypot(flat[i].1 - flat[0].1);
            let distance = (found[i].0 - found[0].0).hypot(found[i].1 - found[0].1);
            assert!((distance - true_distance).abs() < 1e-6, "{i}: {distance} {true_distance}");
        }
    }

    #[test]
    fn clusters_stay_clusters() {
        let cluster = |c: f64| (0..12).map(move |i| vec![10.0 * c, f64::from(i) * 0.1, c * c]);
        let rows: Vec<Vec<f64>> = cluster(0.0).chain(cluster(1.0)).chain(cluster(2.0)).collect();
        let places = tsne(&rows);
        assert_eq!(places.len(), rows.len());
        for (i, a) in places.iter().enumerate() {
            let distance = |b: &(f64, f64)| (a.0 - b.0).hypot(a.1 - b.1);
            let others = (0..places.len()).filter(|j| *j != i);
            let nearest =
                others.min_by(|j, k| distance(&places[*j]).total_cmp(&distance(&places[*k])));
            assert_eq!(nearest.unwrap() / 12, i / 12, "{i}");
        }
    }
}
