//! Pictures, labels and splits; samplers, augmentation and the parallel loader.
//!
//! ```
//! use std::sync::Arc;
//! use retort_datasets::{BalancedSampler, Dataset, Loader, Options, Sampler, Split, find, open};
//!
//! let options = Options::default().with("classes", 16).with("images", 6);
//! let train: Arc<dyn Dataset> = open("glyphs", Split::Train, &options)?.into();
//! let sampler = BalancedSampler::new(train.labels(), 12, 3, 0)?; // 4 classes with 3 images each
//! let transform = (find("glyphs")?.augmentation)(32);
//! let loader = Loader { dataset: train, transform, views: 2, channels: 3, seed: 0, workers: 1 };
//! for epoch in 0..2 {
//!     for batch in loader.epoch(epoch, sampler.epoch(epoch)) {
//!         assert_eq!(batch?.shape, [24, 3, 32, 32]); // two views of each image
//!     }
//! }
//! # Ok::<(), retort_datasets::DataError>(())
//! ```
//!
//! Pictures stay 8-bit until they are on the network's device. Everything random is a pure function
//! of seeds and counters, never of time, threads or order.
//!
//! A new data set is one file beside `omniglot.rs` and one line in [`DATASETS`]; so are samplers ([`SAMPLERS`])
//! and augmentations ([`AUGMENTATIONS`]).

mod archive;
mod augmentation;
mod cars;
mod check;
mod cub;
mod damage;
mod dataset;
mod error;
mod files;
mod folder;
mod gif;
mod glyphs;
mod in_shop;
mod jpeg;
mod kind;
mod labels;
mod loader;
mod loose;
mod managed;
mod matlab;
mod mend;
mod omniglot;
pub mod part;
mod picture;
mod random;
mod regular;
mod resize;
mod sampler;
mod sheet;
mod sop;
mod subset;
mod tiff;
mod walk;

pub use augmentation::{
    AUGMENTATIONS, Compose, Identity, RandomAffine, RandomCropFlip, RandomResizedCrop, Resize,
    ResizeCrop, Transform, augmentation,
};
pub use check::{Finding, Found, absent, check};
pub use dataset::{DATASETS, Dataset, Entry, Opened, Options, Split, SplitsOf, find, open, splits};
pub use error::DataError;
pub use loader::{Batch, Batches, Loader, evaluation_batches};
pub use loose::loose;
pub use picture::{Image, Picture};
pub use rand_chacha::ChaCha8Rng;
pub use random::augmentation_rng;
pub use regular::{open_regular, read_regular, read_text};
pub use resize::{Area, Resized};
pub use sampler::{BalancedSampler, RandomSampler, SAMPLERS, Sampler, Samples, SuperClassSampler};
pub use sheet::contact_sheet;
pub use subset::{hold_out, some_samples};
