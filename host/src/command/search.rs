//! `retort search`: the pictures of a data set that a network finds most like a given one.

use crate::command::Common;
use crate::command::embed::{About, Part};
use crate::command::flags::data::data;
use crate::command::open::Foreign;
use crate::experiment::{Data, OnCorrupt, damaged, left_out};
use crate::failure::{Failure, Result};
use crate::io::pictures::evaluation;
use crate::io::rows::Reader;
use crate::io::sheet;
use crate::terminal::{output, progress};
use burn::module::Module as _;
use burn::tensor::{Device, FloatDType};
use clap::Args;
use retort_core::checkpoint::Checkpoint;
use retort_core::metric::{self, Embeddings};
use retort_core::trainer::{Feed, embed_numbered, outputs};
use retort_datasets::{Dataset, Image, loose, some_samples};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Neighbours are sorted by Euclidean distance. Where the query's class is known (--sample, --class), each \
                  is right or\nwrong, and framed green or red in the picture.\n\n\
                  Examples:\n  retort search bird.jpg --run runs/source --top 5 --out neighbours.png\n  \
                  retort search --sample 17 --run runs/source --embeddings out.safetensors"
)]
pub struct Search {
    /// A picture.
    #[arg(required_unless_present = "sample")]
    query: Option<PathBuf>,
    /// A picture of the data set, by its number there from 0, in place of a file.
    #[arg(long, value_name = "N", conflicts_with_all = ["query", "class"])]
    sample: Option<usize>,
    /// The query's class, by its name in the data set.
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// A run folder or a checkpoint of any origin.
    #[arg(long, value_name = "RUN|CHECKPOINT")]
    run: PathBuf,
    /// Data set to search [default: the run's].
    #[arg(long)]
    dataset: Option<String>,
    /// Folder with the data set's files [default: the run's].
    #[arg(long, value_name = "DIR", value_parser = super::folder_there())]
    data_root: Option<PathBuf>,
    /// Part of the data set.
    #[arg(long, value_enum, default_value_t = Part::Test)]
    split: Part,
    /// What `retort embed` made of the data set with this network, so that it needn't be embedded again.
    #[arg(long, value_name = "FILE.safetensors", conflicts_with_all = ["dataset", "split"])]
    embeddings: Option<PathBuf>,
    /// Neighbours to show.
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Where to draw the query and its neighbours side by side.
    #[arg(long, value_name = "NEIGHBOURS.png")]
    out: Option<PathBuf>,
    #[command(flatten)]
    open: Foreign,
}

