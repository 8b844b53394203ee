//! Pictures of embeddings: nearest neighbours, distances of pairs, projections.

use super::embedding::{View, Views};
use crate::html::escape;
use crate::html::plot::{COLOURS, histogram, legend, scatter};
use base64::Engine as _;
use image::{ExtendedColorType, ImageEncoder as _};
use retort_core::metric::{pca, separation, tsne};
use retort_core::random::{key, stream};
use retort_datasets::Dataset;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Queries of the neighbours' pages.
const QUERIES: usize = 8;
/// Neighbours of each.
const NEIGHBOURS: usize = 8;
/// Side of a picture in pixels, twice what it is shown at.
const SIDE: usize = 92;
/// Most samples of the projections, and of the pairs.
const POINTS: usize = 360;
const PAIRS_OF: usize = 1000;

/// Queries with their neighbours in each network: right in green, wrong in red.
pub fn neighbours(views: &Views) -> String {
    let shown: Vec<&View> = views.networks.iter().filter(|v| !v.untrained).collect();
    if shown.is_empty() {
        return String::new();
    }
    let labels = &shown[0].embeddings.labels;
    let queries = queries(&shown, labels);
    let html = format!(
        "<p class=\"note\">Unseen pictures of {}: the one on top is looked up, its {NEIGHBOURS} nearest \
         follow for each network. <span class=\"mark right\">Green ✓</span>: of its class. <span class=\"mark wrong\">Red \
         ✗</span>: of another. {}{} Queries are drawn so that right and wrong answers are among them.</p>",
        escape(&views.dataset),
        among(views),
        escape(&views.which)
    );
    let mut pictures = Pictures { data: views.data.as_ref(), made: BTreeMap::new() };
    let mut lists = "<div class=\"queries\">".to_owned();
    for query in queries {
        let class = class_name(views.data.as_ref(), query);
        let _ = write!(
            lists,
            "<div class=\"query\"><div class=\"line asked\"><span>{}</span>\
             <div class=\"pictures\">{}</div></div>",
            escape(&class).replace('/', "/<wbr>").replace('_', "_<wbr>"),
            pictures.tag(query, "", &class)
        );
        for view in &shown {
            let nearest = view.nearest(query, NEIGHBOURS);
            let right = nearest.iter().filter(|&&i| labels[i] == labels[query]).count();
            let _ = write!(
                lists,
                "<div class=\"line\"><span>{} <small>{right} of {}</small></span><div class=\"pictures\">",
                escape(&view.name),
                nearest.len()
            );
            for i in nearest {
                let (kind, mark) =
                    if labels[i] == labels[query] { ("right", "✓") } else { ("wrong", "✗") };
                let name = class_name(views.data.as_ref(), i);
                lists.push_str(&pictures.tag(i, kind, &format!("{mark} {name}")));
            }
            lists.push_str("</div></div>");
        }
        lists.push_str("</div>");
    }
    html + &pictures.store() + &lists + "</div>"
}

fn among(views: &Views) -> String {
    let n = views.data.len();
    if n == views.of {
        return format!("All {n} pictures are searched.");
    }
    format!("{n} of {} pictures are searched, all of each class.", views.of)
}

fn class_name(data: &dyn Dataset, i: usize) -> String {
    data.classes().get(data.labels()[i]).cloned().unwrap_or_default()
}

/// Half of them where the networks disagree, the rest where all are right or all wrong.
fn queries(views: &[&View], labels: &[i64]) -> Vec<usize> {
    use rand::RngExt as _;
    let mut rng = stream(key(0, "queries"), &[]);
    let (mut mixed, mut agreed, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..200 {
        if mixed.len() + agreed.len() == QUERIES || labels.is_empty() {
            break;
        }
        let i = rng.random_range(0..labels.len());
        if classes.contains(&labels[i]) {
            continue;
        }
        let hits = views.iter().filter(|v| v.hits(i)).count();
        let list = if hits == 0 || hits == views.len() { &mut agreed } else { &mut mixed };
        if list.len() < QUERIES / 2 {
            list.push(i);
            classes.push(labels[i]);
        }
    }
    mixed.extend(agreed);
    mixed
}

/// Pictures as data, each in the page once, however many networks find it.
struct Pictures<'a> {
    data: &'a dyn Dataset,
    made: BTreeMap<usize, String>,
}

