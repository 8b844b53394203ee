//! Batches from parallel workers, in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{name, sentence};
use crate::{DataError, Dataset, Image, Transform, augmentation_rng};

/// What a network is fed: `views` augmented copies of `n` samples. Row `v * n + i` is view `v` of
/// sample `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[views * n, channels, height, width]`.
    pub images: Vec<u8>,
    /// The shape of `images`.
    pub shape: [usize; 4],
    /// `[views * n]`: the class of each row.
    pub labels: Vec<i64>,
    /// `[views * n]`: each row's index in its split.
    pub ids: Vec<i64>,
    /// Number of views.
    pub views: usize,
}

/// All samples in order, in batches of `n` (the last may be smaller), for evaluation.
pub fn evaluation_batches(len: usize, n: usize) -> Vec<Vec<usize>> {
    let samples: Vec<usize> = (0..len).collect();
    samples.chunks(n.max(1)).map(<[usize]>::to_vec).collect()
}

/// What loads a training's batches, as long as the training lives.
#[derive(Clone)]
pub struct Loader {
    /// The pictures.
    pub dataset: Arc<dyn Dataset>,
    /// Their augmentation.
    pub transform: Arc<dyn Transform>,
    /// Augmented copies of each sample.
    pub views: usize,
    /// Channels of the network's input: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Seed of the augmentation.
    pub seed: u64,
    /// Threads, 256 at most; 0 loads on the caller's, when it asks for a batch.
    pub workers: usize,
}

/// An iterator over the batches of one epoch, loaded ahead by worker threads.
///
/// Batches come in the given order and with the same pixels whatever the number of workers. At most
/// two per worker are loaded or loading at a time. A sample that the data set [skips] is missing from
/// its batch. After an error the iterator ends; whatever ends a thread, a panic in a data set or a
/// transform too, is the error of the batch that it was at. The threads end with the iterator: dropping
/// it waits for them, for one image at most.
///
/// [skips]: Dataset::skip
pub struct Batches {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    job: Job,
    state: Mutex<State>,
    /// Told of every change of `state`.
    changed: Condvar,
}

/// What to load. Never changes.
struct Job {
    dataset: Arc<dyn Dataset>,
    transform: Arc<dyn Transform>,
    /// Each row's sample, and how often the epoch had it before.
    batches: Vec<Vec<(usize, u32)>>,
    views: usize,
    seed: u64,
    epoch: u64,
    channels: usize,
    /// How many batches may be loaded or loading.
    ahead: usize,
    /// Whether a batch may come without a sample, if none of it can be read.
    may_be_empty: bool,
}

struct State {
    /// The first batch that no worker has taken.
    next: usize,
    /// The batch that the iterator gives out next.
    wanted: usize,
    ready: BTreeMap<usize, Result<Batch, DataError>>,
    /// Nobody wants more.
    stopped: bool,
    /// Worker threads that haven't ended.
    alive: usize,
}

/// More threads load no faster, and a system has only so many.
const MOST_WORKERS: usize = 256;
/// Bytes of a batch's pixels.
const MOST_BYTES: usize = 4 << 30;

impl Loader {
    /// Starts to load `batches` of an epoch, lists of sample indices.
    pub fn epoch(&self, epoch: u64, batches: Vec<Vec<usize>>) -> Batches {
        let job = Job {
            dataset: self.dataset.clone(),
            transform: self.transform.clone(),
            batches: numbered(batches),
            views: self.views,
            seed: self.seed,
            epoch,
            channels: self.channels,
            ahead: 0,
            may_be_empty: false,
        };
        Batches::start(job, self.workers)
    }
}

impl Batches {
    /// All samples in order as an evaluation sees them, in batches of `n`, on `workers` threads, at least
    /// one. A batch of which nothing can be read, where the data set [skips](Dataset::skip) that, comes
    /// without a sample.
    pub fn evaluation(
        dataset: Arc<dyn Dataset>,
        n: usize,
        channels: usize,
        workers: usize,
    ) -> Self {
        let batches = numbered(evaluation_batches(dataset.len(), n));
        let transform = dataset.evaluation();
        let (views, seed, epoch, ahead, may_be_empty) = (1, 0, 0, 0, true);
        let job =
            Job { dataset, transform, batches, views, seed, epoch, channels, ahead, may_be_empty };
        Self::start(job, workers.max(1))
    }

    fn start(mut job: Job, workers: usize) -> Self {
        let workers = workers.min(job.batches.len()).min(MOST_WORKERS);
        job.ahead = 2 * workers;
        let state = State { next: 0, wanted: 0, ready: BTreeMap::new(), stopped: false, alive: 0 };
        let shared = Arc::new(Shared { job, state: Mutex::new(state), changed: Condvar::new() });
        let spawn = |i| {
            let alive = Alive::new(shared.clone());
            let thread = std::thread::Builder::new().name(format!("loader-{i}"));
            // Without threads left in the system, those that started share the work.
            thread.spawn(move || alive.0.work()).ok()
        };
        let workers = (0..workers).filter_map(spawn).collect();
        Self { shared, workers }
    }
}

