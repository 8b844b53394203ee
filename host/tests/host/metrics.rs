//! `retort metrics` and the metrics of `retort evaluate`, as a user types them.

use crate::program::on_cpu as retort;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn json(args: &[&str], dir: &Path) -> Value {
    let output = retort(&[args, &["--json"]].concat(), dir);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(args: &[&str], dir: &Path) -> String {
    let output = retort(args, dir);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and message of a command that fails.
fn failure(args: &[&str], dir: &Path) -> (i32, String) {
    let output = retort(args, dir);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("bug in retort") && !text.contains("panicked"), "{args:?}: {text}");
    (output.status.code().unwrap(), text)
}

/// A tensor to write: name, type, shape and bytes.
type Entry = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn floats(name: &'static str, shape: &[usize], values: &[f32]) -> Entry {
    (name, Dtype::F32, shape.to_vec(), values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

fn integers(name: &'static str, values: &[i64]) -> Entry {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    (name, Dtype::I64, vec![values.len()], bytes)
}

fn write(path: &Path, entries: &[Entry]) {
    let views = entries.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const ROWS: [f32; 12] = [0.0, 0.0, 1.0, 0.0, 5.0, 0.0, 5.5, 0.0, 1.6, 0.0, 9.0, 0.0];
const LABELS: [i64; 6] = [7, 7, 8, 8, 8, 9];

/// Six points on a line, of three classes, one of them alone.
fn line(dir: &Path) {
    let file = [floats("embeddings", &[6, 2], &ROWS), integers("labels", &LABELS)];
    write(&dir.join("line.safetensors"), &file);
}

#[test]
fn metrics_of_a_small_file_are_those_worked_out_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    line(dir.path());
    let out = json(&["metrics", "line.safetensors", "--k=1,2,5", "--per-class"], dir.path());
    // Neighbours by query: 0 -> 1 4 2 3 5; 1 -> 4 0 2 3 5; 2 -> 3 4 1 5 0; 3 -> 2 5 4 1 0;
    // 4 -> 1 0 2 3 5. Sample 5 is alone: a miss of Recall, left out of the others.
    assert_eq!(out["recall"]["1"], 3.0 / 6.0);
    assert_eq!(out["recall"]["2"], 4.0 / 6.0);
    assert_eq!(out["recall"]["5"], 5.0 / 6.0);
    assert_eq!(out["precision_at_1"], 3.0 / 5.0);
    let near = |key: &str, want: f64| {
        let got = out[key].as_f64().unwrap();
        assert!((got - want).abs() < 1e-12, "{key}: {got}, not {want}");
    };
    near("r_precision", (1.0 + 0.0 + 1.0 + 0.5 + 0.0) / 5.0);
    near("map_at_r", (1.0 + 0.0 + 1.0 + 0.5 + 0.0) / 5.0);
    let about = ["samples", "classes", "dim", "alone"].map(|key| out[key].as_u64().unwrap());
    assert_eq!(about, [6, 3, 2, 1]);
    assert_eq!((&out["left_out"], &out["distance"]), (&"query".into(), &"euclidean".into()));
    let classes = out["per_class"].as_array().unwrap();
    assert_eq!(classes.iter().map(|c| c["queries"].as_u64().unwrap()).sum::<u64>(), 6);
    assert_eq!(
        (&classes[1]["label"], &classes[1]["recall"]["1"]),
        (&8.into(), &(2.0 / 3.0).into())
    );
    assert_eq!(classes[2]["map_at_r"], "nan");

    let table = text(&["metrics", "line.safetensors", "--k=1", "--per-class"], dir.path());
    for part in ["50.00 %", "MAP@R", "1 query has no other sample", "QUERIES"] {
        assert!(table.contains(part), "{part} is missing: {table}");
    }
}

#[test]
fn labels_gallery_and_clusters_come_from_tensors_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    line(path);
    let plain = json(&["metrics", "line.safetensors", "--k=1,2"], path);
    let lines = LABELS.map(|l| l.to_string()).join("\n");
    std::fs::write(path.join("labels.txt"), lines).unwrap();
    let doubles: Vec<u8> = ROWS.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
    let small: Vec<u8> = LABELS.iter().map(|&l| u8::try_from(l).unwrap()).collect();
    let odd: [Entry; 4] = [
        ("e", Dtype::F64, vec![6, 2], doubles),
        ("l", Dtype::U8, vec![6, 1], small),
        floats("g", &[2, 2], &[0.1, 0.0, 5.2, 0.0]),
        integers("gl", &[7, 8]),
    ];
    write(&path.join("odd.safetensors"), &odd);
    write(&path.join("clusters.safetensors"), &[integers("clusters", &[0, 0, 1, 1, 1, 2])]);

    for args in [
        &["metrics", "odd.safetensors", "--query=e", "--labels=l"][..],
        &["metrics", "odd.safetensors", "--embeddings=e", "--labels=labels.txt"],
        &["metrics", "odd.safetensors", "--query=e", "--labels=line.safetensors"],
    ] {
        let out = json(&[args, &["--k=1,2"]].concat(), path);
        for key in ["recall", "precision_at_1", "r_precision", "map_at_r"] {
            assert_eq!(out[key], plain[key], "{args:?}: {key}");
        }
    }
    let apart = ["metrics", "line.safetensors", "--gallery=odd.safetensors", "--gallery-labels=gl"];
    let (code, message) = failure(&apart, path);
    assert!(code == 1 && message.contains("no tensor embeddings"), "{message}");
    let one = ["metrics", "odd.safetensors", "--query=e", "--labels=l", "--gallery=g"];
    let out = json(&[&one[..], &["--gallery-labels=gl", "--k=1,2"]].concat(), path);
    // 0, 1 and 1.6 are nearest to the gallery's 7, the others to its 8; there is no 9.
    assert_eq!(
        (&out["recall"]["1"], &out["recall"]["2"]),
        (&(4.0 / 6.0).into(), &(5.0 / 6.0).into())
    );
    assert_eq!((&out["gallery"], &out["left_out"]), (&2.into(), &"none".into()));
    let (code, message) = failure(&one, path);
    assert!(code == 2 && message.contains("--gallery-labels"), "{message}");

    let given = ["metrics", "line.safetensors", "--k=1", "--clusters=clusters.safetensors"];
    let out = json(&given, path);
    assert_eq!((&out["nmi"], &out["ami"]), (&1.0.into(), &1.0.into()));
}

#[test]
fn intervals_clusters_and_the_references_way_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    // Two classes on one point each, and a third that shares the first one's point.
    let rows: Vec<f32> = (0..24).flat_map(|i| [f32::from(i % 3 == 1), 1.0]).collect();
    let labels: Vec<i64> = (0..24).map(|i| i % 3).collect();
    let file = [floats("embeddings", &[24, 2], &rows), integers("labels", &labels)];
    write(&path.join("points.safetensors"), &file);

    let asked = ["--k=1", "--bootstrap=200", "--nmi"];
    let out = json(&[&["metrics", "points.safetensors"], &asked[..]].concat(), path);
    let ends = out["intervals"]["recall"]["1"].as_array().unwrap();
    let recall = out["recall"]["1"].as_f64().unwrap();
    assert!(ends[0].as_f64().unwrap() <= recall && recall <= ends[1].as_f64().unwrap());
    assert_eq!(
        (&out["intervals"]["by"], &out["intervals"]["level"]),
        (&"class".into(), &0.95.into())
    );
    assert!(out["nmi"].as_f64().unwrap() > 0.5);
    assert_eq!(out, json(&[&["metrics", "points.safetensors"], &asked[..]].concat(), path));

    let reference = ["metrics", "points.safetensors", "--k=1", "--reference"];
    let shipped = json(&reference, path);
    assert_eq!(shipped["left_out"], "first neighbour");
    // By index: all of class 1 and those of class 0 but sample 0 find sample 0 or 1, or 3 and 4; of
    // class 2 none does. The reference drops sample 0, and then each of them finds sample 2.
    assert_ne!(out["recall"]["1"], shipped["recall"]["1"]);
    assert!(text(&reference, path).contains("first neighbour was dropped"));
    let cosine = json(&["metrics", "points.safetensors", "--k=1", "--metric=cosine"], path);
    assert_eq!(cosine["distance"], "cosine");
}

/// Files whose headers claim what can't be, and pipes that nobody writes to.
fn hostile_headers(path: &Path) {
    let file = |name: &str, header: &str, data: &[u8]| {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
        std::fs::write(path.join(name), bytes).unwrap();
    };
    let tensor = |name: &str, shape: &str, from: usize, to: usize| {
        let offsets = format!("\"data_offsets\":[{from},{to}]");
        format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{shape}],{offsets}}}")
    };
    let all = |entries: &[String]| format!("{{{}}}", entries.join(","));
    let empty = |n: usize| (0..n).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>();
    let million: Vec<_> = (0..500_000).map(|i| tensor(&format!("t{i}"), "0", 0, 0)).collect();
    let million = all(&million);
    let spaces = " ".repeat(42_888_893 - million.len());
    file("million.safetensors", &format!("{million}{spaces}"), &[]);
    file("many.safetensors", &all(&empty(100_001)).replace(":0", ":{}"), &[]);
    file("dims.safetensors", &all(&[tensor("a", &vec!["1"; 1000].join(","), 0, 4)]), &[0; 4]);
    file("twice.safetensors", &all(&vec![tensor("a", "1", 0, 4); 2]), &[0; 4]);
    file("name.safetensors", &all(&[tensor(&"n".repeat(5000), "1", 0, 4)]), &[0; 4]);
    file("escape.safetensors", &all(&[tensor("a\\u001b[2J", "1", 0, 4)]), &[0; 4]);
    std::fs::write(path.join("long.safetensors"), [255; 100]).unwrap();
    let giant = "4294967296,4294967296,4294967296";
    file("overflow.safetensors", &all(&[tensor("embeddings", giant, 0, 4)]), &[0; 4]);
    let [one, two] = [("a", 0), ("b", 4)].map(|(name, from)| tensor(name, "2", from, from + 8));
    file("overlap.safetensors", &all(&[one, two]), &[0; 12]);
    file("zero.safetensors", &all(&[tensor("embeddings", "0,9223372036854775807", 0, 0)]), &[]);
    for name in ["pipe.safetensors", "pipe.txt"] {
        assert!(Command::new("mkfifo").arg(path.join(name)).status().unwrap().success());
    }
}