/// Runs the command.
pub fn run(args: &Search, common: &Common) -> Result<()> {
    let (device, info) = common.device()?;
    let (loaded, digest) = args.open.digested(&args.run, &device)?;
    let file = args.embeddings.as_deref().map(Reader::open).transpose()?;
    let (place, part) = if let Some(file) = &file {
        embedded(file, args, &digest)?
    } else {
        let mut place = data(&args.run, args.dataset.as_ref(), args.data_root.as_ref())?;
        place.size = loaded.image_size;
        (place, args.split)
    };
    let pictures = place.open(part.into())?;
    let class = class(args, &pictures)?;
    let (picture, query) = query(args, &place, &pictures, &loaded, &device)?;

    let spinner = progress::spinner();
    spinner.set_message(format!("embedding {} pictures of {}", pictures.len(), place.name));
    let (all, ids) = match file {
        Some(file) => read(file, &place, &pictures)?,
        None => embed_numbered(
            &loaded.backbone,
            &pictures,
            &Feed::new(loaded.network.channels),
            &device,
        )?,
    };
    spinner.finish_and_clear();
    left_out(&[&pictures]);
    damaged(&[&pictures]);
    let own = args.sample.and_then(|sample| ids.iter().position(|&id| id == sample));
    let others = ids.len() - usize::from(own.is_some());
    if args.top == 0 || args.top > others {
        return Err(Failure::usage(format!("--top {}: it may be 1 to {others}", args.top)));
    }
    if args.out.is_some() && args.top > sheet::MOST {
        let most = sheet::MOST;
        return Err(Failure::usage(format!("--out draws {most} neighbours, not {}", args.top)));
    }
    let mut found = neighbours(&all, query, args.top, own)?;
    for neighbour in &mut found {
        neighbour.row = ids[neighbour.row];
    }
    let right = |row: usize| class.map(|class| pictures.labels()[row] == class);
    if let Some(path) = &args.out {
        let small = |row| pictures.image(row).map(|picture| sheet::small(&picture));
        let shown = found.iter().map(|n| Ok((small(n.row)?, right(n.row))));
        sheet::write(path, &picture, &shown.collect::<Result<Vec<_>>>()?)?;
    }

    let name = |row: usize| &pictures.classes()[pictures.labels()[row]];
    if common.json {
        let found = found.iter().enumerate().map(|(i, n)| {
            json!({"rank": i + 1, "sample": n.row, "distance": n.distance, "cosine": n.cosine,
                "class": name(n.row), "file": pictures.describe(n.row), "right": right(n.row)})
        });
        output::json(&json!({"query": args.query, "sample": args.sample,
            "class": class.map(|c| &pictures.classes()[c]), "dataset": place.name, "split": part,
            "neighbours": found.collect::<Vec<Value>>(), "device": info.name}));
        return Ok(());
    }
    let mut table = output::table(["RANK", "DISTANCE", "COSINE", "CLASS", "", "FILE"]);
    for (i, n) in found.iter().enumerate() {
        let mark = match right(n.row) {
            Some(true) => "right",
            Some(false) => "wrong",
            None => "",
        };
        table.add_row([
            (i + 1).to_string(),
            format!("{:.4}", n.distance),
            format!("{:.4}", n.cosine),
            name(n.row).clone(),
            mark.to_owned(),
            pictures.describe(n.row),
        ]);
    }
    output::line(table);
    Ok(())
}

/// A sample of the data set, and how far it is from the query.
struct Neighbour {
    row: usize,
    /// Euclidean distance.
    distance: f64,
    /// Cosine of the angle between the two; 0 where one of them is zero.
    cosine: f64,
}

/// The `k` samples nearest to `query` `[dim]`, the nearest first and equal ones by number; `skip` is the
/// query's own number, if it has one.
fn neighbours(
    all: &Embeddings,
    query: Vec<f32>,
    k: usize,
    skip: Option<usize>,
) -> Result<Vec<Neighbour>> {
    let queries = Embeddings { dim: query.len(), rows: query, labels: vec![0] };
    let deepest = k + usize::from(skip.is_some());
    let found = metric::Search::default().nearest(&queries, all, deepest).map_err(Failure::new)?;
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let query = queries.row(0);
    let neighbour = |(&row, &distance): (&u32, &f64)| {
        let x = all.row(row as usize);
        let lengths = (dot(query, query) * dot(x, x)).sqrt();
        let cosine = if lengths > 0.0 { dot(x, query) / lengths } else { 0.0 };
        Neighbour { row: row as usize, distance, cosine }
    };
    let others = found.samples.iter().zip(&found.distances).map(neighbour);
    Ok(others.filter(|n| Some(n.row) != skip).take(k).collect())
}

/// The data set that a file of embeddings is of, if they are of the checkpoint with this digest.
fn embedded(file: &Reader, args: &Search, digest: &str) -> Result<(Data, Part)> {
    let wrong = |why: &str| Failure::usage(format!("{}: {why}", file.path().display()));
    let about = file.note("retort").and_then(|text| serde_json::from_str::<About>(text).ok());
    let about = about.ok_or_else(|| wrong("it wasn't written by `retort embed`"))?;
    if about.checkpoint != digest {
        let (is, run) = (&about.network.name, args.run.display());
        return Err(wrong(&format!(
            "its embeddings are of another checkpoint (a {is}) than {run}; make them again with \
             `retort embed --checkpoint {run}`"
        )));
    }
    let (mut data, part) = about.data.ok_or_else(|| {
        wrong("its embeddings aren't a data set's; use `retort embed --dataset NAME`")
    })?;
    if args.data_root.is_some() {
        data.root.clone_from(&args.data_root);
    }
    Ok((data, part))
}

