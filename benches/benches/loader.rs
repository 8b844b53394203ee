//! Pictures a second through the loader: generated JPEGs of 500x375, random crops of 224 for training
//! and the centre of 256 for evaluations. Beside it, where torchvision is installed, on the same files:
//! `python benches/torch/loader.py FOLDER`, with the folder that this prints.

use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
use retort_datasets::{
    Dataset, Loader, Options, RandomResizedCrop, ResizeCrop, Split, Transform, evaluation_batches,
    open,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WIDTH: usize = 500;
const HEIGHT: usize = 375;
const PICTURES: usize = 128;
const BATCH: usize = 32;
/// How often all pictures are loaded for one figure.
const EPOCHS: u64 = 6;

/// Noise in octaves, each twice as large as the one before and half again as strong; about as many bytes as photographs.
fn picture(number: u64) -> Vec<u8> {
    let random = |octave: usize, x: usize, y: usize, c: u64| {
        let mut h = number ^ (octave as u64) << 8 ^ c << 16 ^ (x as u64) << 24 ^ (y as u64) << 44;
        for _ in 0..3 {
            h = (h ^ h >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (h >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let value = |x: usize, y: usize, c: u64| {
        let octave = |octave: usize| {
            let size = 1 << octave;
            let (left, top) = (x / size, y / size);
            let (fx, fy) = ((x % size) as f32 / size as f32, (y % size) as f32 / size as f32);
            let at = |x, y| random(octave, x, y, c);
            let mix = |a: f32, b: f32, f: f32| a + (b - a) * f;
            let upper = mix(at(left, top), at(left + 1, top), fx);
            let lower = mix(at(left, top + 1), at(left + 1, top + 1), fx);
            mix(upper, lower, fy) * 11.0 * (size as f32).powf(0.6)
        };
        (0..7).map(octave).sum::<f32>()
    };
    let mut pixels = Vec::with_capacity(3 * WIDTH * HEIGHT);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (light, warm) = (value(x, y, 0), value(x / 2, y / 2, 1));
            pixels.extend([0.5, 0.0, -0.5].map(|tint| (128.0 + light + tint * warm) as u8));
        }
    }
    pixels
}

/// Half of the pictures train.
fn folder() -> std::io::Result<PathBuf> {
    let folder = std::env::temp_dir().join("retort-loader-bench");
    for number in 0..2 * PICTURES {
        let class = folder.join(if number < PICTURES { "train" } else { "unused" });
        std::fs::create_dir_all(&class)?;
        let file = class.join(format!("{number:04}.jpg"));
        if !file.exists() && number <= PICTURES {
            let pixels = picture(number as u64);
            let (rgb, coded) = (PixelFormat::Rgb, Subsampling::S420);
            let jpeg = compress(&pixels, WIDTH, HEIGHT, rgb, 90, coded);
            std::fs::write(file, jpeg.map_err(std::io::Error::other)?)?;
        }
    }
    Ok(folder)
}

/// Processor time that this process has used, in hundredths of a second; none where the system
/// doesn't say.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields = stat.rsplit(')').next()?.split_whitespace();
    let ticks: Option<u64> = fields.skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(10 * ticks?))
}

/// Prints pictures a second, and for each second that a processor worked.
fn measure(name: &str, data: &Arc<dyn Dataset>, transform: &Arc<dyn Transform>, workers: usize) {
    let (mut best, mut best_cpu) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        let (start, cpu) = (Instant::now(), processor_time());
        let mut n = 0;
        for epoch in 0..EPOCHS {
            let batches = evaluation_batches(data.len(), BATCH);
            let (dataset, transform) = (data.clone(), transform.clone());
            let loader = Loader { dataset, transform, views: 1, channels: 3, seed: 0, workers };
            for batch in loader.epoch(epoch, batches) {
                match batch {
                    Ok(batch) => n += batch.ids.len(),
                    Err(error) => return eprintln!("{error}"),
                }
            }
        }
        let used = processor_time().zip(cpu).map(|(now, then)| now.saturating_sub(then));
        best = best.max(n as f64 / start.elapsed().as_secs_f64());
        best_cpu = best_cpu.max(used.map_or(0.0, |used| n as f64 / used.as_secs_f64()));
    }
    println!("  {name:34} {workers} workers {best:>8.0} pictures/s {best_cpu:>8.0} per core");
}

fn opened(folder: &Path, cache: u64) -> Option<Arc<dyn Dataset>> {
    let options = Options {
        root: Some(folder.to_owned()),
        size: 224,
        cache,
        ..Options::default().with("train_classes", "train")
    };
    open("folder", Split::Train, &options).map_err(|error| eprintln!("{error}")).ok().map(Arc::from)
}

fn main() {
    let folder = match folder() {
        Ok(folder) => folder,
        Err(error) => return eprintln!("can't make the pictures: {error}"),
    };
    let (Some(data), Some(cached)) = (opened(&folder, 0), opened(&folder, 1 << 30)) else { return };
    let sizes = (0..data.len()).filter_map(|i| data.file(i)?.metadata().ok());
    let bytes = sizes.map(|file| file.len()).sum::<u64>() / data.len() as u64;
    println!(
        "loading {} JPEGs of {WIDTH}x{HEIGHT}, {bytes} bytes each, in {}",
        data.len(),
        folder.display()
    );
    let train: Arc<dyn Transform> = Arc::new(RandomResizedCrop::to(224));
    let evaluation: Arc<dyn Transform> = Arc::new(ResizeCrop::to(224));
    for workers in [1, 2] {
        measure("train", &data, &train, workers);
        measure("evaluation", &data, &evaluation, workers);
        measure("train, from the cache", &cached, &train, workers);
        measure("evaluation, from the cache", &cached, &evaluation, workers);
    }
}
