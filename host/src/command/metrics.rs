//! `retort metrics`: retrieval metrics of embeddings from any system.

use crate::command::Common;
use crate::failure::{Failure, Result};
use crate::output;
use crate::retrieval::Options;
use burn::tensor::{DType, TensorData};
use clap::Args;
use retort_core::checkpoint::header;
use retort_core::fs::{read_regular, read_text};
use retort_core::metric::Embeddings;
use retort_sdk::schema::nearest;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of a text of labels.
const LONGEST_TEXT: u64 = 1 << 30;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "FILE|TENSOR is a tensor of FILE, or another file: safetensors, of which the tensor with the \
        usual name is taken, or the only one; for labels also a text with a whole number on each line.\n\n\
        Distances are computed from embeddings rounded to 32 bits.\n\n\
        Examples:\n  \
        retort metrics test.safetensors --k 1,10,100,1000 --bootstrap 1000\n  \
        retort metrics test.safetensors --labels labels.txt --metric cosine --json\n  \
        retort metrics queries.safetensors --gallery gallery.safetensors\n  \
        retort metrics both.safetensors --query q --labels q_labels --gallery g --gallery-labels g_labels"
)]
pub struct Metrics {
    /// Embeddings, and their classes.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The embeddings, [n, dim], in FILE.
    #[arg(long, visible_alias = "embeddings", value_name = "TENSOR", default_value = "embeddings")]
    query: String,
    /// Class of each embedding, [n] [default: the tensor labels].
    #[arg(long, value_name = "FILE|TENSOR")]
    labels: Option<String>,
    /// Other embeddings to find, [m, dim] [default: FILE's own, without the query].
    #[arg(long, value_name = "FILE|TENSOR")]
    gallery: Option<String>,
    /// Class of each embedding of the gallery, [m] [default: the tensor labels of the gallery's file].
    #[arg(long, value_name = "FILE|TENSOR", requires = "gallery")]
    gallery_labels: Option<String>,
    /// Given cluster of each embedding, [n], for NMI and AMI.
    #[arg(long, value_name = "FILE|TENSOR", conflicts_with = "nmi")]
    clusters: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub fn run(args: &Metrics, common: &Common) -> Result<()> {
    let queries = embeddings(&args.file, &args.query, args.labels.as_deref(), "--labels")?;
    let gallery = args.gallery.as_deref().map(|given| {
        let (file, tensor) = place(given, &args.file, "embeddings");
        let of_file = file != args.file || args.gallery_labels.is_some();
        if !of_file {
            return Err(Failure::usage(format!(
                "the gallery {given} is a tensor of {}: name its classes with --gallery-labels",
                args.file.display()
            )));
        }
        embeddings(&file, &tensor, args.gallery_labels.as_deref(), "--gallery-labels")
    });
    let gallery = gallery.transpose()?;
    let clusters = args.clusters.as_deref();
    let clusters = clusters.map(|given| labels(given, &args.file, "clusters")).transpose()?;
    if let Some(clusters) = &clusters
        && clusters.len() != queries.len()
    {
        let (n, c) = (queries.len(), clusters.len());
        return Err(Failure::new(format!(
            "--clusters has {c} numbers, but there are {n} embeddings"
        )));
    }
    let (device, info) = common.device()?;
    let name = |class: i64| class.to_string();
    let options = &args.options;
    let report = options.report(&queries, gallery.as_ref(), clusters.as_deref(), &device, &name)?;
    let classes = queries.labels.iter().collect::<BTreeSet<_>>().len();
    if common.json {
        let mut out = report.json();
        let about = json!({"file": args.file, "samples": queries.len(), "classes": classes,
            "dim": queries.dim, "gallery": gallery.as_ref().map(Embeddings::len),
            "device": info.name});
        if let Value::Object(about) = about {
            out.extend(about);
        }
        output::json(&Value::Object(out));
        return Ok(());
    }
    let within = gallery.map(|g| format!(", looked for among {}", g.len())).unwrap_or_default();
    output::line(format_args!(
        "{} embeddings of {classes} classes, {} dimensions{within}\n{}",
        queries.len(),
        queries.dim,
        report.text()
    ));
    Ok(())
}

/// The file and the tensor that `FILE|TENSOR` means.
fn place(given: &str, file: &Path, usual: &str) -> (PathBuf, String) {
    let path = Path::new(given);
    let named = path.extension().is_some_and(|e| e == "safetensors" || e == "txt");
    let is_file = named || path.is_file(); // a tensor's name may have slashes and dots
    if is_file { (path.to_owned(), usual.to_owned()) } else { (file.to_owned(), given.to_owned()) }
}

/// Embeddings with their classes, checked.
fn embeddings(file: &Path, tensor: &str, given: Option<&str>, flag: &str) -> Result<Embeddings> {
    let (rows, dim) = with_tensor(file, tensor, |view, name| {
        let wrong = |why: String| Failure::new(format!("{}: tensor {name} {why}", file.display()));
        let &[n, dim] = view.shape() else {
            return Err(wrong(format!(
                "has shape {:?}; embeddings have two dimensions, [samples, dim]",
                view.shape()
            )));
        };
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => {
                view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
            }
            Dtype::F64 => numbers(view, DType::F64),
            Dtype::F16 => numbers(view, DType::F16),
            Dtype::BF16 => numbers(view, DType::BF16),
            other => {
                return Err(wrong(format!(
                    "has type {other:?}; embeddings are F32, F64, F16 or BF16"
                )));
            }
        };
        if n == 0 || dim == 0 {
            return Err(wrong(format!("has shape [{n}, {dim}]: there is nothing in it")));
        }
        if let Some(bad) = values.iter().position(|x| !x.is_finite()) {
            let (row, column) = (bad / dim, bad % dim);
            return Err(wrong(format!("is {} at [{row}, {column}]", values[bad])));
        }
        Ok((values, dim))
    })?;
    let labels = labels(given.unwrap_or("labels"), file, "labels").map_err(|mut failure| {
        if given.is_none() {
            failure.message.extend([". Name the classes of its embeddings with ", flag]);
        }
        failure
    })?;
    let n = rows.len() / dim;
    if labels.len() != n {
        let count = labels.len();
        return Err(Failure::new(format!(
            "{}: tensor {tensor} has {n} rows, but there are {count} labels ({})",
            file.display(),
            given.unwrap_or("labels")
        )));
    }
    Ok(Embeddings { rows, dim, labels })
}

