//! What the targets share: random numbers, blind mutations, and a driver that counts time, memory and
//! panics.

pub mod headers;
pub mod lists;
pub mod matlab;
pub mod pickles;
pub mod pictures;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// The system's allocator, counting.
pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn took(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

fn gave(bytes: usize) {
    HELD.fetch_sub(bytes, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe; this one hands on to the system's")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while one is copied into the other.
        took(size);
        gave(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Random numbers: splitmix64.
pub struct Rng(u64);

impl Rng {
    /// A stream for one case.
    pub fn of(seed: u64, case: u64) -> Self {
        let mut rng = Rng(seed ^ case.wrapping_mul(0xd134_2543_de82_ef95));
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 if that is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A number that programs stumble over, or a small one.
    pub fn number(&mut self) -> u64 {
        const ODD: [u64; 20] = [
            0,
            1,
            2,
            3,
            7,
            8,
            127,
            128,
            255,
            256,
            32_767,
            65_535,
            65_536,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 40,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX,
        ];
        match self.below(3) {
            0 => *self.pick(&ODD),
            1 => self.next() % 16,
            _ => self.next() >> self.below(64),
        }
    }
}

/// Largest input.
const LARGEST: usize = 1 << 20;

/// Changes bytes without knowing what they mean, a few times.
pub fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let n = bytes.len();
        let at = rng.below(n + 1);
        let length = 1 + rng.below(rng.0 as usize % 64 + 1);
        let end = (at + length).min(n);
        match rng.below(11) {
            0..=2 if n > 0 => bytes[at.min(n - 1)] ^= 1 << rng.below(8),
            3 if n > 0 => bytes[at.min(n - 1)] = rng.next() as u8,
            4 | 5 => {
                let width = *rng.pick(&[1, 2, 4, 8]);
                let number = rng.number();
                let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
                let new = if rng.one_in(2) { &little[..width] } else { &big[8 - width..] };
                let end = (at + width).min(n);
                bytes[at..end].copy_from_slice(&new[..end - at]);
            }
            6 => {
                bytes.drain(at..end);
            }
            7 => {
                let part = bytes[at..end].to_vec();
                let to = rng.below(n + 1);
                bytes.splice(to..to, part);
            }
            8 => {
                let new: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
                bytes.splice(at..at, new);
            }
            9 => match rng.below(8) {
                0 => bytes.truncate(at),
                1 => {
                    // A part again and again.
                    let part = bytes[at..end].to_vec();
                    let times = 1 << rng.below(14);
                    bytes.splice(end..end, part.repeat(times));
                }
                _ => {}
            },
            _ if !others.is_empty() => {
                let other = rng.pick(others);
                let from = rng.below(other.len() + 1);
                let part = &other[from..(from + 8 * length).min(other.len())];
                bytes.splice(at..end, part.iter().copied());
            }
            _ => {}
        }
        bytes.truncate(LARGEST);
    }
}

/// Makes an input, with the seeds at hand.
pub type Make<'a> = dyn Fn(&mut Rng, &[Vec<u8>]) -> Vec<u8> + 'a;
/// Uses an input, in a folder.
pub type Run<'a> = dyn Fn(&[u8], &Path) -> Result<(), String> + 'a;

/// What is fuzzed.
pub struct Target<'a> {
    pub name: &'static str,
    /// Bytes that one input may make the program hold.
    pub memory: usize,
    /// Valid files, and those that once were findings. Each runs first as it is.
    pub seeds: Vec<Vec<u8>>,
    /// An input.
    pub make: &'a Make<'a>,
    /// Uses it, in a folder that is its own; gives the error if it was refused.
    pub run: &'a Run<'a>,
}

/// How long one input may take.
const SLOWEST: Duration = Duration::from_secs(5);
/// After so many seconds it won't end.
const HANGS: u64 = 60;

/// One target at a time: the counts are the whole process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics so far.
struct Panics {
    by_place: BTreeMap<String, usize>,
    newest: String,
}

static PANICS: Mutex<Panics> =
    Mutex::new(Panics { by_place: BTreeMap::new(), newest: String::new() });

fn panics() -> MutexGuard<'static, Panics> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the first target began.
static START: Mutex<Option<Instant>> = Mutex::new(None);
/// When the input that runs began, in seconds since `START`; 0 if none runs.
static BEGAN: AtomicU64 = AtomicU64::new(0);
/// What to say if it never ends.
static RUNNING: Mutex<String> = Mutex::new(String::new());

fn prepare(start: Instant) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let mut panics = panics();
            *panics.by_place.entry(place).or_default() += 1;
            panics.newest = info.to_string();
        }));
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let began = BEGAN.load(Ordering::SeqCst);
                if began > 0 && start.elapsed().as_secs() + 1 > began + HANGS {
                    let what = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!("{what} doesn't end");
                    std::process::abort();
                }
            }
        });
    });
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Runs a target for `RETORT_FUZZ_SECONDS` of computing (3 seconds without), with the inputs of
/// `RETORT_FUZZ_SEED` (1), or only with input `RETORT_FUZZ_CASE`.
pub fn fuzz(target: &Target) {
    let _alone = alone();
    let start =
        *START.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    prepare(start);
    // In the suite by the clock, or it could take long; by hand in seconds of computing.
    let asked = env("RETORT_FUZZ_SECONDS").map(Duration::from_secs);
    let computed = cpu_time();
    let (seed, only) = (env("RETORT_FUZZ_SEED").unwrap_or(1), env("RETORT_FUZZ_CASE"));
    // In memory, where there is such a folder.
    let memory = Some(Path::new("/dev/shm")).filter(|folder| folder.is_dir());
    let dir = tempfile::tempdir_in(memory.map_or_else(std::env::temp_dir, Path::to_owned));
    let dir = dir.unwrap_or_else(|e| panic!("{e}"));
    let begun = Instant::now();
    let mut shown = begun;
    let (mut runs, mut refused, mut slowest, mut largest) = (0_u64, 0_u64, Duration::ZERO, 0);
    let mut findings: BTreeMap<String, String> = BTreeMap::new();
    let caught_before = panics().by_place.clone();
    let cases = only.map_or(0..u64::MAX, |case| case..case + 1);
    for case in cases {
        // The first are the seeds as they are.
        let input = match target.seeds.get(case as usize) {
            Some(seed) => seed.clone(),
            None => (target.make)(&mut Rng::of(seed, case), &target.seeds),
        };
        let repeat = format!(
            "case {case} of seed {seed}; RETORT_FUZZ_SEED={seed} RETORT_FUZZ_CASE={case} cargo test \
             --workspace --test fuzz_files {} repeats it",
            target.name
        );
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&repeat);
        let held = HELD.load(Ordering::Relaxed);
        PEAK.store(held, Ordering::Relaxed);
        BEGAN.store(start.elapsed().as_secs() + 1, Ordering::SeqCst);
        let (now, cpu) = (Instant::now(), cpu_time());
        let result = catch_unwind(AssertUnwindSafe(|| (target.run)(&input, dir.path())));
        // On a busy machine the clock says little; what waits without computing is caught by the watch.
        let took = now.elapsed().min(cpu_time().saturating_sub(cpu) + Duration::from_millis(10));
        BEGAN.store(0, Ordering::SeqCst);
        let peak = PEAK.load(Ordering::Relaxed).saturating_sub(held);
        runs += 1;
        (slowest, largest) = (slowest.max(took), largest.max(peak));
        let mut found = |what: String| {
            let file = save(target.name, case, &input);
            findings.entry(what).or_insert(format!("{repeat}; {}", file.display()));
        };
        match result {
            Err(_) => found(panics().newest.clone()),
            Ok(Err(message)) if message.contains('\n') || message.len() > 4096 => {
                let start: String = message.chars().take(200).collect();
                found(format!("an error of more than one line, or of thousands: {start:?}"));
            }
            Ok(Err(message)) => {
                refused += 1;
                if only.is_some() {
                    println!("refused: {message}");
                }
            }
            Ok(Ok(())) => {}
        }
        if took > SLOWEST {
            found("it takes more than 5 seconds".to_owned());
        }
        if peak > target.memory {
            found(format!("it takes more than {} MiB", target.memory >> 20));
        }
        let enough = match asked {
            None => begun.elapsed() >= Duration::from_secs(3),
            Some(asked) => case % 16 == 0 && cpu_time().saturating_sub(computed) >= asked,
        };
        if enough && only.is_none() && case as usize >= target.seeds.len() {
            break;
        }
        if findings.len() >= 20 {
            break;
        }
        // For those who wait for hours.
        if asked.is_some() && shown.elapsed() > Duration::from_mins(5) {
            shown = Instant::now();
            let (cpu, found) = (cpu_time().saturating_sub(computed), findings.len());
            println!("{}: {runs} inputs, {cpu:?} of computing, {found} findings", target.name);
        }
    }
    let mut caught = panics().by_place.clone();
    for (place, n) in caught_before {
        if let Some(m) = caught.get_mut(&place) {
            *m -= n;
        }
    }
    caught.retain(|_, n| *n > 0);
    println!(
        "{}: seed {seed}, {runs} inputs in {:?} ({:?} of computing), {refused} refused, {} findings; the slowest took \
         {slowest:?}, the largest {} MiB; panics by place (caught, but for findings): {caught:?}",
        target.name,
        begun.elapsed(),
        cpu_time().saturating_sub(computed),
        findings.len(),
        largest >> 20
    );
    for (what, repeat) in &findings {
        println!("{}: FINDING: {what}; {repeat}", target.name);
    }
    assert!(findings.is_empty(), "{} findings of {}", findings.len(), target.name);
}

/// What the process computed so far, where the system says it, to a hundredth of a second; else the time
/// since the first target began.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // After the name in brackets, the 12th and 13th: time of the process and of the system for it.
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(own), Some(system)) => Duration::from_millis(10 * (own + system)),
        _ => START
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Duration::ZERO, |start| start.elapsed()),
    }
}

/// Keeps a finding's input.
fn save(name: &str, case: u64, input: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join("retort-findings");
    let file = folder.join(format!("{name}-{case}"));
    let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
    file
}

/// The files of a folder of the corpus, and of others.
pub fn seeds(folders: &[&str]) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
        if let Ok(entries) = std::fs::read_dir(folder) {
            files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
    }
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}
