//! The loss card: one self-contained HTML page about a loss.

use super::{Status, Subject, Verdict, cpu, in_words};
use crate::html;
use crate::html::plot::{Curve, legend_of, lines};
use crate::loss::case::Case;
use burn::tensor::{FloatDType, TensorData};
use maud::{Markup, html};
use retort_core::Session;

/// The page of a loss and its verdicts.
pub fn page(subject: &Subject, verdicts: &[Verdict]) -> String {
    let (loss, pack) = (&subject.found.definition, &subject.found.pack);
    let body = html! {
        h1.code { (loss.name) }
        (about(&loss.doc))
        p.paper { (loss.paper) }
        h2 { "Properties" }
        p { (summary(verdicts)) "." }
        table.verdicts { @for verdict in verdicts { (row(verdict)) } }
        h2 { "What it looks like" }
        (plots(subject))
        (options(subject))
        @if !loss.source.is_empty() {
            h2 { "Definition" }
            pre { (loss.source) }
        }
        footer {
            (pack.origin) " · " code { (pack.digest) } " · interface " (pack.description.interface)
            " · " (pack.description.sdk) " · checked with retort " (env!("CARGO_PKG_VERSION"))
        }
    };
    html::page(&format!("{} · loss card", loss.name), &body)
}

/// A loss's doc: what it does, and its formulas.
fn about(doc: &str) -> Markup {
    let mut paragraphs = doc.split("\n\n");
    html! {
        p.lead { (paragraphs.next().unwrap_or_default()) }
        @for paragraph in paragraphs {
            p class=[paragraph.contains('=').then_some("formula")] { (paragraph) }
        }
    }
}

fn summary(verdicts: &[Verdict]) -> String {
    let of = |status| verdicts.iter().filter(|v| v.status == status).count();
    match of(Status::Fails) {
        0 => format!("{} of {} properties hold, none fails", of(Status::Holds), verdicts.len()),
        n => format!("{n} of {} properties fail", verdicts.len()),
    }
}

fn row(verdict: &Verdict) -> Markup {
    let status = verdict.status.to_string().to_lowercase();
    html! {
        tr class=(status) {
            th { (verdict.property) small { (verdict.property.asks()) } }
            td.status { (status) }
            td {
                (verdict.detail)
                @if let Some(input) = &verdict.input { br; code { (in_words(input)) } }
                @if let Some(remedy) = verdict.remedy() { br; (remedy) }
            }
        }
    }
}

/// The loss's hyperparameters, if it has any.
fn options(subject: &Subject) -> Markup {
    let fields = &subject.found.definition.hyper;
    if fields.is_empty() {
        return Markup::default();
    }
    html! {
        h2 { "Hyperparameters" }
        table {
            tr { th { "Name" } th { "Value" } th { "Allowed" } th { "Meaning" } }
            @for field in fields {
                tr {
                    th { (field.name) }
                    td { (subject.hyper.get(&field.name).unwrap_or(&field.default)) }
                    td {
                        @match field.choices.as_slice() {
                            [] => (field.range),
                            words => (words.join(", ")),
                        }
                    }
                    td { (field.doc) }
                }
            }
        }
    }
}

fn plots(subject: &Subject) -> Markup {
    let figures = [
        (
            "Along a line between two batches",
            "The loss and its slope while every target embedding and feature moves from one random \
             batch (0) through another (1).",
            along_a_line(subject),
        ),
        (
            "Between two samples",
            "How strongly the first sample pulls the second towards itself (below zero: pushes it \
             away) as the distance of their target embeddings changes, the rest of the batch \
             standing still.",
            pair_weight(subject),
        ),
    ];
    html! {
        div class="figures wide" {
            @for (title, text, plot) in figures {
                figure {
                    figcaption { b { (title) "." } " " (text) }
                    @if let Some(plot) = plot { (plot) } @else { p { "It has no gradient there." } }
                }
            }
        }
    }
}

/// Curves over one axis, with their names.
fn named(curves: &[Curve], x_label: &str, label: &str) -> Option<Markup> {
    let plot = lines(curves, x_label, label)?;
    Some(html! { (plot) (legend_of(curves)) })
}

/// A session after its first step, and the case.
fn warm(subject: &Subject, case: &Case) -> Option<Session> {
    let mut session = subject.session(FloatDType::F64).ok()?;
    case.step(&mut session, &cpu(), FloatDType::F64).ok()?;
    Some(session)
}

