//! Flags of the commands that show a network a data set.

use crate::experiment::{Data, Experiment, OnCorrupt};
use crate::failure::{Failure, Result};
use crate::io::regular;
use clap::Args;
use std::path::{Path, PathBuf};

/// Which data, where it isn't the run's.
#[derive(Args, Clone, Debug, Default)]
pub struct DataFlags {
    /// Data set [default: the run's].
    #[arg(long)]
    dataset: Option<String>,
    /// Folder with the data set's files [default: the run's].
    #[arg(long, value_name = "DIR", value_parser = crate::command::folder_there())]
    data_root: Option<PathBuf>,
    /// A key of an experiment's `data`, such as train_classes=0.8.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What to do about pictures that can't be read [default: the run's choice, else error].
    #[arg(long, value_enum, value_name = "WHAT")]
    on_corrupt: Option<OnCorrupt>,
}

impl DataFlags {
    /// The run's data set, with what the command line says in its place.
    pub fn data(&self, run: &Path) -> Result<Data> {
        let mut experiment = Experiment {
            data: data(run, self.dataset.as_ref(), self.data_root.as_ref())?,
            ..Experiment::default()
        };
        let set: Vec<String> = self.set.iter().map(|text| format!("data.{text}")).collect();
        experiment = Experiment::read(None, experiment, &set)?;
        Ok(Data { on_corrupt: self.on_corrupt(&experiment.data), ..experiment.data })
    }

    /// What to do about pictures that can't be read, where `data` says it too.
    pub fn on_corrupt(&self, data: &Data) -> OnCorrupt {
        self.on_corrupt.unwrap_or(data.on_corrupt)
    }
}

/// The run's data set, with what the command line says in its place.
pub fn data(run: &Path, dataset: Option<&String>, root: Option<&PathBuf>) -> Result<Data> {
    let config = run.join("config.toml");
    let mut data = if config.is_file() {
        let text = regular::read(&config, regular::SMALL);
        let text = text.map_err(|e| Failure::file("read", &config, e))?;
        Experiment::of_run(&text, &config)?.data
    } else if dataset.is_some() {
        Data::default()
    } else {
        return Err(Failure::usage(
            "a checkpoint doesn't say which data it is for: name it with --dataset",
        ));
    };
    if let Some(name) = dataset
        && *name != data.name
    {
        data = Data { name: name.clone(), ..Data::default() };
    }
    if root.is_some() {
        data.root = root.cloned();
    }
    Ok(data)
}
