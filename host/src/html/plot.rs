//! Plots as SVG, in the colours of the page around them.

use maud::{Markup, html};

/// A named curve.
pub struct Curve<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// Colours there are: classes `c0` … of the style sheet; more curves begin again.
pub const COLOURS: usize = 12;

// Drawn at about the size it is shown at, so that text keeps its size on a phone.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 38.0;
const TOP: f64 = 10.0;

/// Most points of a curve that tell their values.
const MARKS: usize = 60;

/// From values to places in the drawing.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn x(&self, v: f64) -> f64 {
        LEFT + share(v, self.x) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, v: f64) -> f64 {
        HEIGHT - BOTTOM - share(v, self.y) * (HEIGHT - BOTTOM - TOP)
    }

    /// A point of a line.
    fn point(&self, x: f64, y: f64) -> String {
        format!("{:.1},{:.1}", self.x(x), self.y(y))
    }

    /// The grid with its numbers and the label of the horizontal axis.
    fn grid(&self, x_label: &str, y_numbers: bool) -> Markup {
        html! {
            @for tick in ticks(self.x.0, self.x.1) {
                @let x = at(self.x(tick));
                line.grid x1=(x) x2=(x) y1=(TOP) y2=(at(HEIGHT - BOTTOM)) {}
                text x=(x) y=(at(HEIGHT - BOTTOM + 15.0)) text-anchor="middle" { (short(tick)) }
            }
            @for tick in ticks(self.y.0, self.y.1).into_iter().filter(|_| y_numbers) {
                @let y = self.y(tick);
                line.grid x1=(LEFT) x2=(at(WIDTH - RIGHT)) y1=(at(y)) y2=(at(y)) {}
                text x=(at(LEFT - 6.0)) y=(at(y + 4.0)) text-anchor="end" { (short(tick)) }
            }
            text x=(at(f64::midpoint(LEFT, WIDTH - RIGHT))) y=(at(HEIGHT - 5.0)) text-anchor="middle" {
                (x_label)
            }
        }
    }

    /// A curve; a point alone is a dot.
    fn curve(&self, curve: &Curve, colour: usize) -> Markup {
        let points: Vec<_> = curve.points.iter().filter(|p| is_finite(p)).collect();
        let line: Vec<String> = points.iter().map(|(x, y)| self.point(*x, *y)).collect();
        html! {
            @if let [(x, y)] = points.as_slice() {
                circle class={ "dot c" (colour) } cx=(at(self.x(*x))) cy=(at(self.y(*y))) r="3" {}
            }
            polyline class={ "curve c" (colour) } points=(line.join(" ")) {}
        }
    }

    /// What tells a curve's values where it is pointed at.
    fn marks(&self, curve: &Curve, colour: usize, x_label: &str) -> Markup {
        let every = curve.points.len().div_ceil(MARKS).max(1);
        let last = curve.points.len().saturating_sub(1);
        let marked = curve.points.iter().enumerate().filter(|(n, _)| n % every == 0 || *n == last);
        html! {
            @for (_, (x, y)) in marked.filter(|(_, p)| is_finite(p)) {
                circle class={ "hover c" (colour) } cx=(at(self.x(*x))) cy=(at(self.y(*y))) r="5" {
                    title { (curve.name) ", " (x_label) " " (short(*x)) ": " (digits(*y)) }
                }
            }
        }
    }
}

/// A drawing, with what it shows in words.
fn drawing(width: f64, height: f64, label: &str, body: &Markup) -> Markup {
    html! {
        svg viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(label) { (body) }
    }
}

/// A place in a drawing.
fn at(place: f64) -> String {
    format!("{place:.1}")
}

fn is_finite((x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

fn finite<'a>(curves: &'a [Curve]) -> impl Iterator<Item = &'a (f64, f64)> {
    curves.iter().flat_map(|c| &c.points).filter(|p| is_finite(p))
}

/// The least interval that holds all values that are finite, or a wider one if it has no width to
/// speak of; 0 to 1 if there are none. Its ends are finite, and differ.
pub fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|x| x.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    if low > high {
        return (0.0, 1.0);
    }
    let size = low.abs().max(high.abs());
    if high - low >= 1e-12 * size.max(1.0) {
        return (low, high);
    }
    let margin = (1e-3 * size).max(1.0);
    ((low - margin).max(f64::MIN), (high + margin).min(f64::MAX))
}