/// A NumPy file of version 1, of this type and shape.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), data].concat()
}

/// The same for files of NumPy.
fn hostile_arrays(path: &Path) {
    let file = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).unwrap();
    let rows: Vec<u8> = ROWS.iter().flat_map(|x| x.to_le_bytes()).collect();
    file("line.npy", &npy("<f4", "6, 2", &rows));
    file("header.npy", b"\x93NUMPY\x02\0\xff\xff\xff\xff{'descr'");
    file("cut.npy", &npy("<f4", "6, 2", &rows[..8]));
    file("giant.npy", &npy("<f4", "99999999999999999999, 2", &rows[..8]));
    file("product.npy", &npy("<f4", "4294967296, 4294967296, 4294967296", &rows[..8]));
    file("nothing.npy", &npy("<U0", "9000000000000000000,", &[]));
    file("objects.npy", &npy("|O", "6, 2", b"\x80\x04."));
    file("deep.npy", &npy("<f4", &"(".repeat(60_000), &[]));
    file("dimensions.npy", &npy("<f4", &"1,".repeat(100), &rows[..4]));
    let record = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6, 2), }\n";
    file("record.npy", &[b"\x93NUMPY\x01\0\x44\0", record.as_bytes(), &rows].concat());
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path.join("bomb.npz")).unwrap());
    zip.start_file("embeddings.npy", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&npy("<f4", "50000000, 1", &[])).unwrap();
    (0..200).for_each(|_| zip.write_all(&vec![0; 1 << 20]).unwrap());
    zip.finish().unwrap();
}

