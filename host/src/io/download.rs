//! Downloads that go on where they stopped, and never leave a wrong file under its final name.

use crate::failure::{Failure, Result};
use crate::io::http::{Client, Trouble};
use indicatif::{ProgressBar, ProgressStyle};
use retort_core::fs::{atomic_write, open_regular};
use sha2::{Digest as _, Sha256};
use std::fs::{Metadata, OpenOptions};
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};

/// Attempts in a row that brought next to nothing, after which a download gives up.
const ATTEMPTS: u32 = 5;
/// Bytes that an attempt must bring to count, unless they are the last: or a server could make it go on
/// for ever, a byte at a time.
const PROGRESS: u64 = 1 << 16;
/// Bytes in [`Patience::silence`] that are as good as none.
const SLOWEST: u64 = 1 << 12;
/// Bytes of a file of which nobody said how large it is: twice the largest that retort fetches.
const LARGEST: u64 = 32 << 30;

/// How long a download waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Before the first new attempt.
    pub pause: Duration,
    /// Without a byte, or with next to none.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { pause: Duration::from_secs(1), silence: Duration::from_mins(1) }
    }
}

/// What a file must be, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// In bytes.
    pub size: Option<u64>,
    /// In hexadecimal digits.
    pub sha256: Option<&'a str>,
    /// Most bytes that it may have, where nobody said how many it has.
    pub most: Option<u64>,
}

/// Where a file is downloaded from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its address.
    pub url: &'a str,
    /// Who asks for it.
    pub client: &'a Client,
    /// What else the user can do, as the end of an error.
    pub otherwise: &'a str,
}

impl Expected<'_> {
    /// The file's SHA-256 if it is the right one; else what is wrong with it.
    pub fn check(&self, path: &Path) -> std::result::Result<String, String> {
        let mut file = open_regular(path).map_err(|e| e.to_string())?;
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        if let Some(want) = self.size.filter(|want| *want != size) {
            return Err(format!("it has {size} bytes, not {want}"));
        }
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).map_err(|e| e.to_string())?;
        let found = format!("{:x}", hash.finalize());
        match self.sha256 {
            Some(want) if want != found => Err(format!("its SHA-256 is {found}, not {want}")),
            _ => Ok(found),
        }
    }
}

/// A bar for a download, on a terminal only.
pub fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total.unwrap_or_default());
    let style = "{msg}  {bar:24}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar
}

/// Downloads to `target`, by way of `target.part`, which stays after an interruption: the next call
/// goes on from there if the server still has the same file. A connection that breaks or brings nothing
/// for too long is made again after a pause, twice as long each time that it brings nothing. No more than
/// the file's size is read, as far as it is known. Gives the file's SHA-256.
pub fn download(
    url: &str,
    target: &Path,
    expected: &Expected,
    bar: &ProgressBar,
    patience: Patience,
) -> Result<String> {
    let client = Client::anonymous(patience);
    let otherwise = "--url names another address, --from DIR takes files that you have";
    fetch(&Source { url, client: &client, otherwise }, target, expected, bar, patience)
}

/// The same by a client of one's own.
pub fn fetch(
    source: &Source,
    target: &Path,
    expected: &Expected,
    bar: &ProgressBar,
    patience: Patience,
) -> Result<String> {
    let folder = target.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = folder {
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))?;
    }
    let (part, url) = (Part::of(target, *source), source.url);
    part.forget_links(expected)?;
    let (mut idle, mut longest) = (0, part.length());
    while let Err(stop) = part.attempt(expected, bar, patience.silence) {
        let why = match stop {
            Stop::Retry(why) => why,
            Stop::End(failure) => return Err(failure),
        };
        let now = part.length();
        // The connection after a good one may be bad without counting.
        idle = if now >= longest + PROGRESS { 0 } else { idle + 1 };
        longest = longest.max(now);
        if idle >= ATTEMPTS {
            return Err(Failure::new(format!(
                "can't download {url}: {why}, {idle} times in a row. {now} bytes are kept in {}: the \
                 same command goes on from there",
                part.path.display()
            )));
        }
        std::thread::sleep(patience.pause * (1 << idle));
    }
    let found = expected.check(&part.path).map_err(|why| {
        part.remove();
        Failure::new(format!(
            "{url} isn't the file that was published: {why}. It was deleted; {}",
            source.otherwise
        ))
    })?;
    std::fs::rename(&part.path, target).map_err(|e| Failure::file("write", target, e))?;
    part.remove();
    Ok(found)
}

