//! `retort embed`: a network's embeddings, pooled vectors and feature maps of given pictures.

use crate::command::Common;
use crate::command::flags::data::{DataFlags, data};
use crate::command::loss::Dtype;
use crate::command::open::Foreign;
use crate::experiment::{Data, OnCorrupt, damaged, left_out};
use crate::failure::{Failure, Result};
use crate::io::pictures::evaluation;
use crate::io::rows::{Reader, Writer};
use crate::terminal::{output, progress};
use burn::module::Module as _;
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use clap::{Args, ValueEnum};
use retort_core::Feature;
use retort_core::backbone::{Backbone, NetworkConfig, Output};
use retort_core::device::DeviceChoice;
use retort_core::trainer::{Feed, outputs};
use retort_datasets::{Dataset, Split, loose};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "An input file holds `images` [n, 3, h, w]: floats, normalised as the network wants them. The output \
                  file\nholds `embeddings` [n, d], `pooled` [n, c], and `features.0` … (the pooled vector again as the \
                  last); of a data\nset `labels` [n] and `ids` [n] too, and feature maps only with --features.\n\n\
                  Examples:\n  retort embed --checkpoint runs/source --input images.safetensors --out out.safetensors\n  \
                  retort embed --checkpoint runs/source --dataset glyphs --out out.safetensors"
)]
pub struct Embed {
    /// A run folder or a checkpoint of any origin.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// Normalised pictures in a safetensors file, a folder of pictures, or one picture.
    #[arg(long, value_name = "FILE|FOLDER", conflicts_with_all = ["dataset", "data_root", "set"])]
    input: Option<PathBuf>,
    #[command(flatten)]
    data: DataFlags,
    /// Part of the data set.
    #[arg(long, value_enum, default_value_t = Part::Test)]
    split: Part,
    /// Where the tensors go.
    #[arg(long, value_name = "OUT.safetensors")]
    out: PathBuf,
    /// Element type to compute in and write.
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Write a data set's feature maps too; those of --input are always written.
    #[arg(long)]
    features: bool,
    /// Pictures that are computed at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    #[command(flatten)]
    open: Foreign,
}

/// Height and width of a picture that is given as numbers.
const LARGEST: usize = 4096;
/// Pixels that are computed at a time: 32 pictures of 1024 x 1024.
const MOST_PIXELS: usize = 32 << 20;

/// Parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The classes to learn from.
    Train,
    /// The unseen classes.
    Test,
    /// Of the unseen classes the pictures to search with, where that is published.
    Query,
    /// Those to search in.
    Gallery,
}

impl From<Part> for Split {
    fn from(part: Part) -> Self {
        match part {
            Part::Train => Split::Train,
            Part::Test => Split::Test,
            Part::Query => Split::Query,
            Part::Gallery => Split::Gallery,
        }
    }
}

/// What the output file says of itself, as JSON under `retort` in its metadata.
#[derive(Debug, Serialize, Deserialize)]
pub struct About {
    /// The network.
    pub network: NetworkConfig,
    /// SHA-256 of its checkpoint.
    pub checkpoint: String,
    /// The data set, if it was one, and which part of it.
    pub data: Option<(Data, Part)>,
    /// The files, if it was a folder.
    pub files: Vec<String>,
}

/// What is embedded.
enum Source {
    Tensors(Reader),
    Pictures(Arc<dyn Dataset>),
}