#[test]
fn files_of_other_systems_hold_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    line(path);
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/arrays");
    for file in std::fs::read_dir(files).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), path.join(file.file_name())).unwrap();
    }
    let plain = json(&["metrics", "line.safetensors", "--k=1,2,5"], path);
    for args in [
        &["f4.npy", "--labels=i8.npy"][..],
        &["f8_big_endian.npy", "--labels=i4_big_endian.npy"],
        &["f8_fortran.npy", "--labels=i2.npy"],
        &["f2.npy", "--labels=i1.npy"],
        &["f4.npy", "--labels=u1.npy"],
        &["f4.npy", "--labels=u2.npy"],
        &["f4.npy", "--labels=u4.npy"],
        &["f4.npy", "--labels=u8.npy"],
        &["f4.npy", "--labels=column.npy"],
        &["f4.npy", "--labels=names.npy"],
        &["f4.npy", "--labels=bytes.npy"],
        &["f4.npy", "--labels=names.txt"],
        &["f4.npy", "--labels=both.npz"],
        &["f4.npy", "--labels=both.pt"],
        &["f4.npy", "--labels=table.csv"],
        &["f4.npy", "--labels=labels.csv"],
        &["both.npz"],
        &["compressed.npz"],
        &["both.pt"],
        &["table.csv"],
        &["table.tsv"],
        &["headless.csv"],
        &["f4.npy", "--labels=i8.npy", "--gallery=both.npz", "--reference"],
    ] {
        if args.contains(&"--reference") {
            let (code, message) = failure(&[&["metrics"], args].concat(), path);
            assert!(code == 2 && message.contains("leave out --gallery"), "{message}");
            continue;
        }
        let out = json(&[&["metrics"], args, &["--k=1,2,5"]].concat(), path);
        for key in ["recall", "precision_at_1", "r_precision", "map_at_r", "mean_of_classes"] {
            assert_eq!(out[key], plain[key], "{args:?}: {key}");
        }
    }
    // Names stay names, and numbers beyond 63 bits numbers.
    for (labels, names) in [
        ("names.txt", ["bée", "cat dog", "x"]),
        ("u8.npy", ["7", "9223372036854775808", "18446744073709551615"]),
    ] {
        let args = ["metrics", "f4.npy", &format!("--labels={labels}"), "--k=1", "--per-class"];
        let out = json(&args, path);
        let classes = out["per_class"].as_array().unwrap();
        let found: Vec<&str> = classes.iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(found, names);
    }
    // Classes are told by what they are called, in whichever file.
    let args = ["metrics", "f4.npy", "--labels=names.txt", "--gallery=both.npz"];
    let args = [&args[..], &["--gallery-labels=names.npy", "--k=1", "--per-class"]].concat();
    assert_eq!(json(&args, path)["recall"]["1"], 1.0);
    let args = ["metrics", "f4.npy", "--labels=names.txt", "--gallery=both.npz", "--k=1"];
    let output = retort(&args, path);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("no class in common"), "{said}");
}

