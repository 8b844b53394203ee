//! Packs that travel: made, published, found, added, verified, taken back.

use crate::command::Common;
use crate::experiment::settings::limits;
use crate::failure::{Failure, Result};
use crate::plugin::build::Cargo;
use crate::share::about::About;
use crate::share::install::{self, How, LOCK, Report};
use crate::share::name::{Name, Wanted};
use crate::share::registry::Registry;
use crate::share::{key, make};
use crate::terminal::output;
use clap::Args;
use retort_core::fs::read_regular;
use semver::Version;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Which registry.
#[derive(Args, Clone, Debug)]
pub struct Where {
    /// The registry: a folder, oci://HOST/PATH, or the https:// address of an index [default: RETORT_REGISTRY, else a
    /// folder of your own].
    #[arg(long, value_name = "PLACE")]
    registry: Option<PathBuf>,
}

impl Where {
    /// Opens it.
    pub fn open(&self) -> Result<Registry> {
        Registry::open(self.registry.as_deref())
    }
}

/// Arguments of `retort plugin pack`.
#[derive(Args, Debug)]
pub struct Pack {
    /// Folder of the pack.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Who publishes it [default: `author` in its Cargo.toml's package.metadata.retort, or its pyproject.toml's
    /// tool.retort].
    #[arg(long)]
    author: Option<String>,
    #[command(flatten)]
    cargo: Cargo,
}

/// Makes a pack.
pub fn pack(args: &Pack, common: &Common) -> Result<()> {
    let author = args.author.as_deref();
    let (file, about) = make::make(&args.path, author, &args.cargo, &limits(&[])?)?;
    let bytes = std::fs::metadata(&file).map_or(0, |m| m.len());
    if common.json {
        output::json(
            &json!({"pack": file, "name": about.name, "version": about.version, "bytes": bytes,
            "losses": losses(&about)}),
        );
    } else {
        output::line(format_args!(
            "{}\n{} {}: {}, checked and pinned; {bytes} bytes",
            file.display(),
            about.name,
            about.version,
            losses(&about).join(", ")
        ));
    }
    Ok(())
}

fn losses(about: &About) -> Vec<&str> {
    about.losses.losses.iter().map(|loss| loss.name.as_str()).collect()
}

/// Shows what a pack says about itself, without running it; whether it says anything.
pub fn info(file: &Path, common: &Common) -> Result<bool> {
    let limits = limits(&[])?;
    let bytes = read_regular(file, limits.component_bytes);
    let bytes = bytes.map_err(|e| Failure::file("read", file, e))?;
    let about =
        About::read(&bytes).map_err(|why| Failure::file("understand the pack", file, why))?;
    let Some(about) = about else { return Ok(false) };
    let digest = crate::plugin::digest(&bytes);
    if common.json {
        output::json(
            &json!({"path": file, "digest": digest, "name": about.name, "version": about.version,
            "about": about.texts, "readme": about.readme, "pins": about.pins, "card": about.card,
            "interface": about.losses.interface, "sdk": about.losses.sdk, "losses": losses(&about)}),
        );
        return Ok(true);
    }
    let mut text = format!("{} {}\n{digest}\n", about.name, about.version);
    for (name, content) in &about.texts {
        let _ = writeln!(text, "{name}: {content}");
    }
    let _ = writeln!(text, "interface: {} ({})", about.losses.interface, about.losses.sdk);
    output::line(text);
    let mut table = output::table(["LOSS", "CHECKS", "PINNED", "PAPER"]);
    for loss in &about.losses.losses {
        let verdicts = about.card[&loss.name].as_array().map(Vec::as_slice).unwrap_or_default();
        let holds = verdicts.iter().filter(|v| v["verdict"] == "holds").count();
        let pinned = about.pins.get(&loss.name).map_or(0, |pin| crate::loss::pin::numbers(pin));
        table.add_row([
            loss.name.clone(),
            format!("{holds} of {} hold", verdicts.len()),
            pinned.to_string(),
            loss.paper.clone(),
        ]);
    }
    output::line(table);
    if !about.readme.is_empty() {
        output::line(format_args!("\n{}", about.readme.trim()));
    }
    Ok(true)
}

/// Arguments of `retort plugin publish`.
#[derive(Args, Debug)]
pub struct Publish {
    /// A file that `retort plugin pack` made.
    file: PathBuf,
    #[command(flatten)]
    place: Where,
    /// Which of your keys signs it [default: the only one].
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Publish it without a signature: nobody can tell who made it.
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
}

