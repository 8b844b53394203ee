//! Recall@K against the golden metrics.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

use retort_core::metric::{Embeddings, RecallError, recall_at};
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

fn case(name: &str, file: &SafeTensors) -> Embeddings {
    let rows = file.tensor(&format!("{name}/embeddings")).unwrap();
    let labels = file.tensor(&format!("{name}/labels")).unwrap();
    Embeddings {
        rows: rows.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        dim: rows.shape()[1],
        labels: labels.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn recall_agrees_with_the_golden_metrics() {
    let index: Value =
        serde_json::from_str(&std::fs::read_to_string(golden("metrics.json")).unwrap()).unwrap();
    let bytes = std::fs::read(golden(index["file"].as_str().unwrap())).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cases = index["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for entry in cases {
        let name = entry["name"].as_str().unwrap();
        let data = case(name, &file);
        let ks: Vec<usize> = entry["k"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| usize::try_from(k.as_u64().unwrap()).unwrap())
            .collect();
        let allowed: Vec<usize> = ks.iter().copied().filter(|&k| k < data.labels.len()).collect();
        if allowed.len() < ks.len() {
            let error = recall_at(&data, &ks).unwrap_err();
            assert!(matches!(error, RecallError::TooFew { .. }), "{name}: {error}");
        }
        let expected = numbers(&entry["recall_self_excluded"]["ties_by_index"]);
        let got = recall_at(&data, &allowed).unwrap();
        for (i, (got, want)) in got.iter().zip(&expected).enumerate() {
            assert!((got - want).abs() < 1e-12, "{name}, K = {}: {got}, not {want}", allowed[i]);
        }
    }
}

#[test]
fn what_has_no_recall_says_why() {
    let data = Embeddings { rows: vec![0.0, 1.0, f32::NAN, 2.0], dim: 1, labels: vec![0, 0, 1, 1] };
    assert_eq!(recall_at(&data, &[1]), Err(RecallError::NotFinite { row: 2 }));
    assert_eq!(recall_at(&data, &[4]), Err(RecallError::TooFew { k: 4, n: 4 }));
}
