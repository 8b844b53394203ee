//! Progress on standard error: a bar on a terminal, a line an epoch elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use retort_core::trainer::{EpochReport, StepReport};
use std::io::IsTerminal as _;

/// What is being done, on a terminal only.
pub fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if std::io::stderr().is_terminal() {
        spinner.enable_steady_tick(std::time::Duration::from_millis(100));
        spinner
    } else {
        ProgressBar::hidden()
    }
}

/// The progress of one training.
#[derive(Debug)]
pub struct Progress {
    label: String,
    epochs: usize,
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// Starts to show a training; `quiet` shows nothing.
    pub fn new(label: &str, epochs: usize, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let style = "{prefix:32} {bar:24} {percent:>3}%  {msg}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_prefix(label.to_owned());
            bar
        });
        Progress { label: label.to_owned(), epochs, bar, quiet }
    }

    /// A log point.
    pub fn step(&mut self, report: &StepReport) {
        if let Some(bar) = &self.bar {
            bar.set_length(report.steps as u64);
            bar.set_position(report.step as u64);
            let rate = report.images_per_second;
            bar.set_message(format!("loss {:<9.4} {rate:>5.0} images/s", report.loss));
        }
    }

    /// The end of an epoch.
    pub fn epoch(&mut self, report: &EpochReport) {
        if self.quiet || self.bar.is_some() {
            return;
        }
        let recall = report.recall.as_ref().and_then(|r| r.iter().next());
        let recall = recall.map(|(k, r)| format!("  Recall@{k} {:.1} %", 100.0 * r));
        eprintln!(
            "{}: epoch {}/{}  loss {:.4}{}",
            self.label,
            report.epoch,
            self.epochs,
            report.loss,
            recall.unwrap_or_default()
        );
    }

    /// Clears the bar.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