/// Each row's sample, and how often it came before.
fn numbered(batches: Vec<Vec<usize>>) -> Vec<Vec<(usize, u32)>> {
    let mut seen: BTreeMap<usize, u32> = BTreeMap::new();
    let mut occurrence = |sample| {
        let count = seen.entry(sample).or_default();
        *count += 1;
        (sample, *count - 1)
    };
    batches.into_iter().map(|batch| batch.into_iter().map(&mut occurrence).collect()).collect()
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Shared { job, changed, .. } = &*self.shared;
        let mut state = self.shared.lock();
        if state.stopped || state.wanted == job.batches.len() {
            return None;
        }
        let wanted = state.wanted;
        let batch = if self.workers.is_empty() {
            drop(state);
            let batch = job.guarded(wanted, &|| false);
            state = self.shared.lock();
            batch?
        } else {
            loop {
                if let Some(batch) = state.ready.remove(&wanted) {
                    break batch;
                }
                if state.alive == 0 {
                    break Err(Job::lost(wanted));
                }
                state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        state.wanted += 1;
        state.stopped = batch.is_err();
        changed.notify_all();
        Some(batch)
    }

    /// Batch `n` from here; those before it aren't loaded.
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        {
            let Shared { job, changed, .. } = &*self.shared;
            let mut state = self.shared.lock();
            state.wanted = state.wanted.saturating_add(n).min(job.batches.len());
            state.next = state.next.max(state.wanted);
            let wanted = state.wanted;
            state.ready.retain(|&batch, _| batch >= wanted);
            changed.notify_all();
        }
        self.next()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // What ended it was reported.
            let _ = worker.join();
        }
    }
}

/// Counts a worker as long as it lives, however it ends.
struct Alive(Arc<Shared>);

impl Alive {
    fn new(shared: Arc<Shared>) -> Self {
        shared.lock().alive += 1;
        Self(shared)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().alive -= 1;
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// Nothing that can panic runs under the lock, so a poisoned one is intact.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self) {
        loop {
            let mut state = self.lock();
            while !state.stopped && state.next >= state.wanted + self.job.ahead {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped || state.next >= self.job.batches.len() {
                return;
            }
            let index = state.next;
            state.next += 1;
            drop(state);

            let Some(batch) = self.job.guarded(index, &|| self.lock().stopped) else { return };
            let mut state = self.lock();
            if index >= state.wanted {
                state.ready.insert(index, batch);
            }
            drop(state);
            self.changed.notify_all();
        }
    }
}

impl Job {
    /// Batch `index`; none once `stopped`. A panic outside of what reads one sample is an error of the
    /// batch.
    fn guarded(
        &self,
        index: usize,
        stopped: &dyn Fn() -> bool,
    ) -> Option<Result<Batch, DataError>> {
        catch_unwind(AssertUnwindSafe(|| self.load(index, stopped))).unwrap_or_else(|panic| {
            let problem = format!("batch {index} panicked: {}", sentence(message(&*panic)));
            Some(Err(DataError::option("data set", problem, "This is a bug of the data set")))
        })
    }

    /// The error of a batch that nobody is left to load.
    fn lost(index: usize) -> DataError {
        let problem = format!("the threads that load pictures ended before batch {index}");
        DataError::option("workers", problem, "Ask for fewer, or for none with workers = 0")
    }

    fn load(&self, index: usize, stopped: &dyn Fn() -> bool) -> Option<Result<Batch, DataError>> {
        let rows = &self.batches[index];
        if let Err(error) = self.check(rows) {
            return Some(Err(error));
        }
        let mut batch =
            Batch { images: vec![], shape: [0; 4], labels: vec![], ids: vec![], views: self.views };
        let mut kept = Vec::with_capacity(rows.len());
        for (i, &(id, occurrence)) in rows.iter().enumerate() {
            if stopped() {
                return None;
            }
            match self.views(i, id, occurrence, rows.len(), &mut batch) {
                Ok(()) => kept.push(i),
                Err(Fault::Sample(error)) if self.dataset.skip(id, &error) => {}
                Err(Fault::Sample(error) | Fault::Batch(error)) => return Some(Err(error)),
            }
        }
        if kept.is_empty() && !self.may_be_empty {
            let problem = "none of this batch's images can be read".to_owned();
            return Some(Err(self.error(rows[0].0, problem, "Mend the data set's files")));
        } else if kept.is_empty() {
            (batch.images, batch.shape) = (Vec::new(), [0; 4]);
        } else if kept.len() < rows.len() {
            leave_only(&kept, rows.len(), &mut batch);
        }
        let ids = || kept.iter().map(|&i| rows[i].0);
        let labels = self.dataset.labels();
        batch.ids = ids().map(|id| id as i64).collect::<Vec<_>>().repeat(self.views);
        batch.labels = ids().map(|id| labels[id] as i64).collect::<Vec<_>>().repeat(self.views);
        Some(Ok(batch))
    }

