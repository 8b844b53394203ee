//! The nearest neighbours of one embedding.

use super::{Embeddings, RecallError};

/// A row, and how far it is from the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its index.
    pub row: usize,
    /// Euclidean distance.
    pub distance: f64,
    /// Cosine of the angle between the two; 0 where one of them is zero.
    pub cosine: f64,
}

/// The `k` rows nearest to `query` `[dim]` by exact Euclidean distance, the nearest first and equal ones by
/// index, computed in `f64`. `skip` is the query's own row, if it has one.
pub fn nearest(
    embeddings: &Embeddings,
    query: &[f32],
    k: usize,
    skip: Option<usize>,
) -> Result<Vec<Neighbour>, RecallError> {
    let Embeddings { rows, dim, labels } = embeddings;
    let n = labels.len();
    if *dim == 0 || rows.len() != n * dim || query.len() != *dim {
        return Err(RecallError::Shape { values: rows.len(), labels: n, dim: query.len() });
    }
    if let Some(bad) = rows.iter().position(|x| !x.is_finite()) {
        return Err(RecallError::NotFinite { row: bad / dim });
    }
    let others = n - usize::from(skip.is_some());
    if k == 0 || k > others {
        return Err(RecallError::TooFew { k, n });
    }
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let length = dot(query, query).sqrt();
    let mut all: Vec<Neighbour> = rows
        .chunks(*dim)
        .enumerate()
        .filter(|(row, _)| Some(*row) != skip)
        .map(|(row, x)| {
            let squares = x.iter().zip(query).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            let lengths = length * dot(x, x).sqrt();
            let cosine = if lengths > 0.0 { dot(x, query) / lengths } else { 0.0 };
            Neighbour { row, distance: squares.sum::<f64>().sqrt(), cosine }
        })
        .collect();
    let order =
        |a: &Neighbour, b: &Neighbour| a.distance.total_cmp(&b.distance).then(a.row.cmp(&b.row));
    all.sort_by(order);
    all.truncate(k);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_without_the_query_itself() {
        let rows = vec![0.0, 0.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0];
        let all = Embeddings { rows, dim: 2, labels: vec![0; 4] };
        let rows = |query: &[f32], skip| {
            nearest(&all, query, 3, skip).unwrap().iter().map(|n| n.row).collect::<Vec<_>>()
        };
        assert_eq!(rows(&[3.0, 4.0], None), [1, 3, 2]);
        assert_eq!(rows(&[3.0, 4.0], Some(1)), [3, 2, 0]);
        let found = nearest(&all, &[0.0, 2.0], 4, None).unwrap();
        assert_eq!((found[0].row, found[0].distance, found[0].cosine), (2, 1.0, 1.0));
        assert!((found[2].cosine - 0.8).abs() < 1e-12 && found[2].distance > 3.6);
        assert!(nearest(&all, &[0.0, 2.0], 4, Some(0)).is_err());
        assert!(nearest(&all, &[0.0], 1, None).is_err());
    }
}