impl Pictures<'_> {
    fn tag(&mut self, i: usize, kind: &str, title: &str) -> String {
        self.made.entry(i).or_insert_with(|| picture(self.data, i).unwrap_or_default());
        let title = escape(title);
        format!(
            "<svg class=\"picture {kind}\" viewBox=\"0 0 40 40\" role=\"img\" aria-label=\"{title}\">\
             <title>{title}</title><use href=\"#p{i}\"/></svg>"
        )
    }

    /// The pictures that tags show.
    fn store(&self) -> String {
        let image = |(i, source): (&usize, &String)| {
            format!(
                "<image id=\"p{i}\" width=\"40\" height=\"40\" preserveAspectRatio=\"xMidYMid slice\" \
                 href=\"{source}\"/>"
            )
        };
        let images: String = self.made.iter().map(image).collect();
        format!("<svg class=\"store\" aria-hidden=\"true\"><defs>{images}</defs></svg>")
    }
}

/// A small PNG for grey pictures, a JPEG for colour.
fn picture(data: &dyn Dataset, i: usize) -> Option<String> {
    let image = data.image(i).ok()?;
    let longest = image.width.max(image.height);
    let image = if longest > SIDE {
        let side = |x: usize| (x * SIDE / longest).max(1);
        image.resized(side(image.width), side(image.height))
    } else {
        image
    };
    let (width, height) = (image.width as u32, image.height as u32);
    let mut bytes = Vec::new();
    let kind = if image.channels == 1 {
        let png = image::codecs::png::PngEncoder::new_with_quality(
            &mut bytes,
            image::codecs::png::CompressionType::Best,
            image::codecs::png::FilterType::Adaptive,
        );
        png.write_image(&image.pixels, width, height, ExtendedColorType::L8).ok()?;
        "png"
    } else {
        bytes = image.to_jpeg(82)?;
        "jpeg"
    };
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Some(format!("data:image/{kind};base64,{text}"))
}

/// Distances of positive and negative pairs.
pub fn distances(views: &Views) -> String {
    const BINS: usize = 48;
    let mut html = "<p class=\"note\">Distances of pairs of unseen pictures, in units of their mean: of one \
                    class and of two. The less the two overlap, the better a threshold tells them apart.</p>"
        .to_owned();
    html.push_str(&legend([
        ("pos".to_owned(), "pairs of one class"),
        ("neg".to_owned(), "pairs of two classes"),
    ]));
    html.push_str("<div class=\"figures\">");
    for view in &views.networks {
        let labels = &view.embeddings.labels;
        let every = labels.len().div_ceil(PAIRS_OF).max(1);
        // Neighbours in the data set share a class: whole classes are kept where some must go.
        let kept: Vec<usize> =
            (0..labels.len()).filter(|&i| (labels[i] as usize).is_multiple_of(every)).collect();
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        for (n, &a) in kept.iter().enumerate() {
            for &b in &kept[n + 1..] {
                let distance = view.squared_distance(a, b).sqrt();
                if labels[a] == labels[b] { &mut positive } else { &mut negative }.push(distance);
            }
        }
        if positive.is_empty() || negative.is_empty() {
            continue;
        }
        let sum: f64 = positive.iter().chain(&negative).sum();
        let mean = (sum / (positive.len() + negative.len()) as f64).max(1e-12);
        positive.iter_mut().chain(&mut negative).for_each(|d| *d /= mean);
        let most = positive.iter().chain(&negative).fold(0.0f64, |a, &b| a.max(b)).max(1e-6);
        let density = |values: &[f64]| {
            let mut bins = vec![0.0; BINS];
            for value in values {
                let bin = ((value / most * BINS as f64) as usize).min(BINS - 1);
                bins[bin] += BINS as f64 / (values.len() as f64 * most);
            }
            bins
        };
        let order = separation(&mut positive, &mut negative);
        let (positive, negative) = (density(&positive), density(&negative));
        let highest = positive.iter().chain(&negative).fold(0.0f64, |a, &b| a.max(b)) * 1.05;
        let svg = histogram(
            &[("neg", negative), ("pos", positive)],
            (0.0, most),
            highest,
            "distance / mean distance",
            &format!("distances of pairs in {}", view.name),
        );
        let _ = write!(
            html,
            "<figure><figcaption><b>{}.</b> A pair of one class is closer than a pair of two in {:.1} % of \
             cases.</figcaption>{svg}</figure>",
            escape(&view.name),
            100.0 * order
        );
    }
    html + "</div>"
}

