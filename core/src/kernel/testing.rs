//! What the tests of kernels share.

use burn::tensor::{Device, Tensor, TensorData};

/// Numbers without a pattern that a kernel could hide behind.
pub(super) fn wave<const D: usize>(dims: [usize; D], salt: f32, device: &Device) -> Tensor<D> {
    let wave = |i: usize| (i as f32 * 0.37 + salt).sin() + (i as f32 * 0.011 * salt).cos();
    let values: Vec<f32> = (0..dims.iter().product()).map(wave).collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}

/// |a - b| / |b|
pub(super) fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f64 {
    let norm = |t: Tensor<D>| t.powi_scalar(2).sum().sqrt().into_scalar::<f64>();
    norm(a - b.clone()) / norm(b).max(1e-30)
}

/// That any number of threads gives the same bytes.
pub(super) fn alike(run: impl Fn() -> Vec<TensorData> + Sync) {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_or_else(|e| panic!("{e}"), |pool| pool.install(&run))
    };
    let one = on(1);
    for threads in [2, 3, 8] {
        assert!(on(threads).iter().zip(&one).all(|(a, b)| a == b), "{threads} threads");
    }
}