/// Half an interval's width: the whole one may be more than the greatest number.
fn half((low, high): (f64, f64)) -> f64 {
    high / 2.0 - low / 2.0
}

/// How far into an interval a value lies, 0 at its beginning and 1 at its end.
fn share(v: f64, interval: (f64, f64)) -> f64 {
    half((interval.0, v)) / half(interval)
}

/// Curves over one axis. `None` if there is nothing finite to draw.
pub fn lines(curves: &[Curve], x_label: &str, label: &str) -> Option<Markup> {
    finite(curves).next()?;
    let axes =
        Axes { x: bounds(finite(curves).map(|p| p.0)), y: bounds(finite(curves).map(|p| p.1)) };
    let body = html! {
        (axes.grid(x_label, true))
        @for (i, curve) in curves.iter().enumerate() { (axes.curve(curve, i % COLOURS)) }
        // Above all lines, so that none hides another's values.
        @for (i, curve) in curves.iter().enumerate() { (axes.marks(curve, i % COLOURS, x_label)) }
    };
    Some(drawing(WIDTH, HEIGHT, label, &body))
}

/// A value with four digits or more.
fn digits(x: f64) -> String {
    if x != 0.0 && !(1e-3..1e7).contains(&x.abs()) { format!("{x:.3e}") } else { format!("{x:.4}") }
}

/// The names of curves with their colours, for under a plot.
pub fn legend<'a>(entries: impl IntoIterator<Item = (String, &'a str)>) -> Markup {
    html! {
        ul.legend {
            @for (class, name) in entries {
                li {
                    svg viewBox="0 0 10 10" aria-hidden="true" {
                        circle class=(class) cx="5" cy="5" r="4" {}
                    }
                    (name)
                }
            }
        }
    }
}

/// The legend of curves, if there are several.
pub fn legend_of(curves: &[Curve]) -> Markup {
    if curves.len() < 2 {
        return Markup::default();
    }
    legend(curves.iter().enumerate().map(|(i, c)| (format!("c{}", i % COLOURS), c.name)))
}

/// Densities as filled steps over one axis: `(class, heights)` of bins that share `range`.
pub fn histogram(
    densities: &[(&str, Vec<f64>)],
    range: (f64, f64),
    highest: f64,
    x_label: &str,
    label: &str,
) -> Markup {
    let interval = |(low, high)| bounds([low, high].into_iter());
    let (range, tall) = (interval(range), interval((0.0, highest)));
    let axes = Axes { x: range, y: tall };
    let steps = |heights: &[f64]| {
        let width = (range.1 - range.0) / heights.len() as f64;
        let mut points = vec![axes.point(range.0, 0.0)];
        for (i, height) in heights.iter().enumerate() {
            let height = if height.is_finite() { height.clamp(tall.0, tall.1) } else { 0.0 };
            let left = range.0 + i as f64 * width;
            points.push(axes.point(left, height));
            points.push(axes.point((left + width).min(range.1), height));
        }
        points.push(axes.point(range.1, 0.0));
        points.join(" ")
    };
    let body = html! {
        (axes.grid(x_label, false))
        @for (class, heights) in densities {
            polyline class={ "area " (class) } points=(steps(heights)) {}
        }
    };
    drawing(WIDTH, HEIGHT, label, &body)
}

/// Points in a square, equally scaled in both directions: `(x, y, colour, name)`. Those that aren't
/// finite have no place in it.
pub fn scatter(points: &[(f64, f64, usize, String)], label: &str) -> Markup {
    const SIDE: f64 = 400.0;
    let points = || points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
    let (x0, x1) = bounds(points().map(|p| p.0));
    let (y0, y1) = bounds(points().map(|p| p.1));
    let scale = (SIDE - 16.0) / 2.0 / half((x0, x1)).max(half((y0, y1)));
    let body = html! {
        @for (x, y, colour, name) in points() {
            @let cx = SIDE / 2.0 + (x - f64::midpoint(x0, x1)) * scale;
            @let cy = SIDE / 2.0 - (y - f64::midpoint(y0, y1)) * scale;
            circle class={ "dot c" (colour % COLOURS) } cx=(at(cx)) cy=(at(cy)) r="3.6" {
                title { (name) }
            }
        }
    };
    drawing(SIDE, SIDE, label, &body)
}