/// Which networks have no projection, and why.
fn left_out(views: &Views) -> String {
    let out = views.networks.iter().filter(|v| !v.untrained && !v.projected);
    let names: Vec<&str> = out.map(|view| view.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" Left out, to keep the page short: {}.", escape(&names.join(", ")))
}

/// The same samples of a dozen classes, by principal components and by t-SNE.
pub fn projections(views: &Views) -> String {
    let shown: Vec<&View> = views.networks.iter().filter(|v| v.projected).collect();
    let Some(first) = shown.first() else { return String::new() };
    let labels = &first.embeddings.labels;
    let mut classes: Vec<i64> = labels.clone();
    classes.sort_unstable();
    classes.dedup();
    let step = classes.len().div_ceil(COLOURS).max(1);
    let classes: Vec<i64> = classes.into_iter().step_by(step).take(COLOURS).collect();
    let each = (POINTS / classes.len().max(1)).max(2);
    let mut samples: Vec<(usize, usize)> = Vec::new();
    for (colour, class) in classes.iter().enumerate() {
        let of = (0..labels.len()).filter(|&i| labels[i] == *class);
        samples.extend(of.take(each).map(|i| (i, colour)));
    }
    let mut html = format!(
        "<p class=\"note\">{} unseen pictures of {} classes, a colour each. Principal components keep large \
         distances; t-SNE keeps neighbours, and its distances between clusters mean nothing.{}</p>",
        samples.len(),
        classes.len(),
        left_out(views)
    );
    let name = |class: i64| views.data.classes().get(class as usize).map_or("", String::as_str);
    html.push_str(&legend(
        classes.iter().enumerate().map(|(i, class)| (format!("c{i}"), name(*class))),
    ));
    html.push_str("<div class=\"figures pairs\">");
    for view in &shown {
        let rows: Vec<Vec<f64>> = samples
            .iter()
            .map(|(i, _)| view.row(*i).iter().map(|x| f64::from(*x)).collect())
            .collect();
        if rows.iter().flatten().any(|x| !x.is_finite()) {
            let name = escape(&view.name);
            let _ = write!(
                html,
                "<figure><figcaption><b>{name}</b> has embeddings that aren't finite.</figcaption></figure>"
            );
            continue;
        }
        for (how, places) in [("principal components", pca(&rows)), ("t-SNE", tsne(&rows))] {
            let points: Vec<_> = places
                .iter()
                .zip(&samples)
                .map(|(p, (_, colour))| (p.0, p.1, *colour, name(classes[*colour]).to_owned()))
                .collect();
            let _ = write!(
                html,
                "<figure><figcaption><b>{}</b>, {how}</figcaption>{}</figure>",
                escape(&view.name),
                scatter(&points, &format!("{}, {how}", view.name))
            );
        }
    }
    html + "</div>"
}
