//! A data set as a run uses it: pictures kept in memory, and those that can't be read left out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::damage::Damage;
use crate::{DataError, Dataset, Image, Options, Picture, Transform};

pub(crate) struct Managed {
    inner: Box<dyn Dataset>,
    evaluation: Arc<dyn Transform>,
    /// Decoded pictures; empty without a cache. The first that come stay: an epoch needs each picture
    /// once, in random order, so replacing one by another would gain nothing.
    kept: Vec<OnceLock<Arc<Image>>>,
    /// Bytes that the cache may still take.
    free: AtomicU64,
    skip: bool,
    /// Whether JPEGs may be decoded at a part of their size.
    reduce: bool,
    skipped: Mutex<BTreeMap<usize, String>>,
    damage: Damage,
}

impl Managed {
    pub fn new(inner: Box<dyn Dataset>, evaluation: Arc<dyn Transform>, options: &Options) -> Self {
        let (cache, skip) = (options.cache, options.skip_corrupt);
        let slots = if cache > 0 { inner.len() } else { 0 };
        Self {
            inner,
            evaluation,
            kept: std::iter::repeat_with(OnceLock::new).take(slots).collect(),
            free: AtomicU64::new(cache),
            skip,
            reduce: options.scaled_decoding,
            skipped: Mutex::default(),
            damage: Damage::default(),
        }
    }

    /// Takes room in the cache, if there is as much.
    fn reserve(&self, bytes: u64) -> bool {
        let take = |free: u64| free.checked_sub(bytes);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl Dataset for Managed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn classes(&self) -> &[String] {
        self.inner.classes()
    }

    fn labels(&self) -> &[usize] {
        self.inner.labels()
    }

    fn describe(&self, i: usize) -> String {
        self.inner.describe(i)
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        Ok(Arc::unwrap_or_clone(self.picture(i)?.decode()?))
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        let slot = self.kept.get(i);
        if let Some(image) = slot.and_then(OnceLock::get) {
            return Ok(image.clone().into());
        }
        let note = self.damage.of(i, self.inner.describe(i));
        let picture = self.inner.picture(i)?.noting(note);
        let (width, height) = picture.size();
        let most = 3 * width as u64 * height as u64;
        let Some(slot) = slot.filter(|_| self.reserve(most)) else {
            return Ok(if self.reduce { picture.reducible() } else { picture });
        };
        // What isn't kept after all (it's damaged, or another thread was faster) gives its room back.
        let image = picture.decode().inspect_err(|_| {
            self.free.fetch_add(most, Ordering::Relaxed);
        })?;
        let used = if slot.set(image.clone()).is_ok() { image.pixels.len() as u64 } else { 0 };
        self.free.fetch_add(most.saturating_sub(used), Ordering::Relaxed);
        Ok(image.into())
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        self.inner.file(i)
    }

    fn class_id(&self, class: usize) -> usize {
        self.inner.class_id(class)
    }

    fn super_labels(&self) -> Option<&[usize]> {
        self.inner.super_labels()
    }

    fn evaluation(&self) -> Arc<dyn Transform> {
        self.evaluation.clone()
    }

    fn skip(&self, i: usize, error: &DataError) -> bool {
        if self.skip {
            let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
            skipped.entry(i).or_insert_with(|| error.to_string());
        }
        self.skip
    }

    fn skipped(&self) -> Vec<String> {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.values().cloned().collect()
    }

    fn remarks(&self) -> Vec<String> {
        self.inner.remarks()
    }

    fn damaged(&self) -> Vec<String> {
        self.damage.all()
    }
}