#[test]
fn the_shared_cases_are_computed() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    let cases = std::env::var_os("RETORT_CASES").map_or(cases, PathBuf::from);
    assert!(cases.is_dir(), "{} is missing; set RETORT_CASES", cases.display());
    let out = json(&["metrics", "m_labels_uint64.safetensors", "--k=1"], &cases);
    assert!(out["recall"]["1"].is_number(), "{out}");
    let named = ["metrics", "m_txt.safetensors", "--labels=labels_names.txt", "--k=1"];
    assert!(json(&named, &cases)["recall"]["1"].is_number());
}

#[test]
fn unbalanced_classes_and_lists_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    line(dir.path());
    let args = ["metrics", "line.safetensors", "--k=1,2,5", "--map-at-k"];
    let out = json(&args, dir.path());
    let near = |got: &Value, want: f64| {
        assert!((got.as_f64().unwrap() - want).abs() < 1e-12, "{got}, not {want}");
    };
    // By class: 7 has a hit of two, 8 two of three, and 9 none, which is a miss for Recall only.
    let of_classes = &out["mean_of_classes"];
    near(&of_classes["recall"]["1"], (1.0 / 2.0 + 2.0 / 3.0) / 3.0);
    near(&of_classes["precision_at_1"], f64::midpoint(1.0 / 2.0, 2.0 / 3.0));
    // Ranks of the partners of 0 to 4: 1; 2; 1, 2; 1, 3; 3, 4.
    near(&out["precision_at_k"]["2"], (0.5 + 0.5 + 1.0 + 0.5 + 0.0) / 5.0);
    near(&out["precision_at_k"]["5"], (0.2 + 0.2 + 0.4 + 0.4 + 0.4) / 5.0);
    near(&out["map_at_k"]["1"], 3.0 / 5.0);
    let [fourth, last] =
        [(1.0, 2.0 / 3.0), (1.0 / 3.0, 2.0 / 4.0)].map(|(a, b)| f64::midpoint(a, b));
    near(&out["map_at_k"]["5"], (1.0 + 1.0 / 2.0 + 1.0 + fourth + last) / 5.0);
    let table = text(&args, dir.path());
    for part in ["MEAN OF CLASSES", "38.89 %", "precision@5", "MAP@5"] {
        assert!(table.contains(part), "{part} is missing: {table}");
    }
    assert!(json(&["metrics", "line.safetensors", "--k=1"], dir.path())["map_at_k"].is_null());

    // What is the same for every network is said.
    for (labels, says) in [([3; 6], "100 % whatever"), ([1, 2, 3, 4, 5, 6], "0 % whatever")] {
        let file = [floats("embeddings", &[6, 2], &ROWS), integers("labels", &labels)];
        write(&dir.path().join("same.safetensors"), &file);
        let output = retort(&["metrics", "same.safetensors", "--k=1"], dir.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("warning") && said.contains(says), "{said}");
    }
}

