//! `retort metrics`: retrieval metrics of embeddings from any system.

use crate::command::Common;
use crate::command::flags::retrieval::Options;
use crate::experiment::measurable::nothing_to_measure;
use crate::failure::{Failure, Result};
use crate::io::arrays::{Array, Arrays, ENDINGS, Values};
use crate::io::labels::{Classes, Labels};
use crate::terminal::output;
use clap::Args;
use retort_core::metric::Embeddings;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Files are safetensors, NumPy's (.npy, .npz), PyTorch's (.pt, .pth) or tables (.csv, .tsv: a column \
        label, and\nthe dimensions); labels may also be a text (.txt) with one on each line. FILE|TENSOR is a tensor \
        of FILE, or\nanother file, of which the tensor with the usual name is taken, or the only one. Labels are whole \
        numbers of any\ntype, or names.\n\n\
        Distances are computed from embeddings rounded to 32 bits.\n\n\
        Examples:\n  \
        retort metrics test.safetensors --k 1,10,100,1000 --bootstrap 1000\n  \
        retort metrics test.safetensors --labels labels.txt --metric cosine --json\n  \
        retort metrics embeddings.npy --labels labels.npy --map-at-k\n  \
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
    let (queries, classes) =
        embeddings(&args.file, &args.query, args.labels.as_deref(), "--labels")?;
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
    let (gallery, others) = gallery.transpose()?.unzip();
    let lists: Vec<&Labels> = std::iter::once(&classes).chain(&others).collect();
    let (names, numbers) = Classes::number(&lists);
    let mut numbers = numbers.into_iter();
    let mut labelled = |rows: Rows| {
        let labels = numbers.next().unwrap_or_default();
        Embeddings { rows: rows.values, dim: rows.dim, labels }
    };
    let (queries, gallery) = (labelled(queries), gallery.map(labelled));
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
    let clusters = clusters.map(|clusters| Classes::number(&[&clusters]).1.concat());
    let among = gallery.as_ref().map(|gallery| gallery.labels.as_slice());
    if let Some(why) = nothing_to_measure(&queries.labels, among) {
        output::say(format_args!("warning: {why}"));
    }
    let (device, info) = common.device()?;
    let name = |class: i64| names.name(class);
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
    let named = path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending));
    let is_file = named || path.is_file(); // a tensor's name may have slashes and dots
    if is_file { (path.to_owned(), usual.to_owned()) } else { (file.to_owned(), given.to_owned()) }
}

/// Embeddings, `[n, dim]`.
struct Rows {
    values: Vec<f32>,
    dim: usize,
}

/// Embeddings with their classes, checked.
fn embeddings(
    file: &Path,
    tensor: &str,
    given: Option<&str>,
    flag: &str,
) -> Result<(Rows, Labels)> {
    let Array { name, shape, values } = Arrays::open(file)?.find(tensor, tensor == "embeddings")?;
    let wrong = |why: String| Failure::new(format!("{}: tensor {name} {why}", file.display()));
    let &[n, dim] = shape.as_slice() else {
        return Err(wrong(format!(
            "has shape {shape:?}; embeddings have two dimensions, [samples, dim]"
        )));
    };
    let values = match values {
        Values::Floats(values) => values,
        Values::Unknown(kind) => {
            return Err(wrong(format!("has type {kind}; embeddings are F32, F64, F16 or BF16")));
        }
        Values::Names(_) => return Err(wrong("has texts; embeddings are floats".to_owned())),
        Values::Signed(_) | Values::Unsigned(_) => {
            return Err(wrong(
                "has whole numbers; embeddings are F32, F64, F16 or BF16".to_owned(),
            ));
        }
    };
    if n == 0 || dim == 0 {
        return Err(wrong(format!("has shape [{n}, {dim}]: there is nothing in it")));
    }
    if let Some(bad) = values.iter().position(|x| !x.is_finite()) {
        let (row, column) = (bad / dim, bad % dim);
        return Err(wrong(format!("is {} at [{row}, {column}]", values[bad])));
    }
    let labels = labels(given.unwrap_or("labels"), file, "labels").map_err(|mut failure| {
        if given.is_none() {
            failure.message.extend([". Name the classes of its embeddings with ", flag]);
        }
        failure
    })?;
    if labels.len() != n {
        let count = labels.len();
        return Err(Failure::new(format!(
            "{}: tensor {tensor} has {n} rows, but there are {count} labels ({})",
            file.display(),
            given.unwrap_or("labels")
        )));
    }
    Ok((Rows { values, dim }, labels))
}

/// Classes or clusters, one for each embedding.
fn labels(given: &str, file: &Path, usual: &str) -> Result<Labels> {
    let (path, tensor) = place(given, file, usual);
    // The only tensor of the embeddings' own file is the embeddings.
    let or_only = path != file && tensor == usual;
    let array = Arrays::open(&path)?.find(&tensor, or_only)?;
    let name = array.name.clone();
    Labels::of(array)
        .map_err(|why| Failure::new(format!("{}: tensor {name} {why}", path.display())))
}