/// Whole numbers, one for each embedding.
fn labels(given: &str, file: &Path, usual: &str) -> Result<Vec<i64>> {
    let (path, tensor) = place(given, file, usual);
    if path != file && path.extension().is_none_or(|e| e != "safetensors") {
        let text = read_text(&path, LONGEST_TEXT).map_err(|e| Failure::file("read", &path, e))?;
        let lines = text.lines().enumerate().map(|(i, line)| {
            line.trim().parse().map_err(|_| {
                let why = format!("line {} is {line:?}; it needs a whole number", i + 1);
                Failure::file("use", &path, why)
            })
        });
        return lines.collect();
    }
    with_tensor(&path, &tensor, |view, name| {
        let dtype = match view.dtype() {
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::I16 => DType::I16,
            Dtype::I8 => DType::I8,
            Dtype::U32 => DType::U32,
            Dtype::U16 => DType::U16,
            Dtype::U8 => DType::U8,
            other => {
                return Err(Failure::new(format!(
                    "{}: tensor {name} has type {other:?}; labels are whole numbers, such as I64",
                    path.display()
                )));
            }
        };
        match view.shape() {
            [_] | [_, 1] => Ok(numbers(view, dtype)),
            shape => Err(Failure::new(format!(
                "{}: tensor {name} has shape {shape:?}; labels have one dimension, [samples]",
                path.display()
            ))),
        }
    })
}

fn numbers<T: burn::tensor::Element>(view: &TensorView, dtype: DType) -> Vec<T> {
    TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype).iter().collect()
}

/// Reads one tensor of a safetensors file: the one with this name, or the only one.
fn with_tensor<T>(
    path: &Path,
    tensor: &str,
    read: impl Fn(&TensorView, &str) -> Result<T>,
) -> Result<T> {
    let bytes = read_regular(path, u64::MAX).map_err(|e| Failure::file("read", path, e))?;
    let file = header::open(&bytes).map_err(|e| {
        Failure::file("read", path, format!("it isn't a whole safetensors file ({e})"))
    })?;
    let mut names: Vec<&str> = file.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    let usual = ["embeddings", "labels", "clusters"].contains(&tensor);
    let name = match names[..] {
        [only] if usual && tensor != "labels" => only,
        _ => tensor,
    };
    if let Ok(view) = file.tensor(name) {
        return read(&view, name);
    }
    let near = nearest(tensor, &names).map(|near| format!(" (did you mean {near}?)"));
    let list: Vec<String> = file
        .iter()
        .map(|(name, view)| format!("{name} {:?}", view.shape()))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    Err(Failure::new(format!(
        "{} has no tensor {tensor}{}; it has {}",
        path.display(),
        near.unwrap_or_default(),
        if list.is_empty() { "none".to_owned() } else { list.join(", ") }
    )))
}
