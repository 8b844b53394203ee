//! Products of blocks of rows, on the CPU or on a device.

use super::rows::{Frame, Rows, squared_distance};
use burn::tensor::{Device, Tensor, TensorData};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of a block on the CPU: its tile of products, 4 MiB, stays in the cache.
const SIDE: usize = 1024;
/// Rows of a block on a device, where a large product pays for the way there and back.
const DEVICE_SIDE: usize = 4096;
/// Rows of the smallest block.
const SMALLEST: usize = 16;
/// Products of a device's tile that are computed again, to know that the bounds hold for it.
const PROBES: usize = 64;

/// Computes products.
pub struct Product<'a> {
    frame: &'a Frame,
    device: Option<Device>,
    /// The device has returned a product outside the bounds of `f32` arithmetic.
    refused: AtomicBool,
    /// Threads that compute.
    pub threads: usize,
    /// Rows of a block.
    pub side: usize,
}

/// What one thread works in.
#[derive(Default)]
pub struct Tile {
    left: Vec<f32>,
    right: Vec<f32>,
    left_is: Option<Range<usize>>,
    /// `[left, right]`, row-major.
    pub dots: Vec<f32>,
}

impl<'a> Product<'a> {
    /// Blocks as large as fit into a part of the memory.
    pub fn new(
        frame: &'a Frame,
        dim: usize,
        device: Option<&Device>,
        threads: usize,
        bytes: usize,
    ) -> Self {
        let device = device.map(|d| d.clone().without_autodiff()).filter(|d| *d != Device::flex());
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { all() } else { threads };
        let mut side = if device.is_some() { DEVICE_SIDE } else { SIDE };
        // A device holds its own copy of a tile while it comes back.
        while side > SMALLEST && threads * 2 * Self::tile(side, dim) > bytes {
            side /= 2;
        }
        Product { frame, device, refused: AtomicBool::new(false), threads, side }
    }

    /// Bytes that the smallest blocks need.
    pub fn least(dim: usize, threads: usize) -> usize {
        threads * 2 * Self::tile(SMALLEST, dim)
    }

    fn tile(side: usize, dim: usize) -> usize {
        4 * (2 * side * dim + side * side)
    }

    /// The dot products of two blocks, in `tile.dots`.
    pub fn blocks(
        &self,
        tile: &mut Tile,
        (left, l): (&Rows, Range<usize>),
        (right, r): (&Rows, Range<usize>),
    ) {
        if tile.left_is.as_ref() != Some(&l) {
            left.fill(self.frame, l.clone(), &mut tile.left);
        }
        right.fill(self.frame, r, &mut tile.right);
        tile.left_is = Some(l);
        self.multiply(tile, left.data.dim);
    }

    /// The dot products of two lists of rows, in `tile.dots`.
    pub fn lists(&self, tile: &mut Tile, (left, l): (&Rows, &[u32]), (right, r): (&Rows, &[u32])) {
        left.fill(self.frame, l.iter().map(|&i| i as usize), &mut tile.left);
        right.fill(self.frame, r.iter().map(|&i| i as usize), &mut tile.right);
        tile.left_is = None;
        self.multiply(tile, left.data.dim);
    }

    fn multiply(&self, tile: &mut Tile, dim: usize) {
        let (m, n) = (tile.left.len() / dim, tile.right.len() / dim);
        let big = m * n >= self.side * self.side / 4;
        if let Some(device) = self.device.as_ref().filter(|_| big && !self.is_refused()) {
            let on_device = || {
                let upload = |rows: &[f32]| {
                    let shape = [rows.len() / dim, dim];
                    Tensor::<2>::from_data(TensorData::new(rows.to_vec(), shape), device)
                };
                let product = upload(&tile.left).matmul(upload(&tile.right).transpose());
                product.into_data().try_into_vec::<f32>().ok()
            };
            // A device that runs out of memory panics.
            if let Ok(Some(dots)) = catch_unwind(AssertUnwindSafe(on_device)) {
                tile.dots = dots;
                if (0..PROBES).all(|probe| self.is_within(tile, dim, probe)) {
                    return;
                }
            }
            self.refused.store(true, Ordering::Relaxed);
        }
        tile.dots.resize(m * n, 0.0);
        gemm(&tile.left, &tile.right, dim, &mut tile.dots);
    }

    /// Whether the device has returned a product outside the bounds; the CPU then did the rest.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether one of a tile's products, picked by number, is as near as `f32` arithmetic gets.
    fn is_within(&self, tile: &Tile, dim: usize, probe: usize) -> bool {
        let (m, n) = (tile.left.len() / dim, tile.right.len() / dim);
        let (i, j) = (probe * 31 % m, probe * 47 % n);
        let row = |rows: &'_ [f32], at: usize| rows[at * dim..(at + 1) * dim].to_vec();
        let (a, b, zeros) = (row(&tile.left, i), row(&tile.right, j), vec![0.0; dim]);
        let norms = squared_distance(&a, &zeros) + squared_distance(&b, &zeros);
        let (low, high) = self.frame.bounds(norms, tile.dots[i * n + j]);
        (low..=high).contains(&squared_distance(&a, &b))
    }
}

/// `dots[i, j] = left[i]·right[j]`, in `f32`.
fn gemm(left: &[f32], right: &[f32], dim: usize, dots: &mut [f32]) {
    let (m, n) = (left.len() / dim, right.len() / dim);
    assert!(left.len() == m * dim && right.len() == n * dim && dots.len() == m * n);
    let k = dim.cast_signed();
    #[expect(unsafe_code, reason = "the matrix product that Burn uses takes pointers")]
    // SAFETY: the strides stay within the three slices, as asserted, and `dots` is borrowed alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            dim,
            dots.as_mut_ptr(),
            1,
            n.cast_signed(),
            false,
            left.as_ptr(),
            1,
            k,
            right.as_ptr(),
            k,
            1,
            0.0f32,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
