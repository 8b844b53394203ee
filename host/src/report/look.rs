//! Pictures of embeddings: nearest neighbours, distances of pairs, projections.

use super::embedding::{View, Views};
use crate::html::plot::{COLOURS, histogram, legend, scatter};
use base64::Engine as _;
use image::{ExtendedColorType, ImageEncoder as _};
use maud::{Markup, html};
use retort_core::metric::{pca, separation, tsne};
use retort_core::random::{key, stream};
use retort_datasets::Dataset;
use std::collections::BTreeMap;

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
pub fn neighbours(views: &Views) -> Markup {
    let shown: Vec<&View> = views.networks.iter().filter(|v| !v.untrained).collect();
    if shown.is_empty() {
        return Markup::default();
    }
    let queries = queries(&shown, &shown[0].embeddings.labels);
    let mut pictures = Pictures { data: views.data.as_ref(), made: BTreeMap::new() };
    let found: Vec<Markup> = queries.iter().map(|q| asked(*q, &shown, &mut pictures)).collect();
    html! {
        p.note {
            "Unseen pictures of " (views.dataset) ": the one on top is looked up, its " (NEIGHBOURS)
            " nearest follow for each network. " span class="mark right" { "Green ✓" }
            ": of its class. " span class="mark wrong" { "Red ✗" } ": of another. " (among(views))
            (views.which) " Queries are drawn so that right and wrong answers are among them."
        }
        (pictures.store())
        div.queries { @for query in &found { (query) } }
    }
}

/// A query, and its neighbours in each network.
fn asked(query: usize, networks: &[&View], pictures: &mut Pictures) -> Markup {
    let class = class_name(pictures.data, query);
    let labels = &networks[0].embeddings.labels;
    html! {
        div.query {
            div class="line asked" {
                span { (breakable(&class)) }
                div.pictures { (pictures.tag(query, "", &class)) }
            }
            @for view in networks { (answers(query, view, labels, pictures)) }
        }
    }
}

fn answers(query: usize, view: &View, labels: &[i64], pictures: &mut Pictures) -> Markup {
    let nearest = view.nearest(query, NEIGHBOURS);
    let is_right = |i: usize| labels[i] == labels[query];
    let right = nearest.iter().filter(|i| is_right(**i)).count();
    html! {
        div.line {
            span { (view.name) " " small { (right) " of " (nearest.len()) } }
            div.pictures {
                @for i in nearest {
                    @let (kind, mark) = if is_right(i) { ("right", "✓") } else { ("wrong", "✗") };
                    (pictures.tag(i, kind, &format!("{mark} {}", class_name(pictures.data, i))))
                }
            }
        }
    }
}

/// A name that may be broken within.
fn breakable(name: &str) -> Markup {
    html! {
        @for part in name.split_inclusive(['/', '_']) {
            (part)
            @if part.ends_with(['/', '_']) { wbr; }
        }
    }
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
    fn tag(&mut self, i: usize, kind: &str, title: &str) -> Markup {
        self.made.entry(i).or_insert_with(|| picture(self.data, i).unwrap_or_default());
        html! {
            svg class={ "picture " (kind) } viewBox="0 0 40 40" role="img" aria-label=(title) {
                title { (title) }
                use href={ "#p" (i) } {}
            }
        }
    }

    /// The pictures that tags show.
    fn store(&self) -> Markup {
        html! {
            svg.store aria-hidden="true" {
                defs {
                    @for (i, source) in &self.made {
                        image id={ "p" (i) } width="40" height="40"
                            preserveAspectRatio="xMidYMid slice" href=(source) {}
                    }
                }
            }
        }
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
pub fn distances(views: &Views) -> Markup {
    let kinds = [("pos", "pairs of one class"), ("neg", "pairs of two classes")];
    html! {
        p.note {
            "Distances of pairs of unseen pictures, in units of their mean: of one class and of two. The \
             less the two overlap, the better a threshold tells them apart."
        }
        (legend(kinds.map(|(class, name)| (class.to_owned(), name))))
        div.figures { @for plot in views.networks.iter().filter_map(pairs) { (plot) } }
    }
}

/// A network's pairs. `None` if there are none of one class, or of two.
fn pairs(view: &View) -> Option<Markup> {
    const BINS: usize = 48;
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
        return None;
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
    let plot = histogram(
        &[("neg", negative), ("pos", positive)],
        (0.0, most),
        highest,
        "distance / mean distance",
        &format!("distances of pairs in {}", view.name),
    );
    Some(html! {
        figure {
            figcaption {
                b { (view.name) "." } " A pair of one class is closer than a pair of two in "
                (format_args!("{:.1}", 100.0 * order)) " % of cases."
            }
            (plot)
        }
    })
}

/// Which networks have no projection, and why.
fn left_out(views: &Views) -> String {
    let out = views.networks.iter().filter(|v| !v.untrained && !v.projected);
    let names: Vec<&str> = out.map(|view| view.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" Left out, to keep the page short: {}.", names.join(", "))
}

/// The same samples of a dozen classes, by principal components and by t-SNE.
pub fn projections(views: &Views) -> Markup {
    let shown: Vec<&View> = views.networks.iter().filter(|v| v.projected).collect();
    let Some(first) = shown.first() else { return Markup::default() };
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
    let name = |class: i64| views.data.classes().get(class as usize).map_or("", String::as_str);
    let colours = classes.iter().enumerate().map(|(i, class)| (format!("c{i}"), name(*class)));
    let drawn = shown.iter().map(|view| {
        let rows: Vec<Vec<f64>> = samples
            .iter()
            .map(|(i, _)| view.row(*i).iter().map(|x| f64::from(*x)).collect())
            .collect();
        if rows.iter().flatten().any(|x| !x.is_finite()) {
            let text = " has embeddings that aren't finite.";
            return html! { figure { figcaption { b { (view.name) } (text) } } };
        }
        let place = |(p, (_, colour)): (&(f64, f64), &(usize, usize))| {
            (p.0, p.1, *colour, name(classes[*colour]).to_owned())
        };
        html! {
            @for (how, places) in [("principal components", pca(&rows)), ("t-SNE", tsne(&rows))] {
                @let points: Vec<_> = places.iter().zip(&samples).map(place).collect();
                figure {
                    figcaption { b { (view.name) } ", " (how) }
                    (scatter(&points, &format!("{}, {how}", view.name)))
                }
            }
        }
    });
    html! {
        p.note {
            (samples.len()) " unseen pictures of " (classes.len()) " classes, a colour each. Principal \
             components keep large distances; t-SNE keeps neighbours, and its distances between \
             clusters mean nothing." (left_out(views))
        }
        (legend(colours))
        div class="figures pairs" { @for plot in drawn { (plot) } }
    }
}