/// A row of a dot plot.
pub struct Dot<'a> {
    /// Its name.
    pub name: &'a str,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Single values.
    pub values: Vec<f64>,
    /// Whether it is drawn in another colour, as a reference.
    pub reference: bool,
}

/// Means with their standard deviations and single values, a line each. What isn't finite is drawn at
/// the edge, or not at all.
pub fn dots(rows: &[Dot], x_label: &str) -> Markup {
    const LINE: f64 = 25.0;
    const TEXT: f64 = 15.0;
    // Names that don't fit beside the bars stand above them.
    let beside = rows.iter().all(|row| row.name.chars().count() <= BESIDE);
    let left = if beside { 116.0 } else { 12.0 };
    let ends = |r: &Dot| {
        let deviation = if r.deviation.is_finite() { r.deviation } else { 0.0 };
        [r.mean - deviation, r.mean + deviation]
    };
    let all = rows.iter().flat_map(|r| r.values.iter().copied().chain(ends(r)));
    let (low, high) = bounds(all);
    let margin = 0.12 * half((low, high));
    let (low, high) = ((low - margin).max(f64::MIN), (high + margin).min(f64::MAX));
    let x = |v: f64| left + share(v.clamp(low, high), (low, high)) * (WIDTH - left - RIGHT);
    let names: Vec<Vec<String>> = rows.iter().map(|row| broken(row.name)).collect();
    let above = |i: usize| if beside { 0.0 } else { TEXT * names[i].len() as f64 };
    let (mut begins, mut bottom) = (Vec::new(), 6.0);
    for i in 0..rows.len() {
        begins.push(bottom);
        bottom += LINE + above(i);
    }
    let body = html! {
        @for tick in ticks(low, high) {
            @let at_tick = at(x(tick));
            line.grid x1=(at_tick) x2=(at_tick) y1="2" y2=(bottom) {}
            text x=(at_tick) y=(at(bottom + 14.0)) text-anchor="middle" { (short(tick)) }
        }
        @for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.mean.is_finite()) {
            @let y = begins[i] + above(i) + 0.5 * LINE;
            @if beside {
                text.name x=(at(left - 10.0)) y=(at(y + 4.0)) text-anchor="end" { (row.name) }
            } @else {
                @for (n, part) in names[i].iter().enumerate() {
                    text.name x=(at(left)) y=(at(begins[i] + TEXT * (n as f64 + 0.9))) { (part) }
                }
            }
            @let [from, to] = ends(row).map(x);
            (dot(row, y, (from, to), x))
        }
        text x=(at(f64::midpoint(left, WIDTH - RIGHT))) y=(at(bottom + 31.0)) text-anchor="middle" {
            (x_label)
        }
    };
    drawing(WIDTH, bottom + 36.0, x_label, &body)
}

/// A row's bar, its single values and its mean, at a height.
fn dot(row: &Dot, y: f64, (from, to): (f64, f64), x: impl Fn(f64) -> f64) -> Markup {
    let (y, colour) = (at(y), if row.reference { "c10" } else { "c0" });
    html! {
        line class={ "bar " (colour) } x1=(at(from)) x2=(at(to)) y1=(y) y2=(y) {}
        @for value in row.values.iter().filter(|v| v.is_finite()) {
            circle class={ "dot " (colour) } cx=(at(x(*value))) cy=(y) r="2.4" opacity="0.55" {}
        }
        circle class={ "dot " (colour) } cx=(at(x(row.mean))) cy=(y) r="5" {
            title { (row.name) ": " (format_args!("{:.1}", row.mean)) }
        }
    }
}

/// Most letters of a name that stands beside its bar, and of a line of one above it.
const BESIDE: usize = 15;
const ABOVE: usize = 56;

