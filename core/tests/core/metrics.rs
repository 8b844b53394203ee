//! Metrics against the golden data, and the search against one that looks at everything.

use retort_core::metric::{
    Clusters, Distance, Embeddings, Exclude, Measure, MetricError, Retrieval, Search, Unit,
    adjusted_mutual_information, bootstrap, kmeans, normalized_mutual_information, recall_at,
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden(file: &str) -> PathBuf {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let folder = std::env::var_os("RETORT_GOLDEN").map_or_else(
        || workspace.join("../shared/golden"),
        |path| workspace.join(PathBuf::from(path)),
    );
    let path = folder.join(file);
    assert!(path.exists(), "the golden data has no {}: set RETORT_GOLDEN", path.display());
    path
}

struct Case {
    name: String,
    data: Embeddings,
    clusters: Vec<i64>,
    ks: Vec<usize>,
    entry: Value,
}

/// All cases of the golden file.
fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(golden("metrics.json")).unwrap();
    let index: Value = serde_json::from_str(&text).unwrap();
    let bytes = std::fs::read(golden(index["file"].as_str().unwrap())).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let integers = |name: &str| -> Vec<i64> {
        let tensor = file.tensor(name).unwrap();
        tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    };
    let case = |entry: &Value| {
        let name = entry["name"].as_str().unwrap().to_owned();
        let rows = file.tensor(&format!("{name}/embeddings")).unwrap();
        let data = Embeddings {
            rows: rows.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            dim: rows.shape()[1],
            labels: integers(&format!("{name}/labels")),
        };
        let ks = entry["k"].as_array().unwrap().iter();
        let ks = ks.map(|k| usize::try_from(k.as_u64().unwrap()).unwrap()).collect();
        let clusters = integers(&format!("{name}/cluster_labels"));
        Case { name, data, clusters, ks, entry: entry.clone() }
    };
    let cases: Vec<Case> = index["cases"].as_array().unwrap().iter().map(case).collect();
    assert!(!cases.is_empty());
    cases
}

/// A golden number; those that JSON doesn't have are strings.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn assert_near(what: &str, got: f64, want: f64, tolerance: f64) {
    let same = (got - want).abs() <= tolerance || (got.is_nan() && want.is_nan());
    assert!(same, "{what}: {got}, not {want}");
}

impl Case {
    /// The K that the data allows.
    fn allowed(&self) -> Vec<usize> {
        self.ks.iter().copied().filter(|&k| k < self.data.len()).collect()
    }

    fn assert_recall(&self, found: &Retrieval, expected: &Value) {
        for (k, want) in self.allowed().iter().zip(expected.as_array().unwrap()) {
            let got = found.mean(Measure::recall(*k));
            assert_near(&format!("{}, K = {k}", self.name), got, number(want), 1e-12);
        }
    }
}

#[test]
fn recall_agrees_with_the_golden_metrics() {
    for case in cases() {
        let allowed = case.allowed();
        if allowed.len() < case.ks.len() {
            let error = recall_at(&case.data, &case.ks, None).unwrap_err();
            assert!(matches!(error, MetricError::TooFew { .. }), "{}: {error}", case.name);
        }
        let found = Search::default().retrieval(&case.data, &allowed).unwrap();
        let expected = &case.entry["recall_self_excluded"];
        case.assert_recall(&found, &expected["ties_by_index"]);
        for (i, &k) in allowed.iter().enumerate() {
            let (worst, best) = (&expected["worst_tie_order"][i], &expected["best_tie_order"][i]);
            let bounds = number(worst) - 1e-12..=number(best) + 1e-12;
            assert!(bounds.contains(&found.mean(Measure::recall(k))), "{}, K = {k}", case.name);
        }
    }
}

#[test]
fn the_references_way_drops_the_first_neighbour() {
    let search = Search { exclude: Exclude::FirstNeighbour, ..Search::default() };
    for case in cases() {
        let found = search.retrieval(&case.data, &case.allowed()).unwrap();
        case.assert_recall(&found, &case.entry["recall_f64_distance_matrix_drop_first"]);
    }
}

