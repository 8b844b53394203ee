//! How a run's numbers went: the lines of `metrics.jsonl`, which may be very many.

use crate::failure::{Failure, Result};
use crate::io::regular;
use crate::run::folder::METRICS;
use crate::run::line::{Epoch, Line, why};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Most bytes of a line: no training writes longer ones.
const LINE: u64 = 1 << 20;
/// Most lines of a kind that are kept, and their most bytes: more are thinned out.
const KEPT: usize = 20_000;
const BYTES: usize = 32 << 20;

/// The lines of a run's metrics, each with its text, whose numbers have all digits. A last line that was
/// cut off is none.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    /// None without the file, and after an error.
    file: Option<BufReader<File>>,
    number: usize,
}

impl Lines {
    /// Those in a run's folder.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(METRICS);
        let file = match regular::open(&path) {
            Ok(file) => Some(BufReader::new(file)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Failure::file("read", &path, e)),
        };
        Ok(Lines { path, file, number: 0 })
    }

    fn read(&mut self) -> std::result::Result<Option<(String, Line)>, String> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(LINE + 1).read_until(b'\n', &mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() as u64 > LINE {
            return Err(format!("it has more than {LINE} bytes"));
        }
        let whole = bytes.pop_if(|last| *last == b'\n').is_some();
        match serde_json::from_slice(&bytes) {
            Ok(line @ Value::Object(_)) => {
                let line = Line::read(line).map_err(|e| why(&e))?;
                Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), line)))
            }
            _ if !whole => Ok(None),
            Ok(_) => Err("it is no JSON object".to_owned()),
            Err(e) => Err(why(&e)),
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(String, Line)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.number += 1;
        let line = self.read();
        if !matches!(line, Ok(Some(_))) {
            self.file = None;
        }
        let (path, number) = (self.path.display(), self.number);
        let failure = |why| {
            Failure::new(format!(
                "{path}, line {number}: {why}; no training wrote it: delete the line"
            ))
        };
        line.map_err(failure).transpose()
    }
}

/// What a run's metrics come to.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Log points and ends of epochs; of very many an even choice, with the last.
    pub lines: Vec<Line>,
    /// Epochs that are done.
    pub epochs: usize,
    /// The best evaluation's epoch, its Recall at the smallest K, and the split it was made on.
    pub best: Option<(usize, f64, String)>,
}

impl Course {
    /// Reads it from a run's folder.
    pub fn read(dir: &Path) -> Result<Self> {
        let (mut course, mut steps, mut epochs) = (Course::default(), Thin::new(), Thin::new());
        for (number, line) in Lines::open(dir)?.enumerate() {
            let (text, line) = line?;
            if let Line::Epoch(epoch) = &line {
                course.add(epoch);
                epochs.add(number, text.len(), line);
            } else {
                steps.add(number, text.len(), line);
            }
        }
        let mut lines: Vec<(usize, Line)> = steps.end().chain(epochs.end()).collect();
        lines.sort_by_key(|(number, _)| *number);
        course.lines = lines.into_iter().map(|(_, line)| line).collect();
        Ok(course)
    }

    fn add(&mut self, line: &Epoch) {
        self.epochs = self.epochs.max(line.epoch);
        if let Some(value) = line.first_recall()
            && self.best.as_ref().is_none_or(|(_, most, _)| value > *most)
        {
            let split = line.split.as_deref().unwrap_or("test");
            self.best = Some((line.epoch, value, split.to_owned()));
        }
    }

    /// The weighted sum of the losses at the log points.
    pub fn losses(&self) -> Vec<f64> {
        let loss = |line: &Line| match line {
            Line::Step(line) => line.loss,
            Line::Epoch(_) => None,
        };
        self.lines.iter().filter_map(loss).collect()
    }

    /// Recall at the smallest K, of the epochs that were evaluated.
    pub fn recalls(&self) -> Vec<f64> {
        self.lines.iter().filter_map(|line| line.epoch()?.first_recall()).collect()
    }
}

/// Lines with their numbers: every one, or of very many every second, fourth, and so on.
struct Thin {
    every: usize,
    seen: usize,
    bytes: usize,
    kept: Vec<(usize, Line)>,
    /// The last one, if it isn't kept.
    last: Option<(usize, Line)>,
}

impl Thin {
    fn new() -> Self {
        Thin { every: 1, seen: 0, bytes: 0, kept: Vec::new(), last: None }
    }

    fn add(&mut self, number: usize, bytes: usize, line: Line) {
        self.seen += 1;
        self.last = None;
        if !(self.seen - 1).is_multiple_of(self.every) {
            self.last = Some((number, line));
            return;
        }
        self.kept.push((number, line));
        self.bytes += bytes;
        if self.kept.len() > KEPT || self.bytes > BYTES && self.kept.len() > 2 {
            let mut even = false;
            self.last = self.kept.last().cloned().filter(|_| self.kept.len().is_multiple_of(2));
            self.kept.retain(|_| {
                even = !even;
                even
            });
            (self.every, self.bytes) = (2 * self.every, self.bytes / 2);
        }
    }

    fn end(self) -> impl Iterator<Item = (usize, Line)> {
        self.kept.into_iter().chain(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::{Course, KEPT, Lines};
    use std::fmt::Write as _;

    fn folder(metrics: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("metrics.jsonl"), metrics).unwrap();
        dir
    }

    #[test]
    fn very_many_lines_are_thinned_evenly_and_counted_all() {
        let (n, mut text) = (5 * KEPT + 3, String::new());
        for i in 0..n {
            writeln!(text, "{{\"step\":{i},\"loss\":{i}}}").unwrap();
            let recall = if i == 77_777 { 0.9 } else { 0.1 };
            writeln!(text, "{{\"epoch\":{i},\"mean_loss\":1,\"recall\":{{\"1\":{recall}}}}}")
                .unwrap();
        }
        let course = Course::read(folder(&text).path()).unwrap();
        assert_eq!(course.epochs, n - 1);
        assert_eq!(course.best, Some((77_777, 0.9, "test".to_owned())));
        let steps = course.losses();
        assert!((KEPT / 2..=KEPT + 1).contains(&steps.len()), "{}", steps.len());
        assert!(
            steps[..steps.len() - 1].windows(2).all(|w| w[1].total_cmp(&(w[0] + steps[1])).is_eq())
        );
        assert_eq!((steps[0], steps[steps.len() - 1]), (0.0, n as f64 - 1.0));
        let few = "{\"step\":1,\"loss\":2}\n{\"epoch\":1,\"mean_loss\":3}\n{\"step\":2,\"lo";
        let course = Course::read(folder(few).path()).unwrap();
        assert_eq!((course.lines.len(), course.epochs, course.best), (2, 1, None));
    }

    #[test]
    fn a_line_that_no_training_wrote_is_named() {
        let good = "{\"step\":1,\"loss\":2}\n";
        let long = format!("{good}{{\"a\":\"{}\"}}\n", "x".repeat(2 << 20));
        let deep = format!("{good}{{\"a\":{}\n", "[".repeat(100_000));
        for (text, part) in [
            (long.as_str(), "line 2: it has more than 1048576 bytes"),
            (deep.as_str(), "line 2: recursion limit exceeded"),
            ("[1]\n", "line 1: it is no JSON object"),
            ("{\"step\":1}\n\n{\"step\":2}\n", "line 2: EOF"),
        ] {
            let read: Result<Vec<_>, _> = Lines::open(folder(text).path()).unwrap().collect();
            let message = read.unwrap_err().message;
            assert!(message.contains(part), "{message}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lines::open(dir.path()).unwrap().count(), 0);
    }
}