#[test]
fn wrong_input_gets_one_sentence_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    line(path);
    let mut bad = ROWS;
    bad[5] = f32::NAN;
    let rows = |name: &str, entries: &[Entry]| write(&path.join(name), entries);
    let good = floats("embeddings", &[6, 2], &ROWS);
    rows("nan.safetensors", &[floats("embeddings", &[6, 2], &bad), integers("labels", &LABELS)]);
    rows("short.safetensors", &[good.clone(), integers("labels", &LABELS[..5])]);
    rows("named.safetensors", &[floats("embedding", &[6, 2], &ROWS), integers("label", &LABELS)]);
    rows("flat.safetensors", &[floats("embeddings", &[12], &ROWS), integers("labels", &LABELS)]);
    rows("float.safetensors", &[good.clone(), floats("labels", &[6], &ROWS[..6])]);
    rows("whole.safetensors", &[integers("embeddings", &LABELS), integers("labels", &LABELS)]);
    rows("empty.safetensors", &[floats("embeddings", &[0, 2], &[]), integers("labels", &[])]);
    rows("wide.safetensors", &[floats("embeddings", &[1, 3], &[1.0; 3]), integers("labels", &[7])]);
    rows("alone.safetensors", &[good]);
    std::fs::write(path.join("broken.safetensors"), "nothing").unwrap();
    std::fs::write(path.join("words.txt"), "7\nseven\n").unwrap();
    hostile_headers(path);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["million.safetensors"], 1, "its header has 42888893 bytes, and may have 16777216"),
        (&["many.safetensors"], 1, "it holds more than 100000 tensors"),
        (&["dims.safetensors"], 1, "has 1000 dimensions, and may have 16"),
        (&["twice.safetensors"], 1, "\"a\" is there twice"),
        (&["name.safetensors"], 1, "has 5000 bytes, and may have 256"),
        (&["escape.safetensors"], 1, "has control characters"),
        (&["long.safetensors"], 1, "its header is longer than it"),
        (&["overflow.safetensors"], 1, "isn't a whole safetensors file"),
        (&["overlap.safetensors"], 1, "isn't a whole safetensors file"),
        (&["zero.safetensors"], 1, "there is nothing in it"),
        (&["line.safetensors", "--k=1000000000000000000"], 2, "K = 1000000000000000000 needs"),
        (&["line.safetensors", "--bootstrap=1000000000000000"], 2, "--bootstrap"),
        (&["."], 1, "it is a folder, not a file"),
        (&["line.safetensors", "--labels=/dev/zero"], 1, ""),
        (&["pipe.safetensors"], 1, "it is a pipe, not a file"),
        (&["line.safetensors", "--labels=pipe.txt"], 1, "it is a pipe, not a file"),
        (&["line.safetensors", "--gallery=pipe.safetensors"], 1, "it is a pipe, not a file"),
        (&["nan.safetensors"], 1, "tensor embeddings is NaN at [2, 1]"),
        (&["short.safetensors"], 1, "has 6 rows, but there are 5 labels"),
        (&["named.safetensors"], 1, "did you mean embedding?); it has embedding [6, 2], label [6]"),
        (
            &["named.safetensors", "--query=embedding"],
            1,
            "Name the classes of its embeddings with --labels",
        ),
        (&["alone.safetensors"], 1, "has no tensor labels; it has embeddings [6, 2]"),
        (&["flat.safetensors"], 1, "has shape [12]; embeddings have two dimensions"),
        (&["float.safetensors"], 1, "tensor labels has floats; labels are whole numbers"),
        (&["whole.safetensors"], 1, "has shape [6]"),
        (&["empty.safetensors"], 1, "there is nothing in it"),
        (&["broken.safetensors"], 1, "isn't a whole safetensors file"),
        (&["missing.safetensors"], 1, "missing.safetensors"),
        (
            &["line.safetensors", "--labels=words.txt"],
            1,
            "has 6 rows, but there are 2 labels (words.txt)",
        ),
        (&["line.safetensors", "--labels=nowhere.txt"], 1, "nowhere.txt"),
        (&["line.safetensors", "--k=1,6"], 2, "K = 6 needs 6 neighbours, but a query has 5 in all"),
        (&["line.safetensors", "--k=0"], 2, "K = 0"),
        (
            &["line.safetensors", "--k=1", "--memory=100"],
            2,
            "a search in 100 bytes isn't possible; it needs at least",
        ),
        (&["line.safetensors", "--memory=3furlongs"], 2, "a size such as 8GiB"),
        (&["line.safetensors", "--metric=manhattan"], 2, "euclidean"),
        (
            &["line.safetensors", "--k=1", "--metric=cosine"],
            1,
            "the embedding of sample 0 is all zeros",
        ),
        (
            &["line.safetensors", "--k=1", "--gallery=wide.safetensors"],
            1,
            "queries have 2 dimensions",
        ),
        (&["line.safetensors", "--reference", "--gallery=line.safetensors"], 2, "name its classes"),
        (
            &["line.safetensors", "--reference", "--gallery=wide.safetensors"],
            2,
            "leave out --gallery",
        ),
        (&["line.safetensors", "--clusters=wide.safetensors"], 1, "no tensor clusters"),
    ];
    for (args, code, part) in cases {
        let (got, message) = failure(&[&["metrics"], *args].concat(), path);
        assert!(got == *code && message.contains(part), "{args:?} ({got}): {message}");
    }
}

