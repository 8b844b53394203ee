//! What the tests share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use retort_datasets::{DataError, Dataset, Image};

/// The folder of a data set that the tests read.
pub fn data_root(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let data = std::env::var_os("RETORT_DATA")
        .map_or_else(|| workspace.join("../shared/data"), |data| workspace.join(data));
    let root = data.join(name);
    assert!(
        root.is_dir(),
        "{} is missing; set RETORT_DATA to the folder that holds {name}/",
        root.display()
    );
    root
}

/// The folder with numbers of the reference implementation.
pub fn golden() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::env::var_os("RETORT_GOLDEN")
        .map_or_else(|| workspace.join("../shared/golden"), |golden| workspace.join(golden))
}

pub fn golden_json(name: &str) -> serde_json::Value {
    let path = golden().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; set RETORT_GOLDEN to the folder with the golden data", path.display())
    });
    serde_json::from_str(&text).unwrap()
}

/// IEEE, reflected, as in zip.
pub fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0_u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

/// A message is one paragraph that says each of `parts`.
#[track_caller]
pub fn assert_says(error: &DataError, parts: &[&str]) {
    let message = error.to_string();
    assert!(!message.contains('\n'), "not one paragraph: {message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

/// Grey gradients with their number in the corner; some fail to load.
pub struct Numbers {
    pub labels: Vec<usize>,
    pub classes: Vec<String>,
    pub fails: Option<usize>,
    pub panics: Option<usize>,
    pub odd_size: Option<usize>,
    pub loaded: AtomicUsize,
    pub pause: std::time::Duration,
}

impl Numbers {
    pub fn new(len: usize) -> Self {
        Self {
            labels: (0..len).map(|i| i / 4).collect(),
            classes: (0..len.div_ceil(4)).map(|class| format!("class {class}")).collect(),
            fails: None,
            panics: None,
            odd_size: None,
            loaded: AtomicUsize::new(0),
            pause: std::time::Duration::ZERO,
        }
    }
}

impl Dataset for Numbers {
    fn name(&self) -> &'static str {
        "numbers"
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        format!("numbers/{i}.png")
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        self.loaded.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.pause);
        assert_ne!(self.panics, Some(i), "bad data set");
        if self.fails == Some(i) {
            let (problem, advice) = ("torn".into(), "Mend it".into());
            return Err(DataError::File { file: self.describe(i), problem, advice });
        }
        let width = if self.odd_size == Some(i) { 9 } else { 8 };
        let mut pixels: Vec<u8> = (0..width * 8).map(|p| (p * 3) as u8).collect();
        pixels[0] = i as u8;
        Ok(Image { width, height: 8, channels: 1, pixels })
    }
}