#[test]
fn precision_and_map_at_r_agree_with_the_golden_metrics() {
    for case in cases() {
        let found = Search::default().retrieval(&case.data, &[]).unwrap();
        let expected = &case.entry["accuracy"]["exact_ties_by_index"];
        for (measure, name) in [
            (metric("precision_at_1", 0), "precision_at_1"),
            (metric("r_precision", 0), "r_precision"),
            (metric("map_at_r", 0), "mean_average_precision_at_r"),
        ] {
            let what = format!("{}, {name}", case.name);
            assert_near(&what, found.mean(measure), number(&expected[name]), 1e-12);
        }
    }
}

#[test]
fn mutual_information_agrees_with_the_golden_metrics() {
    for Case { name, data, clusters, entry, .. } in cases() {
        let expected = &entry["accuracy"]["exact_ties_by_index"];
        let nmi = normalized_mutual_information(&data.labels, &clusters).unwrap();
        assert_near(&format!("{name}, NMI"), nmi, number(&expected["NMI"]), 1e-10);
        let ami = adjusted_mutual_information(&data.labels, &clusters).unwrap();
        assert_near(&format!("{name}, AMI"), ami, number(&expected["AMI"]), 1e-9);
    }
}

/// Numbers from 0 to 1 that look random.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut x = seed * 2 + 1;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u32 << 24) as f32
    }
}

/// Clouds that are hard to order: ties, duplicates, far from the origin, tiny, huge, uneven.
fn clouds() -> Vec<(&'static str, Embeddings)> {
    let cloud = |n: usize, dim: usize, classes: i64, seed: u64, value: &dyn Fn(f32) -> f32| {
        let mut next = noise(seed);
        let rows = (0..n * dim).map(|_| value(next())).collect();
        let labels = (0..n).map(|_| (next() * next() * classes as f32) as i64).collect();
        Embeddings { rows, dim, labels }
    };
    let mut outlier = cloud(300, 8, 12, 9, &|x| x);
    outlier.rows[80..88].fill(1e6);
    vec![
        ("plain", cloud(700, 33, 40, 1, &|x| x)),
        ("lattice", cloud(500, 3, 20, 2, &|x| (x * 3.0).floor())),
        ("offset", cloud(400, 16, 30, 3, &|x| 1000.0 + x)),
        ("hair", cloud(300, 7, 9, 4, &|x| 1.0 + (x * 8.0).floor() * f32::EPSILON)),
        ("tiny", cloud(300, 5, 9, 5, &|x| x * 1e-40)),
        ("huge", cloud(300, 5, 9, 6, &|x| (x - 0.5) * 2.0 * 3e38)),
        ("one class", cloud(200, 6, 1, 7, &|x| x)),
        ("all alike", cloud(200, 6, 5, 8, &|_| 3.7)),
        ("outlier", outlier),
        (
            "minus zero",
            cloud(200, 2, 8, 10, &|x| if x < 0.5 { -0.0 } else { (x * 4.0).floor() - 2.0 }),
        ),
    ]
}

