//! A training as a full-screen dashboard. It only draws: keys do what they always do, so Ctrl-C
//! stops after saving.

use crate::html::plot::bounds;
use crate::terminal::output::{Quiet, colours};
use crate::terminal::{clean, output};
use ratatui::backend::TermionBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};
use retort_core::trainer::{EpochReport, StepReport};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use termion::screen::{AlternateScreen, IntoAlternateScreen as _};

/// What is shown, and where.
pub struct Dashboard {
    /// None after a failure to draw.
    terminal: Option<Terminal<TermionBackend<AlternateScreen<Quiet>>>>,
    state: State,
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").finish_non_exhaustive()
    }
}

/// What is known of the training.
struct State {
    label: String,
    epochs: usize,
    since: Instant,
    step: Option<StepReport>,
    losses: Vec<(f64, f64)>,
    evaluations: Vec<(usize, Vec<(usize, f64)>)>,
    colours: bool,
}

impl Dashboard {
    /// Takes the screen.
    pub fn new(label: &str, epochs: usize) -> std::io::Result<Self> {
        let backend = TermionBackend::new(Quiet::stderr().into_alternate_screen()?);
        let mut terminal = Terminal::new(backend)?;
        terminal.hide_cursor()?;
        let state = State {
            label: label.to_owned(),
            epochs,
            since: Instant::now(),
            step: None,
            losses: Vec::new(),
            evaluations: Vec::new(),
            colours: colours(),
        };
        Ok(Dashboard { terminal: Some(terminal), state })
    }

    /// A log point.
    pub fn step(&mut self, report: &StepReport) {
        if report.loss.is_finite() {
            self.state.losses.push((report.step as f64, report.loss));
        }
        self.state.step = Some(report.clone());
        self.draw();
    }

    /// The end of an epoch.
    pub fn epoch(&mut self, report: &EpochReport) {
        if let Some(recall) = &report.recall {
            let recall = recall.iter().map(|(k, r)| (*k, *r)).collect();
            self.state.evaluations.push((report.epoch, recall));
        }
        self.draw();
    }

    fn draw(&mut self) {
        let Some(terminal) = &mut self.terminal else { return };
        let state = &self.state;
        // A terminal that went away, or can't be drawn on, is no reason to stop a training.
        let drawn = catch_unwind(AssertUnwindSafe(|| drop(terminal.draw(|f| state.draw(f)))));
        if drawn.is_err() {
            self.leave();
        }
    }

    /// Gives the screen back.
    fn leave(&mut self) {
        if let Some(mut terminal) = self.terminal.take() {
            let _ = terminal.show_cursor();
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.leave();
    }
}

impl State {
    fn draw(&self, frame: &mut Frame) {
        let rows = [Constraint::Length(3), Constraint::Min(8), Constraint::Length(9)];
        let [top, middle, bottom] = Layout::vertical(rows).areas(frame.area());
        self.progress(frame, top);
        self.curve(frame, middle);
        let [terms, facts] =
            Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)])
                .areas(bottom);
        self.terms(frame, terms);
        self.facts(frame, facts);
    }

    fn accent(&self) -> Style {
        if self.colours { Style::new().fg(Color::Cyan) } else { Style::new() }
    }

    fn progress(&self, frame: &mut Frame, area: Rect) {
        let (done, all) = self.step.as_ref().map_or((0, 1), |s| (s.step, s.steps.max(1)));
        let share = (done as f64 / all as f64).clamp(0.0, 1.0);
        let gauge = Gauge::default()
            .block(Block::bordered().title(format!(" {} ", self.label)))
            .gauge_style(self.accent())
            .ratio(share)
            .label(format!("{:.0} %  {}", 100.0 * share, self.left(share)));
        frame.render_widget(gauge, area);
    }

    fn left(&self, share: f64) -> String {
        if share <= 0.0 {
            return String::new();
        }
        let left = self.since.elapsed().as_secs_f64() * (1.0 - share) / share;
        format!("{} left", duration(left))
    }

    fn curve(&self, frame: &mut Frame, area: Rect) {
        let (low, high) = bounds(self.losses.iter().map(|p| p.1));
        let last = self.step.as_ref().map_or(1, |s| s.steps) as f64;
        let data = Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(self.accent())
            .data(&self.losses);
        let chart = Chart::new(vec![data])
            .block(Block::bordered().title(" loss "))
            .x_axis(Axis::default().bounds([0.0, last]).labels(["0".to_owned(), format!("{last}")]))
            .y_axis(Axis::default().bounds([low, high]).labels([low, high].map(output::short)));
        frame.render_widget(chart, area);
    }

    fn terms(&self, frame: &mut Frame, area: Rect) {
        let number = |x: Option<&f64>| x.map_or_else(String::new, |x| output::short(*x));
        let rows = self.step.iter().flat_map(|s| {
            let sum = ["sum".to_owned(), String::new(), output::short(s.loss)];
            let of = move |(name, x): (&String, &f64)| {
                let weighted = number(s.terms.get(name));
                [clean::line(name).into_owned(), output::short(*x), weighted]
            };
            std::iter::once(sum).chain(s.values.iter().map(of))
        });
        let widths = [Constraint::Fill(1), Constraint::Length(11), Constraint::Length(11)];
        let table = Table::new(rows.map(Row::new), widths)
            .header(Row::new(["", "value", "x weight"]))
            .block(Block::bordered().title(" losses "));
        frame.render_widget(table, area);
    }

    fn facts(&self, frame: &mut Frame, area: Rect) {
        let mut lines = Vec::new();
        if let Some(step) = &self.step {
            lines.push(Line::from(format!(
                "epoch {}/{}   step {}/{}   learning rate {:.2e}",
                step.epoch, self.epochs, step.step, step.steps, step.lr
            )));
            lines.push(Line::from(format!("{:.0} images/s", step.images_per_second)));
        }
        if let Some(bytes) = memory() {
            lines.push(Line::from(format!("{:.2} GiB of memory", bytes / f64::from(1 << 30))));
        }
        lines.push(Line::from(format!("{} so far", duration(self.since.elapsed().as_secs_f64()))));
        for (epoch, recall) in self.evaluations.iter().rev().take(3) {
            let recall: Vec<String> =
                recall.iter().map(|(k, r)| format!("@{k} {:.1} %", 100.0 * r)).collect();
            let line = Line::from(format!("epoch {epoch}: Recall {}", recall.join("  ")));
            lines.push(if self.colours { line.bold() } else { line });
        }
        frame.render_widget(Paragraph::new(lines).block(Block::bordered()), area);
    }
}

fn duration(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    indicatif::HumanDuration(duration).to_string()
}

/// Bytes of this process in memory, where the system tells.
fn memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(1024.0 * kilobytes)
}
