//! The loss card: one self-contained HTML page about a loss.

use super::{Status, Subject, Verdict, cpu, in_words};
use crate::html::plot::{Curve, legend_of, lines};
use crate::html::{self, escape};
use crate::loss::case::Case;
use burn::tensor::{FloatDType, TensorData};
use retort_core::Session;
use std::fmt::Write as _;

/// The page of a loss and its verdicts.
pub fn page(subject: &Subject, verdicts: &[Verdict]) -> String {
    let (loss, pack) = (&subject.found.definition, &subject.found.pack);
    let name = escape(&loss.name);
    let mut html = html::open(&format!("{} · loss card", loss.name));
    let _ = write!(html, "<h1 class=\"code\">{name}</h1>");
    let mut paragraphs = loss.doc.split("\n\n");
    let _ = write!(html, "<p class=\"lead\">{}</p>", escape(paragraphs.next().unwrap_or_default()));
    for paragraph in paragraphs {
        let class = if paragraph.contains('=') { " class=\"formula\"" } else { "" };
        let _ = write!(html, "<p{class}>{}</p>", escape(paragraph));
    }
    let _ = write!(html, "<p class=\"paper\">{}</p>", escape(&loss.paper));

    let failed = verdicts.iter().filter(|v| v.status == Status::Fails).count();
    let holds = verdicts.iter().filter(|v| v.status == Status::Holds).count();
    let summary = match failed {
        0 => format!("{holds} of {} properties hold, none fails", verdicts.len()),
        n => format!("{n} of {} properties fail", verdicts.len()),
    };
    let _ = write!(html, "<h2>Properties</h2><p>{summary}.</p><table class=\"verdicts\">");
    for verdict in verdicts {
        let asks = verdict.property.asks();
        let input = verdict.input.as_ref().map(in_words);
        let input = input.map(|i| format!("<br><code>{}</code>", escape(&i))).unwrap_or_default();
        let remedy = verdict.remedy().map(|r| format!("<br>{}", escape(r))).unwrap_or_default();
        let status = verdict.status.to_string().to_lowercase();
        let _ = write!(
            html,
            "<tr class=\"{status}\"><th>{}<small>{asks}</small></th><td class=\"status\">{status}</td>\
             <td>{}{input}{remedy}</td></tr>",
            verdict.property,
            escape(&verdict.detail)
        );
    }
    html.push_str("</table>");
    plots(&mut html, subject);

    if !loss.hyper.is_empty() {
        html.push_str(
            "<h2>Hyperparameters</h2><table><tr><th>Name</th><th>Value</th><th>Allowed</th>\
             <th>Meaning</th></tr>",
        );
        for field in &loss.hyper {
            let value = subject.hyper.get(&field.name).unwrap_or(&field.default);
            let allowed = match field.choices.as_slice() {
                [] => field.range.to_string(),
                words => words.join(", "),
            };
            let _ = write!(
                html,
                "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&field.name),
                escape(&value.to_string()),
                escape(&allowed),
                escape(&field.doc)
            );
        }
        html.push_str("</table>");
    }
    if !loss.source.is_empty() {
        let _ = write!(html, "<h2>Definition</h2><pre>{}</pre>", escape(&loss.source));
    }
    let _ = write!(
        html,
        "<footer>{} · <code>{}</code> · interface {} · {} · checked with retort {}</footer>{}",
        pack.origin,
        pack.digest,
        pack.description.interface,
        escape(&pack.description.sdk),
        env!("CARGO_PKG_VERSION"),
        html::CLOSE
    );
    html
}

fn plots(html: &mut String, subject: &Subject) {
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
    html.push_str("<h2>What it looks like</h2><div class=\"figures wide\">");
    for (title, text, svg) in figures {
        let svg = svg.unwrap_or_else(|| "<p>It has no gradient there.</p>".to_owned());
        let _ =
            write!(html, "<figure><figcaption><b>{title}.</b> {text}</figcaption>{svg}</figure>");
    }
    html.push_str("</div>");
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

fn along_a_line(subject: &Subject) -> Option<String> {
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
    let svg = lines(&curves, "position between the batches", "value and slope")?;
    Some(svg + &legend_of(&curves))
}

/// The force between two samples against their distance: of one class and of two for a loss that
/// reads labels; near and far in the source for one that reads the source.
fn pair_weight(subject: &Subject) -> Option<String> {
    let mut session = warm(subject, &subject.case(8, 4, 31))?;
    let used = session.inputs_used();
    let by_labels = used.contains("labels");
    if !used.contains("target") || !(by_labels || used.contains("source")) {
        return Some("<p>It doesn't compare samples' embeddings.</p>".to_owned());
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
    let svg = lines(&curves, "distance of the two target embeddings", "pull")?;
    Some(svg + &legend_of(&curves))
}