/// Every sample of a gallery in order of distance to a query; equal ones by index.
fn order(queries: &Embeddings, query: usize, gallery: &Embeddings) -> Vec<usize> {
    let distance = |i: usize| -> f64 {
        let pairs = queries.row(query).iter().zip(gallery.row(i));
        pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let distances: Vec<f64> = (0..gallery.len()).map(distance).collect();
    let mut order: Vec<usize> = (0..gallery.len()).collect();
    order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
    order
}

/// The metrics from whole lists of neighbours.
fn by_lists(
    queries: &Embeddings,
    gallery: &Embeddings,
    left_out: Option<Exclude>,
    ks: &[usize],
) -> Vec<f64> {
    let lists = ks.len() + 3;
    let mut sums = vec![0.0; lists + 2 * ks.len()];
    let mut counted = 0.0;
    for query in 0..queries.len() {
        let class = queries.labels[query];
        let mut list = order(queries, query, gallery);
        match left_out {
            Some(Exclude::Query) => list.retain(|&i| i != query),
            Some(Exclude::FirstNeighbour) => {
                list.remove(0);
            }
            None => {}
        }
        let hits: Vec<bool> = list.iter().map(|&i| gallery.labels[i] == class).collect();
        for (sum, &k) in sums.iter_mut().zip(ks) {
            *sum += f64::from(u8::from(hits[..k].contains(&true)));
        }
        let r = gallery.labels.iter().filter(|&&l| l == class).count()
            - usize::from(left_out.is_some());
        if r > 0 {
            counted += 1.0;
            let precision = |i: usize| hits[..i].iter().filter(|h| **h).count() as f64 / i as f64;
            sums[ks.len()] += precision(1);
            sums[ks.len() + 1] += precision(r);
            let hit = (1..=r).filter(|&i| hits[i - 1]);
            sums[ks.len() + 2] += hit.map(precision).sum::<f64>() / r as f64;
            for (i, &k) in ks.iter().enumerate() {
                let hit = (1..=k).filter(|&i| hits[i - 1]);
                sums[lists + 2 * i] += precision(k);
                sums[lists + 2 * i + 1] += hit.map(precision).sum::<f64>() / r.min(k) as f64;
            }
        }
    }
    let n = queries.len() as f64;
    sums.iter().enumerate().map(|(i, sum)| sum / if i < ks.len() { n } else { counted }).collect()
}

/// A metric by its key.
fn metric(key: &str, k: usize) -> Measure {
    Measure::of(key, k).unwrap()
}

fn by_search(found: &Retrieval, ks: &[usize]) -> Vec<f64> {
    let recall = ks.iter().map(|&k| Measure::recall(k));
    recall
        .chain([metric("precision_at_1", 0), metric("r_precision", 0), metric("map_at_r", 0)])
        .map(|measure| found.mean(measure))
        .collect()
}

/// Those at K, too, of a search for lists.
fn by_list_search(found: &Retrieval, ks: &[usize]) -> Vec<f64> {
    let at = |&k: &usize| [metric("precision_at_k", k), metric("map_at_k", k)];
    let lists = ks.iter().flat_map(at).map(|measure| found.mean(measure));
    by_search(found, ks).into_iter().chain(lists).collect()
}

fn assert_same(name: &str, got: &[f64], want: &[f64]) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_near(&format!("{name}, metric {i}"), *got, *want, 1e-11);
    }
}

#[test]
fn the_search_finds_what_sorting_everything_finds() {
    let ks = [1, 2, 5, 50, 150];
    for (name, data) in clouds() {
        for exclude in [Exclude::Query, Exclude::FirstNeighbour] {
            let found = Search { exclude, ..Search::default() }.retrieval(&data, &ks).unwrap();
            let want = by_lists(&data, &data, Some(exclude), &ks);
            assert_same(name, &by_search(&found, &ks), &want);
            let search = Search { exclude, lists: true, ..Search::default() };
            let found = search.retrieval(&data, &ks).unwrap();
            assert_same(name, &by_list_search(&found, &ks), &want);
        }
        let cut = data.len() / 4;
        let part = |range: std::ops::Range<usize>| Embeddings {
            rows: data.rows[range.start * data.dim..range.end * data.dim].to_vec(),
            dim: data.dim,
            labels: data.labels[range].to_vec(),
        };
        let (queries, gallery) = (part(0..cut), part(cut..data.len()));
        let found = Search::default().retrieval_in(&queries, &gallery, &ks[..4]).unwrap();
        let want = by_lists(&queries, &gallery, None, &ks[..4]);
        assert_same(name, &by_search(&found, &ks[..4]), &want);
        let search = Search { lists: true, ..Search::default() };
        let found = search.retrieval_in(&queries, &gallery, &ks[..4]).unwrap();
        assert_same(name, &by_list_search(&found, &ks[..4]), &want);
    }
}