/// Runs the command.
pub fn run(args: &Embed, common: &Common) -> Result<()> {
    let (device, name) = device(args.dtype, common)?;
    let (loaded, digest) = args.open.digested(&args.checkpoint, &device)?;
    let (config, device) = (loaded.network, device.inner());
    let size = loaded.image_size;
    let dtype = match args.dtype {
        Dtype::F32 => FloatDType::F32,
        Dtype::F64 => FloatDType::F64,
    };
    let net = loaded.backbone.valid().cast(dtype);

    let mut about =
        About { network: config.clone(), checkpoint: digest, data: None, files: Vec::new() };
    let source = match &args.input {
        Some(path) if is_tensors(path) => Source::Tensors(Reader::open(path)?),
        Some(path) => {
            let of = data(&args.checkpoint, None, None).ok();
            let evaluation = evaluation(of.as_ref(), size)?;
            let skip = args.data.on_corrupt(&of.unwrap_or_default()) == OnCorrupt::Skip;
            let pictures: Arc<dyn Dataset> = loose(path, evaluation, skip)?.into();
            pictures.remarks().iter().for_each(output::say);
            about.files = (0..pictures.len()).map(|i| pictures.describe(i)).collect();
            Source::Pictures(pictures)
        }
        None => {
            let mut data = args.data.data(&args.checkpoint)?;
            data.size = size;
            let opened = data.open(args.split.into())?;
            about.data = Some((data, args.split));
            Source::Pictures(opened)
        }
    };
    let mut sink = Sink {
        path: &args.out,
        total: 0,
        done: 0,
        maps: args.features || args.input.is_some(),
        labels: about.data.is_some(),
        about,
        ids: Vec::new(),
        written: None,
    };
    let spinner = progress::spinner();
    let shown =
        |sink: &Sink| spinner.set_message(format!("{} of {} pictures", sink.done, sink.total));
    let batch = usize::from(args.batch);
    let pictures = match &source {
        Source::Pictures(data) => Some(data.clone()),
        Source::Tensors(_) => None,
    };
    match source {
        Source::Tensors(mut file) => {
            let (n, pixels) = images(&file, &net, config.channels)?;
            sink.total = n;
            let batch = batch.min(MOST_PIXELS / pixels).max(1);
            while sink.done < sink.total {
                let rows = file.rows("images", sink.done, batch.min(sink.total - sink.done))?;
                let x = Tensor::from_data(rows, (&device, DType::from(dtype)));
                sink.add(net.forward_input(x), &[], &[])?;
                shown(&sink);
            }
        }
        Source::Pictures(data) => {
            sink.total = data.len();
            let feed = Feed { batch, ..Feed::new(config.channels) };
            for done in outputs(&net, &data, &feed, dtype, &device) {
                let (batch, output) = done?;
                sink.add(output, &batch.labels, &batch.ids)?;
                shown(&sink);
            }
        }
    }
    spinner.finish_and_clear();
    let (n, shapes) = sink.finish()?;
    let (left_out, damaged) =
        pictures.map_or((0, 0), |data| (left_out(&[&data]), damaged(&[&data])));
    if common.json {
        output::json(&json!({"out": args.out, "network": config.name, "pictures": n,
            "pictures_left_out": left_out, "pictures_damaged": damaged,
            "tensors": shapes, "device": name}));
        return Ok(());
    }
    let mut table = output::table(["TENSOR", "SHAPE"]);
    for (name, shape) in &shapes {
        table.add_row([name.clone(), format!("{shape:?}")]);
    }
    output::line(format_args!(
        "{n} pictures, embedded by {}, in {}\n{table}",
        config.name,
        args.out.display()
    ));
    Ok(())
}

/// The device asked for: the CPU for 64 bits.
fn device(dtype: Dtype, common: &Common) -> Result<(Device, String)> {
    let choice = match (dtype, common.device) {
        (Dtype::F64, DeviceChoice::Auto) => DeviceChoice::Cpu,
        (Dtype::F64, DeviceChoice::Gpu(_)) => {
            return Err(Failure::usage("--dtype f64 is for the CPU only: use --device cpu"));
        }
        (_, choice) => choice,
    };
    let (device, info) = Common { device: choice, ..common.clone() }.device()?;
    Ok((device, info.name))
}

fn is_tensors(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"))
}