fn values(data: &TensorData) -> Vec<f64> {
    data.iter::<f64>().collect()
}

fn along_a_line(subject: &Subject) -> Option<Markup> {
    let (a, b) = (subject.case(8, 4, 31), subject.case(8, 4, 32));
    let mut session = warm(subject, &a)?;
    let mut value = Vec::new();
    let mut slope = Vec::new();
    for i in 0..=120 {
        let t = f64::from(i) / 60.0 - 0.5;
        let mut case = a.clone();
        let ends = b.tensors();
        case.change_rows(|name, rows| {
            let Some(end) = ends.get(name).filter(|_| name.starts_with("target")) else { return };
            let end = values(end);
            rows.iter_mut().flatten().zip(end).for_each(|(x, y)| *x += t * (y - *x));
        });
        let inputs = case.inputs(&cpu(), FloatDType::F64);
        let evaluation = crate::loss::evaluation::Evaluation::run(&mut session, &inputs).ok()?;
        let gradients = evaluation.gradients(&session, &inputs).ok()?;
        session.discard();
        let starts = a.tensors();
        let dot =
            gradients.iter().filter(|(name, _)| name.starts_with("target")).map(|(name, g)| {
                let (from, to) = (values(&starts[name]), values(&ends[name]));
                let along = from.iter().zip(&to).map(|(x, y)| y - x);
                values(g).iter().zip(along).map(|(g, v)| g * v).sum::<f64>()
            });
        slope.push((t, dot.sum()));
        value.push((t, evaluation.value));
    }
    let curves = [Curve { name: "value", points: value }, Curve { name: "slope", points: slope }];
    named(&curves, "position between the batches", "value and slope")
}

/// The force between two samples against their distance: of one class and of two for a loss that
/// reads labels; near and far in the source for one that reads the source.
fn pair_weight(subject: &Subject) -> Option<Markup> {
    let mut session = warm(subject, &subject.case(8, 4, 31))?;
    let used = session.inputs_used();
    let by_labels = used.contains("labels");
    if !used.contains("target") || !(by_labels || used.contains("source")) {
        return Some(html! { p { "It doesn't compare samples' embeddings." } });
    }
    let kinds = if by_labels {
        ["same class", "other class"]
    } else {
        ["near in the source", "far in the source"]
    };
    let mut curves = Vec::new();
    for (k, name) in kinds.into_iter().enumerate() {
        let mut points = Vec::new();
        for i in 1..=100 {
            let distance = f64::from(i) * 0.025;
            let mut case = subject.case(8, 4, 31);
            let mut direction = Vec::new();
            // Samples 0 and 1 are of one class, 0 and 2 of two.
            let other = if by_labels { 1 + k } else { 1 };
            case.change_rows(|name, rows| {
                let norm = rows[0].iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-9);
                if name == "target" {
                    // At a right angle to the first, so that normalised embeddings move apart too.
                    direction = vec![-rows[0][1], rows[0][0], -rows[0][3], rows[0][2]];
                    for x in &mut direction {
                        *x /= norm;
                    }
                    let first: Vec<f64> = rows[0].iter().map(|x| x / norm).collect();
                    rows[0].clone_from(&first);
                    let at = first.iter().zip(&direction).map(|(x, v)| x + distance * v);
                    rows[other] = at.collect();
                } else if name == "source" && !by_labels {
                    let far = if k == 0 { 0.05 } else { 1.0 };
                    let moved: Vec<f64> =
                        rows[0].iter().zip(&rows[3]).map(|(x, y)| x + far * (y - x)).collect();
                    rows[other] = moved;
                }
            });
            let inputs = case.inputs(&cpu(), FloatDType::F64);
            let evaluation =
                crate::loss::evaluation::Evaluation::run(&mut session, &inputs).ok()?;
            let gradients = evaluation.gradients(&session, &inputs).ok()?;
            session.discard();
            let gradient = values(gradients.get("target")?);
            let row = &gradient[other * 4..(other + 1) * 4];
            // Descent moves against the gradient; towards the first sample is against `direction`.
            points.push((distance, row.iter().zip(&direction).map(|(g, v)| g * v).sum()));
        }
        curves.push(Curve { name, points });
    }
    named(&curves, "distance of the two target embeddings", "pull")
}