#[test]
fn wrong_files_of_other_systems_get_one_sentence_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    line(path);
    std::fs::write(path.join("blank.txt"), "7\n\n7\n8\n8\n9\n").unwrap();
    std::fs::write(path.join("short.csv"), "a,b\n1,2\n3\n").unwrap();
    std::fs::write(path.join("word.csv"), "0.5,1\n0.5,one\n").unwrap();
    std::fs::write(path.join("binary"), b"\xff\xfe\0\x01").unwrap();
    std::fs::write(path.join("broken.npz"), b"PK\x03\x04nothing").unwrap();
    std::fs::write(path.join("broken.pt"), b"nothing").unwrap();
    hostile_arrays(path);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["line.safetensors", "--labels=blank.txt"], 1, "line 2 is blank"),
        (&["short.csv"], 1, "short.csv"),
        (&["word.csv"], 1, "line 2, column 2 is \"one\"; it needs a number"),
        (&["binary"], 1, "it is no file of arrays"),
        (&["broken.npz"], 1, "it isn't a whole zip archive"),
        (&["broken.pt"], 1, "broken.pt"),
        (&["header.npy"], 1, "its header has 4294967295 bytes, and may have 65536"),
        (&["cut.npy"], 1, "claims an array [6, 2] of <f4, but 8 bytes follow"),
        (&["giant.npy"], 1, "its header has the size \"99999999999999999999\""),
        (&["product.npy"], 1, "but 8 bytes follow"),
        (&["nothing.npy"], 1, "its elements have no size"),
        (&["objects.npy"], 1, "has type Python objects"),
        (&["deep.npy"], 1, "its header has the size"),
        (&["dimensions.npy"], 1, "it has more than 64 dimensions"),
        (&["record.npy"], 1, "has type a record"),
        (&["bomb.npz"], 1, "it unpacks to more than"),
        (&["line.npy"], 1, "has no tensor labels; it has line [6, 2]. Name the classes of its"),
    ];
    for (args, code, part) in cases {
        let (got, message) = failure(&[&["metrics"], *args].concat(), path);
        assert!(got == *code && message.contains(part), "{args:?} ({got}): {message}");
    }
}

