//! Eigenvalues of symmetric matrices, which no operation of the host gives: computed here, in 64 bits, from
//! values read back. Additions, products and square roots only: the same bits everywhere.

use retort_sdk::prelude::*;

/// Eigenvalues, upwards, and the eigenvectors, as the columns of a row-major matrix.
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    pub(crate) vectors: Vec<f64>,
}

impl Eigen {
    /// Of a symmetric matrix `[n, n]`.
    pub(crate) fn of(matrix: Tensor) -> Self {
        let n = matrix.dim(0);
        let mut vectors = matrix.detach().to_vec();
        vectors.resize(n * n, 0.0); // a step that has failed reads nothing
        let (mut values, mut beside) = (vec![0.0; n], vec![0.0; n]);
        tridiagonal(n, &mut vectors, &mut values, &mut beside);
        diagonal(n, &mut vectors, &mut values, &mut beside);

        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let columns = |row: &[f64]| order.iter().map(|&k| row[k]).collect::<Vec<f64>>();
        let vectors = vectors.chunks(n.max(1)).flat_map(columns).collect();
        Eigen { values: columns(&values), vectors }
    }
}

/// (A + ε I)^{-½} of a symmetric matrix A ≥ 0, `[n, n]`, and its gradient.
///
/// With A = V Λ Vᵀ the derivative is V (K ∘ Vᵀ dA V) Vᵀ, Kᵢⱼ the divided difference of x^{-½} at λᵢ + ε and λⱼ + ε
/// (Daleckii & Krein), which equal eigenvalues don't trouble.
pub(crate) fn symmetric_power(step: &Step, a: Tensor, epsilon: f64) -> Tensor {
    let n = a.dim(0);
    let eigen = Eigen::of(a);
    let roots: Vec<f64> = eigen.values.iter().map(|v| (v.max(0.0) + epsilon).sqrt()).collect();
    let v = step.constant([n, n], &eigen.vectors);
    let root = step.constant([n, 1], &roots);

    let value = (v / root.t()).matmul(v.t());
    let divided = -1.0 / (root * root.t() * (root + root.t()));
    let change = v.t().matmul(a - a.detach()).matmul(v) * divided;
    value + v.matmul(change).matmul(v.t())
}

/// Householder's reduction to a tridiagonal matrix: `d` its diagonal, `e` what lies beside, `v` the
/// orthogonal matrix that does it (Wilkinson & Reinsch, "Linear Algebra", 1971, contribution II/2).
fn tridiagonal(n: usize, v: &mut [f64], d: &mut [f64], e: &mut [f64]) {
    d.copy_from_slice(&v[n * n.saturating_sub(1)..]);
    for i in (1..n).rev() {
        let scale: f64 = d[..i].iter().map(|x| x.abs()).sum();
        let mut h = 0.0;
        if scale == 0.0 {
            e[i] = d[i - 1];
            for j in 0..i {
                d[j] = v[(i - 1) * n + j];
                v[i * n + j] = 0.0;
                v[j * n + i] = 0.0;
            }
        } else {
            for x in &mut d[..i] {
                *x /= scale;
                h += *x * *x;
            }
            let f = d[i - 1];
            let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
            e[i] = scale * g;
            h -= f * g;
            d[i - 1] = f - g;
            e[..i].fill(0.0);
            for j in 0..i {
                let f = d[j];
                v[j * n + i] = f;
                let mut g = e[j] + v[j * n + j] * f;
                for k in j + 1..i {
                    g += v[k * n + j] * d[k];
                    e[k] += v[k * n + j] * f;
                }
                e[j] = g;
            }
            let mut f = 0.0;
            for j in 0..i {
                e[j] /= h;
                f += e[j] * d[j];
            }
            let half = f / (h + h);
            for j in 0..i {
                e[j] -= half * d[j];
            }
            for j in 0..i {
                let (f, g) = (d[j], e[j]);
                for k in j..i {
                    v[k * n + j] -= f * e[k] + g * d[k];
                }
                d[j] = v[(i - 1) * n + j];
                v[i * n + j] = 0.0;
            }
        }
        d[i] = h;
    }
    accumulate(n, v, d);
    e[..1.min(n)].fill(0.0);
}

/// The product of the reflections that [`tridiagonal`] left in `v`, with their sizes in `d`.
fn accumulate(n: usize, v: &mut [f64], d: &mut [f64]) {
    for i in 0..n.saturating_sub(1) {
        v[(n - 1) * n + i] = v[i * n + i];
        v[i * n + i] = 1.0;
        let h = d[i + 1];
        if h != 0.0 {
            for k in 0..=i {
                d[k] = v[k * n + i + 1] / h;
            }
            for j in 0..=i {
                let g: f64 = (0..=i).map(|k| v[k * n + i + 1] * v[k * n + j]).sum();
                for k in 0..=i {
                    v[k * n + j] -= g * d[k];
                }
            }
        }
        for k in 0..=i {
            v[k * n + i + 1] = 0.0;
        }
    }
    for j in 0..n {
        d[j] = v[(n - 1) * n + j];
        v[(n - 1) * n + j] = 0.0;
    }
    if n > 0 {
        v[n * n - 1] = 1.0;
    }
}

/// Implicit QL steps, until what lies beside the diagonal is nothing (contribution II/3).
fn diagonal(n: usize, v: &mut [f64], d: &mut [f64], e: &mut [f64]) {
    e.rotate_left(1.min(n));
    for l in 0..n {
        for _ in 0..STEPS {
            let small = |m: usize| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs());
            let m = (l..n - 1).find(|&m| small(m)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = (g * g + 1.0).sqrt();
            let mut g = d[m] - d[l] + e[l] / (g + if g < 0.0 { -r } else { r });
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut whole = true;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = length(f, g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    whole = false;
                    break;
                }
                (s, c) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                for row in v.chunks_mut(n) {
                    let (low, high) = (row[i], row[i + 1]);
                    row[i + 1] = s * low + c * high;
                    row[i] = c * low - s * high;
                }
            }
            if whole {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
}

/// √(x² + y²), which neither overflows nor vanishes on the way.
fn length(x: f64, y: f64) -> f64 {
    let (x, y) = (x.abs(), y.abs());
    let (small, large) = if x < y { (x, y) } else { (y, x) };
    if large == 0.0 { 0.0 } else { large * (1.0 + (small / large) * (small / large)).sqrt() }
}

/// Steps for one eigenvalue; two or three are usual.
const STEPS: usize = 60;