/// The embeddings of a file and the picture that each is of: all of the data set, or those that could be
/// read where the others are left out.
fn read(
    mut file: Reader,
    place: &Data,
    pictures: &Arc<dyn Dataset>,
) -> Result<(Embeddings, Vec<usize>)> {
    let n = pictures.len();
    let rows = file.info("embeddings").map(|(_, shape)| shape.first().copied().unwrap_or(0));
    let embeddings = file.rows("embeddings", 0, rows.unwrap_or_default())?;
    let mut numbers = |name: &str| -> Result<Vec<i64>> {
        Ok(file.rows(name, 0, rows.unwrap_or_default())?.iter::<i64>().collect())
    };
    let (labels, ids) = (numbers("labels")?, numbers("ids")?);
    let ids: Vec<usize> = ids.iter().map(|&id| usize::try_from(id).unwrap_or(usize::MAX)).collect();
    let rising = ids.windows(2).all(|pair| pair[0] < pair[1]);
    let same = |(id, label): (&usize, &i64)| {
        pictures.labels().get(*id).is_some_and(|own| *own as i64 == *label)
    };
    let whole = labels.len() == n || place.on_corrupt == OnCorrupt::Skip;
    if !whole || !rising || !ids.iter().zip(&labels).all(same) {
        return Err(Failure::new(format!(
            "{} has {} embeddings of other pictures than the {n} that the data set holds now: make it \
             again with `retort embed`",
            file.path().display(),
            labels.len()
        )));
    }
    let dim = embeddings.shape().to_vec().get(1).copied().unwrap_or_default();
    Ok((Embeddings { rows: embeddings.iter::<f32>().collect(), dim, labels }, ids))
}

/// The query's class, where it is known.
fn class(args: &Search, pictures: &Arc<dyn Dataset>) -> Result<Option<usize>> {
    if let Some(sample) = args.sample {
        let label = pictures.labels().get(sample).copied();
        return label.map(Some).ok_or_else(|| {
            Failure::usage(format!(
                "--sample {sample}: the data set's pictures have numbers from 0 to {}",
                pictures.len().saturating_sub(1)
            ))
        });
    }
    let Some(name) = &args.class else { return Ok(None) };
    let known: Vec<&str> = pictures.classes().iter().map(String::as_str).collect();
    known.iter().position(|class| class == name).map(Some).ok_or_else(|| {
        let near = retort_sdk::schema::nearest(name, &known);
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let count = known.len();
        Failure::usage(format!("--class {name}: none of the {count} classes has this name{near}"))
    })
}

/// The query's picture and its embedding.
fn query(
    args: &Search,
    place: &Data,
    pictures: &Arc<dyn Dataset>,
    loaded: &Checkpoint,
    device: &Device,
) -> Result<(Image, Vec<f32>)> {
    let one: Arc<dyn Dataset> = match (&args.query, args.sample) {
        (Some(path), _) => single(path, place)?,
        (None, sample) => some_samples(pictures, vec![sample.unwrap_or(0)]),
    };
    let (net, device) = (loaded.backbone.valid(), device.clone().inner());
    let feed = Feed { batch: 1, ..Feed::new(loaded.network.channels) };
    let done = outputs(&net, &one, &feed, FloatDType::F32, &device).next();
    let (_, output) = done.ok_or_else(|| Failure::new("there is no query"))??;
    Ok((one.image(0)?, output.embedding.into_data().iter::<f32>().collect()))
}

fn single(path: &Path, place: &Data) -> Result<Arc<dyn Dataset>> {
    if path.is_dir() {
        let path = path.display();
        return Err(Failure::usage(format!("{path} is a folder: the query is one picture")));
    }
    Ok(loose(path, evaluation(Some(place), place.size)?, false)?.into())
}