/// A name in lines, broken after a space or a mark where there is one.
fn broken(name: &str) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in name.split_inclusive([' ', '_', '-', '/', '.', ',']) {
        if !line.is_empty() && line.chars().count() + word.trim_end().chars().count() > ABOVE {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if line.chars().count() == ABOVE {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// Four to nine round numbers in an interval.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = half((low, high)) / 2.5;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil();
    let ticks = (0..20).map(|i| (first + f64::from(i)) * step);
    ticks.take_while(|&t| t <= high + step * 1e-9).filter(|t| t.is_finite()).collect()
}

fn short(x: f64) -> String {
    if x != 0.0 && (x.abs() < 1e-2 || x.abs() >= 1e5) {
        return format!("{x:.1e}").replace(".0e", "e");
    }
    let text = format!("{x:.3}");
    let trimmed = text.trim_end_matches('0').trim_end_matches('.');
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{ABOVE, Curve, Dot, bounds, broken, dots, histogram, lines, scatter};

    /// Numbers as they come from losses that have run away, in every order of three.
    fn extremes() -> Vec<Vec<f64>> {
        let some = [
            0.0,
            -0.0,
            1.0,
            5e-324,
            1e-15,
            1e15,
            1e308,
            -1e308,
            f64::MAX,
            f64::MIN,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        let mut all = vec![Vec::new()];
        for a in some {
            all.push(vec![a]);
            for b in some {
                all.push(vec![a, b]);
                all.extend(some.map(|c| vec![a, b, c]));
            }
        }
        all
    }

    /// Every coordinate and every number on an axis.
    fn assert_drawable(svg: &str, what: &[f64]) {
        for word in ["NaN", "inf"] {
            assert!(!svg.contains(word), "{what:?}: {svg}");
        }
        let quoted = svg.split('"').skip(1).step_by(2);
        let numbers = quoted.flat_map(|text| text.split([' ', ','])).filter_map(|x| x.parse().ok());
        for x in numbers {
            assert!((-1000.0..=1000.0).contains(&x), "{what:?}: {x} in {svg}");
        }
    }

    #[test]
    fn names_are_shown_whole() {
        for name in
            ["", "RKD", "relaxed_contrastive on a-data-set, sigma = 0.5", &"long".repeat(60)]
        {
            let lines = broken(name);
            assert_eq!(lines.concat(), name);
            assert!(lines.iter().all(|line| line.trim_end().chars().count() <= ABOVE), "{lines:?}");
        }
        let row = |name| Dot { name, mean: 1.0, deviation: 0.0, values: vec![], reference: false };
        let svg = dots(&[row("relaxed_contrastive with a long name"), row("RKD")], "Recall")
            .into_string();
        // From the left edge: nothing of it lies outside.
        assert!(
            svg.contains("<text class=\"name\" x=\"12.0\" y=\"19.5\">relaxed_contrastive with")
        );
    }

    #[test]
    fn whatever_the_numbers_a_plot_can_be_drawn() {
        for values in extremes() {
            let (low, high) = bounds(values.iter().copied());
            assert!(low.is_finite() && high.is_finite() && low < high, "{values:?}");
            let indexed = || values.iter().enumerate().map(|(i, y)| (i as f64, *y));
            let curve = Curve { name: "a", points: indexed().collect() };
            let turned = Curve { name: "b", points: indexed().map(|(x, y)| (y, x)).collect() };
            let plot = lines(&[curve, turned], "step", "loss");
            assert_eq!(plot.is_some(), values.iter().any(|x| x.is_finite()), "{values:?}");
            assert_drawable(&plot.unwrap_or_default().into_string(), &values);
            let points: Vec<_> = values.iter().map(|&x| (x, -x, 0, String::new())).collect();
            assert_drawable(&scatter(&points, "points").into_string(), &values);
            if let [a, b, c] = values[..] {
                let row =
                    Dot { name: "a", mean: a, deviation: b, values: vec![c], reference: false };
                let bars = histogram(&[("pos", vec![a, b])], (0.0, c), b, "x", "y");
                assert_drawable(&dots(&[row], "Recall").into_string(), &values);
                assert_drawable(&bars.into_string(), &values);
            }
        }
    }
}