/// The golden file's cases, cut out of it as any system might write them.
#[test]
fn golden_cases_as_files() {
    let folder = std::env::var_os("RETORT_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"),
        |golden| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PathBuf::from(golden)),
    );
    let index = std::fs::read_to_string(folder.join("metrics.json"));
    let index: Value =
        serde_json::from_str(&index.expect("golden data: set RETORT_GOLDEN")).unwrap();
    let file = folder.join(index["file"].as_str().unwrap());
    let file = file.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cases = index["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let tensor = |flag: &str, tensor: &str| format!("--{flag}={name}/{tensor}");
        let n = case["n"].as_u64().unwrap();
        let ks = case["k"].as_array().unwrap().iter().filter_map(Value::as_u64);
        let ks: Vec<String> = ks.filter(|&k| k < n).map(|k| k.to_string()).collect();
        let out = json(
            &[
                "metrics",
                file,
                &tensor("query", "embeddings"),
                &tensor("labels", "labels"),
                &tensor("clusters", "cluster_labels"),
                &format!("--k={}", ks.join(",")),
            ],
            dir.path(),
        );
        let number = |v: &Value| v.as_f64().or_else(|| v.as_str()?.parse().ok()).unwrap();
        let assert_near = |key: &str, got: &Value, want: &Value| {
            let (got, want) = (number(got), number(want));
            let same = (got - want).abs() < 1e-9 || got.is_nan() && want.is_nan();
            assert!(same, "{name}, {key}: {got}, not {want}");
        };
        let exact = &case["accuracy"]["exact_ties_by_index"];
        for (key, golden) in [
            ("nmi", "NMI"),
            ("ami", "AMI"),
            ("map_at_r", "mean_average_precision_at_r"),
            ("precision_at_1", "precision_at_1"),
            ("r_precision", "r_precision"),
        ] {
            assert_near(key, &out[key], &exact[golden]);
        }
        for (k, want) in
            ks.iter().zip(case["recall_self_excluded"]["ties_by_index"].as_array().unwrap())
        {
            assert_near(k, &out["recall"][k], want);
        }
    }
}

#[test]
fn evaluate_reports_the_same_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let tiny = ["--set=data.classes=16", "--set=data.images=8", "--width=4", "--embedding=8"];
    let short = ["--epochs=1", "--batch=16", "--images-per-class=4", "--out=run", "--json"];
    let train =
        retort(&[&["train", "source", "--loss=proxy_anchor"], &tiny[..], &short].concat(), path);
    assert!(train.status.success(), "{}", String::from_utf8_lossy(&train.stderr));
    let trained: Value = serde_json::from_slice(&train.stdout).unwrap();
    let out = json(&["evaluate", "run", "--per-class", "--bootstrap=50", "--nmi"], path);
    assert_eq!(out["recall"], trained["recall"]);
    assert_eq!(out["precision_at_1"], out["recall"]["1"]);
    assert!(out["nmi"].is_number() && out["intervals"]["map_at_r"].is_array());
    let classes = out["per_class"].as_array().unwrap();
    assert_eq!(classes.len() as u64, out["classes"].as_u64().unwrap());
    assert!(classes.iter().all(|c| !c["name"].as_str().unwrap().is_empty()));
    let table = text(&["evaluate", "run"], path);
    assert!(table.contains("RECALL@K") && table.contains("MAP@R"), "{table}");
}
