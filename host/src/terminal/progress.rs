//! Progress on standard error: a bar or a dashboard on a terminal, a line an epoch elsewhere. None of it
//! is worth a run: what can't be shown isn't.

#[cfg(unix)]
use super::dashboard;
use crate::terminal::{clean, output};
use indicatif::{ProgressBar, ProgressStyle};
use retort_core::trainer::{EpochReport, StepReport};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether trainings draw the dashboard: a property of the terminal, of which there is one.
static DASHBOARD: AtomicBool = AtomicBool::new(false);

/// Shows trainings as a dashboard from now on, if there is a terminal for it.
pub fn use_dashboard() {
    let terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
    DASHBOARD.store(cfg!(unix) && terminal, Ordering::Relaxed);
}

/// Gives the screen back, before the program ends without unwinding.
pub fn leave() {
    if DASHBOARD.load(Ordering::Relaxed) {
        let _ = output::Quiet::stderr().write_all(b"\x1b[?1049l\x1b[?25h");
    }
}

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

/// How a training is shown.
#[derive(Debug)]
enum Show {
    Nothing,
    Lines,
    Bar(ProgressBar),
    #[cfg(unix)]
    Dashboard(Box<dashboard::Dashboard>),
}

/// The progress of one training.
#[derive(Debug)]
pub struct Progress {
    label: String,
    epochs: usize,
    show: Show,
}

impl Progress {
    /// Starts to show a training; `quiet` shows nothing.
    pub fn new(label: &str, epochs: usize, quiet: bool) -> Self {
        let label = clean::line(label).into_owned();
        let show = if quiet { Show::Nothing } else { Show::new(&label, epochs) };
        Progress { label, epochs, show }
    }

    /// A log point.
    pub fn step(&mut self, report: &StepReport) {
        match &mut self.show {
            Show::Nothing | Show::Lines => {}
            Show::Bar(bar) => {
                bar.set_length(report.steps as u64);
                bar.set_position(report.step as u64);
                let rate = report.images_per_second;
                let loss = output::short(report.loss);
                bar.set_message(format!("loss {loss:<9} {rate:>5.0} images/s"));
            }
            #[cfg(unix)]
            Show::Dashboard(dashboard) => dashboard.step(report),
        }
    }

    /// The end of an epoch.
    pub fn epoch(&mut self, report: &EpochReport) {
        match &mut self.show {
            Show::Nothing | Show::Bar(_) => {}
            Show::Lines => {
                let recall = report.recall.as_ref().and_then(|r| r.iter().next());
                let recall = recall.map(|(k, r)| format!("  Recall@{k} {:.1} %", 100.0 * r));
                output::say(format_args!(
                    "{}: epoch {}/{}  loss {}{}",
                    self.label,
                    report.epoch,
                    self.epochs,
                    output::short(report.loss),
                    recall.unwrap_or_default()
                ));
            }
            #[cfg(unix)]
            Show::Dashboard(dashboard) => dashboard.epoch(report),
        }
    }

    /// A sentence that stays.
    pub fn remark(&self, text: &str) {
        match &self.show {
            Show::Bar(bar) => bar.suspend(|| output::say(text)),
            _ => output::say(text),
        }
    }

    /// Clears what was drawn.
    pub fn end(&mut self) {
        if let Show::Bar(bar) = std::mem::replace(&mut self.show, Show::Nothing) {
            bar.finish_and_clear();
        }
    }
}

impl Show {
    fn new(label: &str, epochs: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Show::Lines;
        }
        #[cfg(unix)]
        if DASHBOARD.load(Ordering::Relaxed)
            && let Ok(dashboard) = dashboard::Dashboard::new(label, epochs)
        {
            return Show::Dashboard(Box::new(dashboard));
        }
        let bar = ProgressBar::new(0);
        let style = "{prefix:32} {bar:24} {percent:>3}%  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_prefix(label.to_owned());
        Show::Bar(bar)
    }
}