#[test]
fn the_cosine_orders_directions() {
    let ks = [1, 10];
    let search = Search { distance: Distance::Cosine, ..Search::default() };
    for (name, data) in clouds() {
        let found = match search.retrieval(&data, &ks) {
            Ok(found) => found,
            Err(error) => {
                assert!(matches!(error, MetricError::Zero { .. }), "{name}: {error}");
                continue;
            }
        };
        let unit = data.normalized().unwrap();
        assert_same(
            name,
            &by_search(&found, &ks),
            &by_lists(&unit, &unit, Some(Exclude::Query), &ks),
        );
    }
    // Length doesn't count.
    let rows = vec![1.0, 0.0, 5.0, 0.5, 0.8, 0.6];
    let data = Embeddings { rows, dim: 2, labels: vec![0, 0, 1] };
    let nearest = search.nearest(&data, &data, 2).unwrap();
    assert_eq!(nearest.samples, [0, 1, 1, 0, 2, 1]);
    assert_near("cosine", nearest.distances[1], 1.0 - 5.0 / 25.25f64.sqrt(), 1e-7);
}

#[test]
fn little_memory_and_any_threads_change_nothing() {
    for (name, data) in clouds() {
        let all = Search::default().retrieval(&data, &[1, 10, 100]).unwrap();
        let MetricError::Memory { needed, .. } =
            Search { memory: 0, threads: 1, ..Search::default() }
                .retrieval(&data, &[1])
                .unwrap_err()
        else {
            panic!("{name}: a search without memory");
        };
        for (memory, threads) in [(needed, 1), (needed * 3, 3), (needed * 8, 2)] {
            let search = Search { memory, threads, ..Search::default() };
            match search.retrieval(&data, &[1, 10, 100]) {
                Ok(found) => assert_eq!(found, all, "{name} in {memory} bytes, {threads} threads"),
                Err(error) => {
                    assert!(threads > 1 && matches!(error, MetricError::Memory { .. }), "{error}");
                }
            }
        }
    }
}

#[test]
fn nearest_lists_are_exact() {
    for (name, data) in clouds() {
        for (k, memory) in [(1, 1 << 20), (7, 1 << 18), (data.len(), 1 << 22)] {
            let search = Search { memory, ..Search::default() };
            let nearest = search.nearest(&data, &data, k).unwrap();
            for query in 0..data.len() {
                let list = &nearest.samples[query * k..(query + 1) * k];
                let want: Vec<u32> =
                    order(&data, query, &data)[..k].iter().map(|&i| i as u32).collect();
                assert_eq!(list, want, "{name}, query {query}, k = {k}");
            }
        }
    }
}

#[test]
fn kmeans_finds_clear_clusters_and_is_the_same_everywhere() {
    let mut next = noise(3);
    let labels: Vec<i64> = (0..300).map(|i| i % 10).collect();
    let rows = labels.iter().flat_map(|&class| (0..10).map(move |d| f32::from(class == d)));
    let rows = rows.map(|x| 10.0 * x + next()).collect();
    let data = Embeddings { rows, dim: 10, labels };
    let search = Search::default();
    let clusters = kmeans(&data, 10, 1, &search).unwrap();
    assert!(clusters.settled);
    assert_eq!(normalized_mutual_information(&data.labels, &clusters.of), Ok(1.0));
    for (name, data) in clouds() {
        let run = |threads, memory| -> Clusters {
            kmeans(&data, 20, 5, &Search { threads, memory, ..Search::default() }).unwrap()
        };
        let clusters = run(1, 1 << 20);
        assert_eq!(clusters, run(3, 1 << 23), "{name}");
        assert!(clusters.of.iter().all(|c| (0..20).contains(c)), "{name}");
    }
    let every = kmeans(&data, 300, 1, &search).unwrap();
    assert_eq!(every.of.iter().collect::<std::collections::BTreeSet<_>>().len(), 300);
    assert_eq!(kmeans(&data, 301, 1, &search), Err(MetricError::Clusters { k: 301, n: 300 }));
}

