//! Cars-196: cars by make, model and year.
//!
//! Krause, Stark, Deng & Fei-Fei, "3D Object Representations for Fine-Grained Categorization", 4th
//! IEEE Workshop on 3D Representation and Recognition, ICCV 2013.
//!
//! Protocol: the first half of the classes trains, the second tests; the published split of pictures
//! isn't used. Both published layouts are read: all pictures in `car_ims` with `cars_annos.mat`, and
//! `cars_train`, `cars_test` with a devkit; also where a copy has a folder in one of the same name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::dataset::{Entry, Opened, SPLITS, no_options};
use crate::files::{self, Files, Sample};
use crate::matlab::{self, Value};
use crate::{DataError, Options, RandomResizedCrop, ResizeCrop, Split, read_regular};

pub(crate) const ENTRY: Entry = Entry {
    name: "cars",
    doc: "Cars-196, cars: models 1 to 98 train, 99 to 196 test (16185 photographs)",
    files: "Give the folder (--data-root) that holds cars_annos.mat and car_ims; or cars_train, \
        cars_test, devkit and cars_test_annos_withlabels.mat",
    needs_root: true,
    channels: 3,
    size: 224,
    splits: SPLITS,
    splits_of: None,
    options: no_options,
    open,
    augmentation: |size| Arc::new(RandomResizedCrop::to(size)),
    evaluation: |size| Arc::new(ResizeCrop::to(size)),
};

const CLASSES: usize = 196;
/// Bytes that a file of annotations may have; the published ones are below half a megabyte.
const LARGEST: u64 = 64 << 20;
/// Where the devkit may be.
const DEVKITS: [&str; 3] = ["devkit", "devkit/devkit", "car_devkit/devkit"];
const TRAIN: &str = "cars_train_annos.mat";
const LABELS: &str = "cars_test_annos_withlabels.mat";

fn open(split: Split, options: &Options) -> Opened {
    let below = ["cars196", "stanford_cars", "cars"];
    let kits = DEVKITS.map(|kit| format!("{kit}/{TRAIN}"));
    let what = [&["cars_annos.mat"][..], &kits.each_ref().map(String::as_str)].concat();
    let folder = files::locate(&ENTRY, options, &below, &what)?;
    let half = match split {
        Split::Train => 0..CLASSES / 2,
        _ => CLASSES / 2..CLASSES,
    };
    let mut samples = Vec::new();
    let one = folder.join("cars_annos.mat");
    if one.exists() {
        let variables = read(&one)?;
        let names = names(&variables);
        // The paths in the file begin with car_ims.
        let pictures = if folder.join("car_ims/car_ims").is_dir() { "car_ims" } else { "" };
        let pictures = Path::new(pictures);
        annotations(&one, &variables, "relative_im_path", pictures, &names, &mut samples)?;
    } else {
        let kit = DEVKITS.map(|kit| folder.join(kit));
        let kit = kit.iter().find(|kit| kit.join(TRAIN).exists()).unwrap_or(&kit[0]);
        let names = names(&read(&kit.join("cars_meta.mat"))?);
        let labels = [folder.join(LABELS), kit.join(LABELS)];
        let test = labels.iter().find(|path| path.exists()).unwrap_or(&labels[0]);
        for (path, name) in [(&kit.join(TRAIN), "cars_train"), (test, "cars_test")] {
            let nested = Path::new(name).join(name);
            let pictures = if folder.join(&nested).is_dir() { nested } else { name.into() };
            annotations(path, &read(path)?, "fname", &pictures, &names, &mut samples)?;
        }
    }
    samples.retain(|sample| half.contains(&sample.class));
    Ok(Box::new(Files::new(&ENTRY, &folder, samples)?))
}

fn damaged(path: &Path, problem: impl Into<String>) -> DataError {
    let advice = format!("Unpack or fetch it again. {}", ENTRY.files);
    DataError::file(path.display().to_string(), problem, advice)
}

fn read(path: &Path) -> Result<BTreeMap<String, Value>, DataError> {
    let bytes = read_regular(path, LARGEST);
    let bytes = bytes.map_err(|error| damaged(path, format!("it cannot be read ({error})")))?;
    if matlab::is_hdf5(&bytes) {
        let problem = "it is a MATLAB 7.3 file, which is HDF5 and can't be read".to_owned();
        let advice = format!("Save it again with -v7, or fetch it again. {}", ENTRY.files);
        return Err(DataError::file(path.display().to_string(), problem, advice));
    }
    matlab::read(&bytes, &["annotations", "class_names"])
        .map_err(|why| damaged(path, format!("it isn't a whole MATLAB 5 file ({why})")))
}

/// `class_names`, as far as they are there.
fn names(variables: &BTreeMap<String, Value>) -> Vec<String> {
    let Some(Value::Cells(cells)) = variables.get("class_names") else { return Vec::new() };
    cells.iter().map(|cell| cell.text().unwrap_or_default().to_owned()).collect()
}

/// Adds what the structs of `annotations` say about each picture: its file below `folder`, its class.
fn annotations(
    path: &Path,
    variables: &BTreeMap<String, Value>,
    file: &str,
    folder: &Path,
    names: &[String],
    samples: &mut Vec<Sample>,
) -> Result<(), DataError> {
    let Some(Value::Structs { fields, values }) = variables.get("annotations") else {
        return Err(damaged(path, "it has no struct array `annotations`"));
    };
    let field = |name: &str| {
        let missing = || damaged(path, format!("its annotations have no field `{name}`"));
        fields.iter().position(|field| field == name).ok_or_else(missing)
    };
    let (file, class) = (field(file)?, field("class")?);
    for (i, values) in values.chunks_exact(fields.len().max(1)).enumerate() {
        let number = values[class].number().filter(|n| (1.0..=CLASSES as f64).contains(n));
        let (Some(name), Some(number)) = (values[file].text(), number) else {
            let n = i + 1;
            return Err(damaged(path, format!("annotation {n} has no file or no class 1 to 196")));
        };
        let class = number as usize - 1;
        let name_of = |name: &String| name.clone();
        samples.push(Sample {
            class,
            name: names.get(class).map_or_else(|| format!("model {number}"), name_of),
            path: folder.join(name),
            super_class: None,
        });
    }
    Ok(())
}