/// How many pictures a file holds, and of how many pixels, if the network can take them.
fn images(file: &Reader, net: &Backbone, channels: usize) -> Result<(usize, usize)> {
    let wrong = |why: String| {
        Failure::new(format!(
            "{}: {why}. `images` must be [n, {channels}, h, w] floats, normalised as the network wants them",
            file.path().display()
        ))
    };
    let Some((dtype, shape)) = file.info("images") else {
        return Err(wrong(match file.names().as_slice() {
            [] => "it holds no tensor".to_owned(),
            names => format!("it has no tensor images, but {}", names.join(", ")),
        }));
    };
    if !matches!(dtype, safetensors::Dtype::F32 | safetensors::Dtype::F64) {
        return Err(wrong(format!("images has type {dtype:?}, not F32 or F64")));
    }
    match *shape {
        [_, _, h, w] if h.max(w) > LARGEST => Err(wrong(format!(
            "images has shape {shape:?}, and pictures may be {LARGEST} pixels high and wide"
        ))),
        [n, c, h, w] if n > 0 && c == channels => {
            net.check([h, w])
                .map_err(|e| Failure::new(format!("{}: {e}", file.path().display())))?;
            Ok((n, h * w))
        }
        _ => Err(wrong(format!("images has shape {shape:?}"))),
    }
}

/// Writes outputs as they come.
struct Sink<'a> {
    path: &'a Path,
    /// Pictures that there will be.
    total: usize,
    done: usize,
    maps: bool,
    labels: bool,
    about: About,
    /// The picture of each row, by its number.
    ids: Vec<i64>,
    /// From the first batch on, when the shapes are known.
    written: Option<(Writer, BTreeMap<String, Vec<usize>>)>,
}

impl Sink<'_> {
    fn add(&mut self, output: Output, labels: &[i64], ids: &[i64]) -> Result<()> {
        let n = output.embedding.dims()[0];
        let embeddings = output.embedding.into_data();
        let dim = embeddings.shape()[1];
        if let Some(at) = embeddings.iter::<f64>().position(|x| !x.is_finite()) {
            return Err(Failure::new(format!(
                "the embedding of picture {} isn't finite: it, or the network's weights, hold NaN or \
                 numbers that are too large",
                ids.get(at / dim).map_or(self.done + at / dim, |&id| id as usize)
            )));
        }
        let mut tensors = vec![("embeddings".to_owned(), embeddings)];
        if let Some(Feature::Vector(pooled)) = output.features.last() {
            tensors.push(("pooled".to_owned(), pooled.to_data()));
        }
        for (i, feature) in output.features.iter().enumerate().filter(|_| self.maps) {
            tensors.push((format!("features.{i}"), feature.to_data()));
        }
        if self.labels {
            tensors.push(("labels".to_owned(), TensorData::from(labels)));
            tensors.push(("ids".to_owned(), TensorData::from(ids)));
        }
        let (writer, _) = match &mut self.written {
            Some(written) => written,
            none => {
                let shapes = tensors.iter().map(|(name, data)| {
                    let mut shape = data.shape().to_vec();
                    shape[0] = self.total;
                    (name.clone(), (data.dtype(), shape))
                });
                let shapes: BTreeMap<_, _> = shapes.collect();
                let writer = Writer::create(self.path, &shapes, notes(&self.about)?)?;
                let shapes = shapes.into_iter().map(|(name, (_, shape))| (name, shape));
                none.insert((writer, shapes.collect()))
            }
        };
        for (name, data) in tensors {
            writer.add(&name, &data)?;
        }
        self.done += n;
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// Number of pictures, and the shapes of what was written.
    fn finish(mut self) -> Result<(usize, BTreeMap<String, Vec<usize>>)> {
        let Some((writer, mut shapes)) = self.written else {
            return Err(Failure::new("there is no picture to embed that can be read"));
        };
        if self.done == self.total {
            writer.finish()?;
            return Ok((self.done, shapes));
        }
        // Some couldn't be read.
        let files = std::mem::take(&mut self.about.files);
        let file = |&id: &i64| files.get(id as usize).cloned();
        self.about.files = self.ids.iter().filter_map(file).collect();
        for shape in shapes.values_mut() {
            shape[0] = self.done;
        }
        writer.finish_short(self.done, notes(&self.about)?)?;
        Ok((self.done, shapes))
    }
}

fn notes(about: &About) -> Result<HashMap<String, String>> {
    let text = serde_json::to_string(about).map_err(Failure::new)?;
    Ok(HashMap::from([("retort".to_owned(), text)]))
}