#[test]
fn confidence_intervals_hold_the_metric_and_repeat() {
    let data = clouds().remove(0).1;
    let found = Search::default().retrieval(&data, &[1, 10]).unwrap();
    let measures = [Measure::recall(1), Measure::recall(10), metric("map_at_r", 0)];
    let width = |unit: Unit, resamples: usize| {
        let intervals = bootstrap(&found, &measures, resamples, unit, 7);
        assert_eq!(intervals, bootstrap(&found, &measures, resamples, unit, 7));
        assert_ne!(intervals, bootstrap(&found, &measures, resamples, unit, 8));
        for (interval, &measure) in intervals.iter().zip(&measures) {
            let mean = found.mean(measure);
            assert!(interval.low < mean && mean < interval.high, "{mean} in {interval:?}");
        }
        intervals[1].high - intervals[1].low
    };
    // The normal approximation of a share over independent queries.
    let share = found.mean(Measure::recall(10));
    let normal = 2.0 * 1.96 * (share * (1.0 - share) / data.len() as f64).sqrt();
    assert_near("width over queries", width(Unit::Query, 2000), normal, 0.1 * normal);
    assert!(width(Unit::Class, 2000) > normal, "queries of a class err together");
}

#[test]
fn classes_add_up_to_the_whole() {
    for (name, data) in clouds() {
        let found = Search::default().retrieval(&data, &[3]).unwrap();
        let classes = found.per_class(Measure::recall(3));
        let sum: f64 = classes.values().map(|(queries, recall)| *queries as f64 * recall).sum();
        assert_near(name, sum / data.len() as f64, found.mean(Measure::recall(3)), 1e-12);
        let mean = classes.values().map(|(_, recall)| recall).sum::<f64>() / classes.len() as f64;
        assert_near(name, found.class_mean(Measure::recall(3)), mean, 1e-12);
    }
}

#[test]
fn what_has_no_metric_says_why() {
    let data = |rows: &[f32]| Embeddings { rows: rows.to_vec(), dim: 1, labels: vec![0, 0, 1, 1] };
    let recall = |rows: &[f32], k| recall_at(&data(rows), &[k], None).unwrap_err();
    assert_eq!(recall(&[0.0, 1.0, f32::NAN, 2.0], 1), MetricError::NotFinite { row: 2 });
    assert_eq!(recall(&[0.0, 1.0, 2.0, 3.0], 4), MetricError::TooFew { k: 4, others: 3 });
    assert_eq!(recall(&[0.0, 1.0, 2.0, 3.0], 0), MetricError::TooFew { k: 0, others: 3 });
    let shape = MetricError::Shape { values: 3, labels: 4, dim: 1 };
    assert_eq!(recall(&[0.0, 1.0, 2.0], 1), shape);
    let none = Embeddings { rows: vec![], dim: 1, labels: vec![] };
    assert_eq!(recall_at(&none, &[], None), Err(MetricError::Empty));
    let cosine = Search { distance: Distance::Cosine, ..Search::default() };
    let zero = cosine.retrieval(&data(&[1.0, 0.0, 2.0, 3.0]), &[1]);
    assert_eq!(zero.unwrap_err(), MetricError::Zero { row: 1 });
    let wide = Embeddings { rows: vec![0.0; 8], dim: 2, labels: vec![0, 0, 1, 1] };
    let both = Search::default().retrieval_in(&wide, &data(&[0.0; 4]), &[1]);
    assert_eq!(both.unwrap_err(), MetricError::Dimensions { queries: 2, gallery: 1 });
    let lengths = MetricError::Labelings { labels: 2, clusters: 3 };
    assert_eq!(normalized_mutual_information(&[0, 1], &[0, 1, 2]), Err(lengths));
}
