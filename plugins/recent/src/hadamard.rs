//! Hadamard matrices: orthogonal, all entries of one size.

use retort_sdk::prelude::*;

/// A Hadamard matrix over √n, `[n, n]`: Sylvester's for powers of two, Paley's first for a prime + 1, and
/// their products. For other n there is none, or none that is known here: then Hartley's, cos + sin of
/// 2πjk/n, the squares of whose entries j, k and j, n - k make the same sum as two of Hadamard's.
pub(crate) fn hadamard(step: &Step, n: usize) -> Tensor {
    let factors =
        (0..usize::BITS).map(|k| (1 << k, n >> k)).take_while(|&(two, rest)| two * rest == n);
    let known = factors.filter(|&(_, rest)| rest == 1 || rest % 4 == 0 && is_prime(rest - 1));
    let Some((_, rest)) = known.last() else {
        let turns: Vec<f64> = (0..n * n).map(|i| ((i / n) * (i % n) % n) as f64).collect();
        let angle = step.constant([n, n], &turns) * (std::f64::consts::TAU / n as f64);
        return (angle.cos() + angle.sin()) / (n as f64).sqrt();
    };
    let size = (n as f64).sqrt().recip();
    let sign = |i: usize, j: usize| {
        let sylvester = ((i / rest) & (j / rest)).count_ones().is_multiple_of(2);
        sylvester == paley_sign(i % rest, j % rest, rest)
    };
    let entries = (0..n * n).map(|k| if sign(k / n, k % n) { size } else { -size });
    step.constant([n, n], &entries.collect::<Vec<f64>>())
}

/// Whether the entry of Paley's matrix of size q + 1 is positive; that of size 1 is.
fn paley_sign(i: usize, j: usize, size: usize) -> bool {
    let q = size - 1;
    match (i, j) {
        (0, _) => true,
        _ if i == j => true,
        (_, 0) => false,
        _ => {
            let difference = (q + i - j) % q;
            (1..q).any(|k| k * k % q == difference)
        }
    }
}

fn is_prime(n: usize) -> bool {
    n > 1 && (2..n).take_while(|k| k * k <= n).all(|k| !n.is_multiple_of(k))
}
