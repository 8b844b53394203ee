//! A loss's hyperparameters as flags after its `--loss`: `--loss rkd --weight-angle 2`.
//!
//! What flags a loss takes is known only once it is loaded, so those that the command doesn't have are
//! handed on in one that it has, `--hyper`, with the number of the `--loss` before them.

use crate::command::Cli;
use crate::experiment::{Experiment, reference};
use crate::failure::{Failure, Result};
use crate::plugin::registry::Registry;
use clap::{Args, Command, CommandFactory as _};
use retort_sdk::schema::nearest;
use serde_json::Value;
use std::ffi::OsString;

/// The authors' flags for the hyperparameters of two of their losses: a loss of another name may have
/// its own of that name.
const AUTHORS: [&str; 5] = ["sigma", "delta", "alpha", "margin", "mrg"];

/// Hyperparameters that were given as flags.
#[derive(Args, Debug)]
pub struct Hyper {
    /// `N:KEY=VALUE` for each, where N is the number of its `--loss`, from 0.
    #[arg(long = "hyper", hide = true)]
    given: Vec<String>,
}

/// A command line in which `retort train`'s flags for hyperparameters are those of [`Hyper`].
pub fn gathered(line: Vec<OsString>) -> Vec<OsString> {
    let command = Cli::command();
    let names = subcommands(&line, &known(&command, &command));
    let [train, role] = names.map(Option::unwrap_or_default);
    let role = command.find_subcommand("train").and_then(|train| train.find_subcommand(role));
    match role {
        Some(role) if train == "train" => rewritten(line.clone(), &known(&command, role)),
        _ => line,
    }
}

/// A command line's first two words that are no flags, nor values of flags that every command has.
fn subcommands<'a>(line: &'a [OsString], global: &[(String, bool)]) -> [Option<&'a str>; 2] {
    let mut words = line.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    let mut next = || {
        loop {
            let word = words.next()?;
            match word.strip_prefix("--") {
                None => return Some(word),
                Some(flag) if global.iter().any(|(name, takes)| name == flag && *takes) => {
                    words.next();
                }
                Some(_) => {}
            }
        }
    };
    [next(), next()]
}

/// The names of a command's flags, and whether each takes a value.
fn known(all: &Command, of: &Command) -> Vec<(String, bool)> {
    let global = all.get_arguments().filter(|arg| arg.is_global_set());
    let mut known: Vec<(String, bool)> = (global.chain(of.get_arguments()))
        .flat_map(|arg| {
            let takes = arg.get_action().takes_values();
            let names = arg.get_long_and_visible_aliases().unwrap_or_default();
            names.into_iter().map(move |name| (name.to_owned(), takes)).collect::<Vec<_>>()
        })
        .collect();
    known.extend(["help", "version"].map(|name| (name.to_owned(), false)));
    known
}