/// Publishes a pack.
pub fn publish(args: &Publish, common: &Common) -> Result<()> {
    let limits = limits(&[])?;
    let bytes = read_regular(&args.file, limits.component_bytes);
    let bytes = bytes.map_err(|e| Failure::file("read", &args.file, e))?;
    let why = |why: String| Failure::file("publish", &args.file, why);
    let about = About::read(&bytes).map_err(why)?.ok_or_else(|| {
        why("it says nothing about itself: make a pack of its crate with `retort plugin pack`"
            .to_owned())
    })?;
    let signer = if args.unsigned { None } else { Some(key::find(args.key.as_deref())?) };
    let registry = args.place.open()?;
    let entry = registry.publish(&about, &bytes, signer.as_ref())?;
    if common.json {
        output::json(&json!(entry));
    } else {
        output::line(format_args!(
            "{} {} is published in {}\n{}\nadd it with `retort add {}@{}`",
            entry.name,
            entry.version,
            registry.shown(),
            entry.digest,
            entry.name,
            entry.version
        ));
    }
    Ok(())
}

/// Arguments of `retort add`.
#[derive(Args, Debug)]
#[command(
    after_help = "The pack's digest and signature are verified, then its own pinned numbers are computed on this machine. \
                  Its losses\nare AUTHOR/PACK#LOSS afterwards, wherever a loss is named.\n\nExamples:\n  retort add ada/curvature\n  retort add ada/curvature@1 --lock"
)]
pub struct Add {
    /// The pack, and if need be its version: AUTHOR/PACK@1.2.
    #[arg(value_name = "AUTHOR/PACK[@VERSION]")]
    pack: String,
    #[command(flatten)]
    place: Where,
    /// Add it also if nobody signed it.
    #[arg(long)]
    allow_unsigned: bool,
    /// Write it into retort.lock in this folder (one that is there is always kept).
    #[arg(long)]
    lock: bool,
    /// Only the version that retort.lock names.
    #[arg(long)]
    locked: bool,
}

/// Adds a pack.
pub fn add(args: &Add, common: &Common) -> Result<()> {
    let wanted: Wanted = args.pack.parse().map_err(Failure::usage)?;
    let lock = PathBuf::from(LOCK);
    if args.locked && !lock.is_file() {
        return Err(Failure::usage(format!("there is no {LOCK} here, which --locked asks for")));
    }
    let lock = (args.lock || lock.is_file()).then_some(lock);
    let how = How { allow_unsigned: args.allow_unsigned, lock, locked: args.locked };
    told(&install::add(&wanted, &args.place.open()?, &how, &limits(&[])?)?, common);
    Ok(())
}

fn told(report: &Report, common: &Common) {
    let Report { added, losses, pinned: (lines, agree, _) } = report;
    if common.json {
        output::json(
            &json!({"added": added, "losses": losses, "numbers": lines, "as_published": agree}),
        );
        return;
    }
    let names: Vec<String> = losses.iter().map(|loss| format!("{}#{loss}", added.name)).collect();
    output::line(format_args!(
        "{} {}: {agree} of {lines} numbers as published{}\n{}",
        added.name,
        added.version,
        if added.key.is_none() { "; UNSIGNED" } else { "" },
        names.join("\n")
    ));
}