/// Why an attempt ended.
enum Stop {
    /// Another may go further.
    Retry(String),
    /// Another wouldn't.
    End(Failure),
}

/// A download that isn't finished.
struct Part<'a> {
    source: Source<'a>,
    path: PathBuf,
    /// The address, and which version of the file the server said it was.
    note: PathBuf,
}

impl<'a> Part<'a> {
    fn of(target: &Path, source: Source<'a>) -> Self {
        let with = |suffix: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Part { source, path: with(".part"), note: with(".part.version") }
    }

    fn length(&self) -> u64 {
        std::fs::symlink_metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Starts afresh where what is there isn't this download's: a link or another name of a file, which
    /// would be written through, or more than the file has.
    fn forget_links(&self, expected: &Expected) -> Result<()> {
        for path in [&self.path, &self.note] {
            let Ok(found) = std::fs::symlink_metadata(path) else { continue };
            let too_long = path == &self.path && expected.size.is_some_and(|n| found.len() > n);
            if found.is_file() && !is_shared(&found) && !too_long {
                continue;
            }
            std::fs::remove_file(path).map_err(|e| Failure::file("remove", path, e))?;
        }
        Ok(())
    }

    fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.note);
    }

    /// Where to go on, and the version that must still be there (none if the hash will tell).
    fn resume(&self, expected: &Expected) -> Option<(u64, Option<String>)> {
        let note = std::fs::read_to_string(&self.note).ok()?;
        let (url, version) = note.split_once('\n')?;
        let have = self.length();
        let known = !version.is_empty() || expected.sha256.is_some();
        (url == self.source.url && known && have > 0)
            .then(|| (have, (!version.is_empty()).then(|| version.to_owned())))
    }

    /// One request; reads until the file is whole or the connection breaks.
    fn attempt(
        &self,
        expected: &Expected,
        bar: &ProgressBar,
        silence: Duration,
    ) -> std::result::Result<(), Stop> {
        let (mut headers, resume) = (Vec::new(), self.resume(expected));
        let range = resume.as_ref().map(|(have, _)| format!("bytes={have}-"));
        if let (Some(range), Some((_, version))) = (&range, &resume) {
            headers.push(("Range", range.as_str()));
            headers.extend(version.as_ref().map(|version| ("If-Range", version.as_str())));
        }
        let have = resume.as_ref().map_or(0, |(have, _)| *have);
        let Source { url, client, .. } = self.source;
        let response = client.send("GET", url, &headers, None).map_err(|e| self.broken(e))?;
        let (status, headers) = (response.status(), response.headers());
        let range = header(headers, "content-range");
        let have = match status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if range.starts_with(&format!("bytes {have}-")) => have,
            StatusCode::RANGE_NOT_SATISFIABLE if range == format!("bytes */{have}") => {
                return Ok(());
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.remove();
                return Err(Stop::Retry("the server has another range than asked for".to_owned()));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Stop::Retry(format!("the server answers {status}")));
            }
            status => return Err(self.end(&format!("the server answers {status}"))),
        };
        if header(headers, "content-type").starts_with("text/html") {
            return Err(self.end("the server sends a web page in place of the file"));
        }
        let total = total(response.body(), have);
        if let (Some(total), Some(size)) = (total, expected.size)
            && total != size
        {
            let why = format!("the server has {total} bytes, and the file has {size}");
            return Err(self.end(&why));
        }
        let most = expected.most.unwrap_or(LARGEST);
        if let Some(total) = total.filter(|&total| total > most) {
            return Err(self.end(&format!("the server claims {total} bytes, more than {most}")));
        }
        // A weak tag doesn't promise the same bytes.
        let tag = header(headers, "etag");
        let tag = if tag.starts_with("W/") { "" } else { tag };
        let version = if tag.is_empty() { header(headers, "last-modified") } else { tag };
        let note = format!("{}\n{version}", self.source.url);
        atomic_write(&self.note, note.as_bytes()).map_err(|e| self.unwritable(&e.source))?;
        self.receive(response, have, expected, bar, silence)
    }

    fn receive(
        &self,
        response: Response<Body>,
        have: u64,
        expected: &Expected,
        bar: &ProgressBar,
        silence: Duration,
    ) -> std::result::Result<(), Stop> {
        let body = response.into_body();
        let total = total(&body, have);
        let most = expected.size.or(total).or(expected.most).unwrap_or(LARGEST);
        let mut options = OpenOptions::new();
        if have > 0 {
            options.append(true);
        } else {
            // A new file, whatever may have been put in its place.
            let _ = std::fs::remove_file(&self.path);
            options.write(true).create_new(true);
        }
        let mut file = options.open(&self.path).map_err(|e| self.unwritable(&e))?;
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(have);
        let mut reader = body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 17];
        let mut done = have;
        let mut mark = (Instant::now(), done);
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Stop::Retry(format!("the connection broke ({e})"))),
            };
            done += n as u64;
            if done > most {
                drop(file);
                self.remove();
                let why = match expected.size.or(total) {
                    Some(_) => format!("the server sends more than the file's {most} bytes"),
                    None => format!("the server sends more than {most} bytes, and no size"),
                };
                return Err(self.end(&why));
            }
            file.write_all(&buffer[..n]).map_err(|e| self.unwritable(&e))?;
            bar.set_position(done);
            if mark.0.elapsed() >= silence {
                if done < mark.1 + SLOWEST {
                    return Err(Stop::Retry("the server sends next to nothing".to_owned()));
                }
                mark = (Instant::now(), done);
            }
        }
        file.sync_all().map_err(|e| self.unwritable(&e))?;
        match total.or(expected.size) {
            Some(total) if done < total => {
                Err(Stop::Retry(format!("the connection ended after {done} of {total} bytes")))
            }
            _ => Ok(()),
        }
    }

    fn broken(&self, trouble: Trouble) -> Stop {
        let error = match trouble {
            Trouble::Network(error) => error,
            Trouble::Refused(failure) => return Stop::End(failure),
        };
        match error {
            // Who can't show who they are won't a second time.
            ureq::Error::Io(ref e) if e.kind() == ErrorKind::InvalidData => {
                Stop::End(Trouble::Network(error).at(self.source.url))
            }
            ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => {
                Stop::Retry(error.to_string())
            }
            ureq::Error::Protocol(_) => Stop::Retry(format!("its answer makes no sense ({error})")),
            other => self.end(&other.to_string()),
        }
    }

    fn end(&self, why: &str) -> Stop {
        let Source { url, otherwise, .. } = self.source;
        Stop::End(Failure::new(format!("can't download {url}: {why}. {otherwise}")))
    }

    fn unwritable(&self, error: &std::io::Error) -> Stop {
        Stop::End(Failure::new(format!(
            "can't write {}: {error}. What is there stays; the same command goes on from it",
            self.path.display()
        )))
    }
}

/// Bytes of the whole file, if the server says it.
fn total(body: &Body, have: u64) -> Option<u64> {
    body.content_length().map(|length| have.saturating_add(length))
}

/// Whether a file has another name, too.
#[cfg(unix)]
fn is_shared(file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.nlink() > 1
}

#[cfg(not(unix))]
fn is_shared(_: &Metadata) -> bool {
    false
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