fn rewritten(line: Vec<OsString>, known: &[(String, bool)]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(line.len());
    // The `--loss` before, its number, and whether it has flags of its own.
    let (mut losses, mut own) = (0_usize, false);
    let mut words = line.into_iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        if text == "--" {
            out.push(word);
            out.extend(words);
            break;
        }
        let Some(flag) = text.strip_prefix("--") else {
            out.push(word);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let takes = known.iter().find(|(known, _)| known == name).map(|(_, takes)| *takes);
        if takes.is_some() && !(own && AUTHORS.contains(&name)) || losses == 0 {
            let is_loss = name == "loss";
            let named = value.is_some();
            out.push(word);
            let mut loss = value;
            if takes == Some(true) && !named {
                loss = words.peek().and_then(|next| next.to_str()).map(str::to_owned);
                out.extend(words.next());
            }
            if is_loss {
                losses += 1;
                own = loss.is_some_and(|loss| !reference::is_authors(&loss));
            }
            continue;
        }
        // A switch may stand alone.
        let value = value.unwrap_or_else(|| {
            let value = words.next_if(|next| {
                next.to_str().is_some_and(|next| !next.starts_with('-') || is_number(next))
            });
            value.map_or_else(|| "true".to_owned(), |v| v.to_string_lossy().into_owned())
        });
        let key = if name == "mrg" { "margin" } else { name }.replace('-', "_");
        out.push(format!("--hyper={}:{key}={value}", losses - 1).into());
    }
    out
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

impl Hyper {
    /// Puts them into the losses: `first` has the place of each `--loss` in the experiment.
    pub fn apply(&self, experiment: &mut Experiment, first: &[usize]) -> Result<()> {
        for text in &self.given {
            let (number, assignment) = text.split_once(':').unwrap_or_default();
            let place = number.parse().ok().and_then(|n: usize| first.get(n));
            let loss = place.and_then(|&place| experiment.loss.get_mut(place));
            let loss = loss.ok_or_else(|| {
                Failure::usage(format!(
                    "--hyper {text} isn't N:KEY=VALUE with the number of a --loss"
                ))
            })?;
            let (key, value) = crate::experiment::settings::assignment(assignment)?;
            if loss.hyper.insert(key.clone(), value).is_some() {
                let flag = key.replace('_', "-");
                return Err(Failure::usage(format!("--{flag} is given twice for {}", loss.name)));
            }
        }
        Ok(())
    }

    /// Refuses those that their losses don't have, with the flag that may have been meant.
    pub fn check(&self, experiment: &Experiment, registry: &mut Registry) -> Result<()> {
        for loss in experiment.loss.iter().filter(|_| !self.given.is_empty()) {
            registry.find(&loss.name)?.resolve(&loss.hyper).map_err(|e| {
                let command = Cli::command();
                let train = command.find_subcommand("train");
                let target = train.and_then(|train| train.find_subcommand("target"));
                let flags: Vec<(String, bool)> =
                    target.map(|target| known(&command, target)).unwrap_or_default();
                let flags: Vec<&str> = flags.iter().map(|(name, _)| name.as_str()).collect();
                let strange = loss.hyper.iter().filter(|(key, value)| {
                    let alone = [((*key).clone(), Value::clone(value))].into_iter().collect();
                    registry.find(&loss.name).is_ok_and(|found| found.resolve(&alone).is_err())
                });
                let near = strange
                    .filter_map(|(key, _)| nearest(&key.replace('_', "-"), &flags))
                    .map(|flag| format!("; or is the flag --{flag} meant?"));
                Failure::usage(format!("{e}{}", near.collect::<String>()))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::gathered;

    fn words(line: &str) -> Vec<String> {
        let line = line.split_whitespace().map(Into::into).collect();
        gathered(line).into_iter().map(|word| word.into_string().unwrap_or_default()).collect()
    }

    #[test]
    fn flags_after_a_loss_are_its_hyperparameters_unless_the_command_has_them() {
        for (line, out) in [
            (
                "retort --device cpu train --json target --loss rkd --weight-angle 2 --epochs 3 --lr=0.1",
                "retort --device cpu train --json target --loss rkd --hyper=0:weight_angle=2 --epochs 3 --lr=0.1",
            ),
            (
                "retort train target --loss=a.wasm#x --on --loss triplet --margin -0.2 --mean",
                "retort train target --loss=a.wasm#x --hyper=0:on=true --loss triplet \
                 --hyper=1:margin=-0.2 --hyper=1:mean=true",
            ),
            // The authors' names go with the authors' flags.
            (
                "retort train target --loss Relaxed_Contra --sigma 1 --IPC 2",
                "retort train target --loss Relaxed_Contra --sigma 1 --IPC 2",
            ),
            (
                "retort train target --bogus 1 --loss rkd",
                "retort train target --bogus 1 --loss rkd",
            ),
            ("retort loss check rkd --bogus", "retort loss check rkd --bogus"),
            ("retort train target -- --loss x --y", "retort train target -- --loss x --y"),
            ("retort", "retort"),
        ] {
            let expected: Vec<&str> = out.split_whitespace().collect();
            assert_eq!(words(line), expected);
        }
    }
}