/// Arguments of `retort plugin search`.
#[derive(Args, Debug)]
pub struct Search {
    /// Words that are all in a pack's name, its description, or its losses' names, docs and papers.
    words: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Searches a registry.
pub fn search(args: &Search, common: &Common) -> Result<()> {
    let (found, unread) = args.place.open()?.search(&args.words)?;
    for why in &unread {
        output::say(format_args!("left out: {why}"));
    }
    if common.json {
        output::json(&json!({"packs": found}));
        return Ok(());
    }
    let mut table = output::table(["PACK", "VERSION", "LOSSES", "WHAT IT IS"]);
    for entry in &found {
        let losses: Vec<&str> = entry.losses.iter().map(|loss| loss.name.as_str()).collect();
        let version = entry.version.to_string();
        table.add_row([&entry.name.to_string(), &version, &losses.join(", "), &entry.description]);
    }
    output::line(table);
    Ok(())
}

/// Arguments of `retort plugin versions`.
#[derive(Args, Debug)]
pub struct Versions {
    /// The pack.
    #[arg(value_name = "AUTHOR/PACK")]
    pack: String,
    #[command(flatten)]
    place: Where,
}

/// Lists a pack's versions.
pub fn versions(args: &Versions, common: &Common) -> Result<()> {
    let name: Name = args.pack.parse().map_err(Failure::usage)?;
    let registry = args.place.open()?;
    let all = registry.versions(&name)?;
    if all.is_empty() {
        return Err(Failure::new(format!("{} has no pack {name}", registry.shown())));
    }
    if common.json {
        output::json(&json!({"versions": all}));
        return Ok(());
    }
    let mut table = output::table(["VERSION", "SIGNED BY", "DIGEST", ""]);
    for entry in &all {
        let key = entry.key.as_deref().and_then(|key| key::fingerprint(key).ok());
        let yanked = if entry.yanked { "taken back" } else { "" };
        let version = entry.version.to_string();
        table.add_row([
            &version,
            &key.unwrap_or_else(|| "nobody".to_owned()),
            &entry.digest,
            yanked,
        ]);
    }
    output::line(table);
    Ok(())
}

/// Arguments of `retort plugin yank`.
#[derive(Args, Debug)]
pub struct Yank {
    /// The pack with its version: AUTHOR/PACK@1.2.3.
    #[arg(value_name = "AUTHOR/PACK@VERSION")]
    pack: String,
    #[command(flatten)]
    place: Where,
    /// Give it again.
    #[arg(long)]
    undo: bool,
}

/// Takes a version back.
pub fn yank(args: &Yank) -> Result<()> {
    let (name, version) = args.pack.split_once('@').ok_or_else(|| {
        Failure::usage(format!("{} names no version: AUTHOR/PACK@1.2.3", args.pack))
    })?;
    let name: Name = name.parse().map_err(Failure::usage)?;
    let version: Version = version
        .parse()
        .map_err(|e| Failure::usage(format!("{version} is no whole version: {e}")))?;
    args.place.open()?.yank(&name, &version, !args.undo)
}

/// Arguments of `retort plugin remove`.
#[derive(Args, Debug)]
pub struct Remove {
    /// The pack.
    #[arg(value_name = "AUTHOR/PACK")]
    pack: String,
}

/// Forgets a pack.
pub fn remove(args: &Remove) -> Result<()> {
    let name: Name = args.pack.parse().map_err(Failure::usage)?;
    if install::remove(&name)? {
        Ok(())
    } else {
        Err(Failure::usage(format!("{name} isn't added")))
    }
}

/// Arguments of `retort plugin update`.
#[derive(Args, Debug)]
pub struct Update {
    /// The packs [default: all that were added].
    #[arg(value_name = "AUTHOR/PACK")]
    packs: Vec<String>,
    #[command(flatten)]
    place: Where,
    /// Add new versions also if nobody signed them.
    #[arg(long)]
    allow_unsigned: bool,
}

/// Adds the newest versions.
pub fn update(args: &Update, common: &Common) -> Result<()> {
    let added = install::list()?;
    let names: Vec<Name> = match args.packs.as_slice() {
        [] => added.iter().map(|added| added.name.clone()).collect(),
        names => names.iter().map(|n| n.parse().map_err(Failure::usage)).collect::<Result<_>>()?,
    };
    let (registry, limits) = (args.place.open()?, limits(&[])?);
    for name in names {
        let was = added.iter().find(|added| added.name == name);
        let was = was.ok_or_else(|| Failure::usage(format!("{name} isn't added")))?;
        let wanted = Wanted { name, version: None };
        let newest = registry.choose(&wanted)?;
        if newest.version <= was.version {
            output::say(format_args!("{} {} is the newest", was.name, was.version));
            continue;
        }
        let how = How { allow_unsigned: args.allow_unsigned, ..How::default() };
        told(&install::add(&wanted, &registry, &how, &limits)?, common);
    }
    Ok(())
}

/// Verifies all that was added: its bytes and its numbers.
pub fn verify(common: &Common) -> Result<()> {
    let limits = limits(&[])?;
    let (mut failed, mut all) = (Vec::new(), Vec::new());
    for added in install::list()? {
        let (verdict, numbers) = match install::verify(&added, &limits) {
            Ok((lines, agree, wrong)) => {
                failed.extend(wrong.first().map(|first| format!("{}: {first}", added.name)));
                (wrong.is_empty(), format!("{agree} of {lines} numbers as published"))
            }
            Err(e) => {
                failed.push(e.message.clone());
                (false, e.message)
            }
        };
        all.push((added, verdict, numbers));
    }
    if common.json {
        let all =
            all.iter().map(|(added, ok, text)| json!({"pack": added, "ok": ok, "found": text}));
        output::json(&json!({"packs": all.collect::<Vec<_>>()}));
    } else {
        let mut table = output::table(["PACK", "VERSION", "FOUND"]);
        for (added, _, numbers) in &all {
            table.add_row([&added.name.to_string(), &added.version.to_string(), numbers]);
        }
        output::line(table);
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(failed.join("; "))) }
}
