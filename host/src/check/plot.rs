//! Line plots as SVG, in the colours of the page around them.

use std::fmt::Write as _;

/// A named curve.
pub struct Curve<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 28.0;

/// Curves over one axis. `None` if there is nothing finite to draw.
pub fn lines(curves: &[Curve], x_label: &str, y_label: &str) -> Option<String> {
    let all =
        || curves.iter().flat_map(|c| &c.points).filter(|p| p.0.is_finite() && p.1.is_finite());
    let bounds = |f: fn(&(f64, f64)) -> f64| {
        let (low, high) = all().map(f).fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
        if high - low < 1e-12 { (low - 1.0, high + 1.0) } else { (low, high) }
    };
    all().next()?;
    let ((x0, x1), (y0, y1)) = (bounds(|p| p.0), bounds(|p| p.1));
    let x = |v: f64| LEFT + (v - x0) / (x1 - x0) * (WIDTH - LEFT - 16.0);
    let y = |v: f64| HEIGHT - BOTTOM - (v - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP);
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{y_label}\">");
    for tick in ticks(x0, x1) {
        let at = x(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            short(tick)
        );
    }
    for tick in ticks(y0, y1) {
        let at = y(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 16.0,
            LEFT - 6.0,
            at + 4.0,
            short(tick)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_label}</text>\
         <text x=\"{LEFT}\" y=\"14\">{y_label}</text>",
        f64::midpoint(LEFT, WIDTH),
        HEIGHT - 6.0
    );
    for (i, curve) in curves.iter().enumerate() {
        let points = curve.points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
        let points: Vec<String> = points.map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ = write!(svg, "<polyline class=\"curve c{i}\" points=\"{}\"/>", points.join(" "));
        if curves.len() > 1 {
            // Above the plot, where no curve is.
            let left = WIDTH - 16.0 - 150.0 * (curves.len() - i) as f64;
            let down = 14.0;
            let _ = write!(
                svg,
                "<line class=\"curve c{i}\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{down}\">{}</text>",
                left + 18.0,
                down - 4.0,
                down - 4.0,
                left + 24.0,
                curve.name
            );
        }
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// Four to nine round numbers in an interval.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..first + 20).map(|i| i as f64 * step).take_while(|&t| t <= high + step * 1e-9).collect()
}

fn short(x: f64) -> String {
    if x != 0.0 && (x.abs() < 1e-3 || x.abs() >= 1e5) {
        return format!("{x:.0e}");
    }
    let text = format!("{x:.3}");
    let trimmed = text.trim_end_matches('0').trim_end_matches('.');
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}