    fn check(&self, rows: &[(usize, u32)]) -> Result<(), DataError> {
        let error =
            |option, problem: String, advice| Err(DataError::option(option, problem, advice));
        let len = self.dataset.len();
        if self.views == 0 || rows.is_empty() {
            let problem = format!("{} images in {} views make no batch", rows.len(), self.views);
            return error("views", problem, "Ask for at least one of each");
        }
        if !matches!(self.channels, 1 | 3) {
            let problem = format!("a picture cannot have {} channels", self.channels);
            return error("channels", problem, "Ask for 1 (grey) or 3 (colour)");
        }
        match rows.iter().find(|(id, _)| *id >= len) {
            Some((id, _)) => {
                let problem = format!("there is no sample {id}, the split has {len}");
                error("batches", problem, "Make the batches from the same split")
            }
            None => Ok(()),
        }
    }

    /// Puts all views of sample `id` into the batch of `n`, where it is the one numbered `i`. A panic in a
    /// data set or a transform is an error of this sample.
    fn views(
        &self,
        i: usize,
        id: usize,
        occurrence: u32,
        n: usize,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let rng = |view| augmentation_rng(self.seed, self.epoch, id, view, occurrence);
        let views = || {
            let picture = self.dataset.picture(id).map_err(Fault::Sample)?;
            if self.views == 1 {
                let image = self.transform.load(picture, &mut rng(0)).map_err(Fault::Sample)?;
                return self.put(&image.with_channels(self.channels), i, id, n, batch);
            }
            let image = picture.decode().map_err(Fault::Sample)?;
            for view in 0..self.views {
                let image = self.transform.apply(&image, &mut rng(view));
                self.put(&image.with_channels(self.channels), view * n + i, id, n, batch)?;
            }
            Ok(())
        };
        catch_unwind(AssertUnwindSafe(views)).unwrap_or_else(|panic| {
            let problem = format!("loading it panicked: {}", sentence(message(&*panic)));
            let advice = "This is a bug of the data set or of the augmentation";
            Err(Fault::Sample(self.error(id, problem, advice)))
        })
    }

    /// Puts one view into its row of the batch, which takes its shape from the first.
    fn put(
        &self,
        image: &Image,
        row: usize,
        id: usize,
        n: usize,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let &Image { width, height, .. } = image;
        if batch.images.is_empty() {
            let size = [self.views, n, self.channels, height, width];
            let bytes = size.iter().try_fold(1, |bytes: usize, &d| bytes.checked_mul(d));
            let bytes = bytes.filter(|&bytes| bytes <= MOST_BYTES);
            let images = bytes.and_then(zeros).ok_or_else(|| {
                let views = self.views;
                let problem = format!(
                    "{views} views of {n} images of {width}x{height} pixels in {} channels are more \
                     than a batch may hold ({MOST_BYTES} bytes), or than there is memory for",
                    self.channels
                );
                let advice = "Ask for fewer views, a smaller batch or smaller images";
                Fault::Batch(DataError::option("views", problem, advice))
            })?;
            batch.shape = [self.views * n, self.channels, height, width];
            batch.images = images;
        }
        let [_, _, rows, columns] = batch.shape;
        let size = image.pixels.len();
        if [rows, columns] != [height, width] || size == 0 {
            let is = format!("it is {width}x{height} pixels");
            let problem = match size {
                0 => format!("{is}, so there are none"),
                _ => format!("{is}, but this batch began with {columns}x{rows}"),
            };
            return Err(Fault::Batch(self.error(id, problem, "Resize the images to one size")));
        }
        planar(image, &mut batch.images[row * size..][..size]);
        Ok(())
    }

    fn error(&self, id: usize, problem: String, advice: &str) -> DataError {
        let sample = name(&self.dataset.describe(id));
        DataError::Sample { id, sample, problem, advice: advice.to_owned() }
    }
}

/// Why a sample isn't in its batch.
enum Fault {
    /// It can't be read, and may be left out.
    Sample(DataError),
    /// The batch can't be made.
    Batch(DataError),
}

/// So many zeros, if there is memory for them. (It is asked for first, because `vec!` ends the process
/// if there is none.)
fn zeros(bytes: usize) -> Option<Vec<u8>> {
    Vec::<u8>::new().try_reserve_exact(bytes).ok()?;
    Some(vec![0; bytes])
}

/// Removes all rows but `kept` of each view, which has `n`.
fn leave_only(kept: &[usize], n: usize, batch: &mut Batch) {
    let size: usize = batch.shape[1..].iter().product();
    let images = std::mem::take(&mut batch.images);
    for view in images.chunks_exact(n * size) {
        for i in kept {
            batch.images.extend_from_slice(&view[i * size..][..size]);
        }
    }
    batch.shape[0] = batch.views * kept.len();
}

/// `[height, width, channels]` to `[channels, height, width]`.
fn planar(image: &Image, output: &mut [u8]) {
    let channels = image.channels;
    if channels == 1 {
        output.copy_from_slice(&image.pixels);
        return;
    }
    for (c, plane) in output.chunks_exact_mut(image.width * image.height).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(image.pixels.chunks_exact(channels)) {
            *value = pixel[c];
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
