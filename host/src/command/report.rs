//! `retort report`: runs, or a suite, as one HTML file.

use crate::command::Common;
use crate::failure::Result;
use crate::report;
use crate::terminal::{clean, output, progress};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "The page holds everything it shows: it can be mailed, and opens anywhere.\n\nExamples:\n  \
                  retort report runs/demo-glyphs-0\n  \
                  retort report runs/suite-omniglot --out omniglot.html\n  \
                  retort report runs/source runs/target --data-root data/omniglot"
)]
pub struct Report {
    /// Run folders, a folder of run folders, or a suite's folder.
    #[arg(required = true, value_name = "RUN|SUITE_DIR")]
    paths: Vec<PathBuf>,
    /// The file to write.
    #[arg(long, value_name = "FILE.html", default_value = "report.html")]
    out: PathBuf,
    /// Folder with the data set's files [default: the run's].
    #[arg(long, value_name = "DIR", value_parser = super::folder_there())]
    data_root: Option<PathBuf>,
    /// Most pictures to embed and search: whole classes of the test split.
    #[arg(long, value_name = "N", default_value_t = 2500)]
    samples: usize,
}

/// Runs the command.
pub fn run(args: &Report, common: &Common) -> Result<()> {
    let (device, _) = common.device()?;
    let options = report::Options {
        paths: args.paths.clone(),
        data_root: args.data_root.clone(),
        samples: args.samples,
        device,
    };
    let bar = progress::spinner();
    let written = report::write(&args.out, &options, &|what| bar.set_message(what.to_owned()));
    bar.finish_and_clear();
    let written = written?;
    for lack in &written.lacks {
        output::say(format_args!("the report has {}", clean::line(lack)));
    }
    if common.json {
        output::json(&json!({"report": args.out, "runs": written.runs, "lacks": written.lacks}));
    } else {
        output::line(format_args!("{}: {} runs", args.out.display(), written.runs));
    }
    Ok(())
}
