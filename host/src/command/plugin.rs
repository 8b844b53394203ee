//! `retort plugin`: packs of losses, built and described.

use crate::command::{Common, check, login, new, share};
use crate::experiment::settings::limits;
use crate::failure::{Failure, Result};
use crate::plugin::build::{self, Cargo};
use crate::plugin::{Origin, Pack, registry::Registry};
use crate::share::install;
use crate::share::name::Name;
use crate::terminal::output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Actions of `retort plugin`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin a loss: a folder that builds, checks and trains at once, without a clone of retort.
    #[command(
        after_help = "Example:\n  retort plugin new my_loss --author ada\n  retort plugin new my_loss --python"
    )]
    New(new::New),
    /// Build a pack crate as a native library and as a WASM component, or a pack in Python as a component.
    #[command(
        after_help = "Of a crate this runs cargo, and with it the pack's build scripts and macros, then loads the library that was \
                      built:\nall of it native code with all your rights. Build only what you trust. Of a folder with a pyproject.toml it runs\ncomponentize-py (pip install componentize-py), which runs the pack's code in a sandbox.\n\nExamples:\n  retort plugin build plugins\n  retort plugin build my_pack --wasm --out packs"
    )]
    Build(Build),
    /// Build a pack, check all its losses in both forms, and verify their snapshots: for a pack's own CI.
    #[command(
        after_help = "Exits with 1 if a property of a loss fails, or a number isn't the recorded one. This builds as \
                      `plugin build` does,\nwith the same rights; nothing of retort is compiled. Snapshots are made by \
                      `retort snapshot record`.\n\nExample:\n  retort plugin test my_pack --junit check.xml"
    )]
    Test(Test),
    /// List packs: the one built in, and those in files or folders.
    #[command(after_help = concat!("Of a folder, components are loaded; its native libraries only with --native.\n", native_code!(), "\n\nExample:\n  retort plugin list packs"))]
    List {
        /// Plugin files, or folders that hold them.
        paths: Vec<PathBuf>,
        /// Load the native libraries in folders, too: their code runs.
        #[arg(long)]
        native: bool,
    },
    /// Show a pack: where it comes from, its digest, interface and losses; of one made to travel all that it
    /// says about itself, without running anything of it.
    #[command(after_help = concat!(native_code!(), "\n\nExamples:\n  retort plugin info packs/my_pack.wasm\n  retort plugin info ada/curvature"))]
    Info {
        /// A plugin file, or a pack that was added.
        path: PathBuf,
    },
    /// Make one file of a pack to be given away: built, checked, pinned, with its README and papers.
    #[command(
        after_help = "This builds as `plugin build` does, with the same rights. A loss that fails `loss check` is refused.\n\n\
                      Example:\n  retort plugin pack my_pack --author ada --out packs"
    )]
    Pack(share::Pack),
    /// Put a pack into a registry, signed with your key. A version never changes.
    #[command(after_help = "Example:\n  retort plugin publish packs/my_pack-0.1.0.wasm")]
    Publish(share::Publish),
    /// Add a pack, as `retort add` does.
    Add(share::Add),
    /// Find packs in a registry.
    #[command(after_help = "Example:\n  retort plugin search curvature transfer")]
    Search(share::Search),
    /// List a pack's versions.
    #[command(after_help = "Example:\n  retort plugin versions ada/curvature")]
    Versions(share::Versions),
    /// Say who you are to a registry: noted in a file that nobody else can read.
    #[command(
        after_help = "The password or token is asked for, or read from standard input. Where nothing may be noted, RETORT_REGISTRY_USER and\nRETORT_REGISTRY_PASSWORD, or RETORT_REGISTRY_TOKEN, and RETORT_REGISTRY_CERTIFICATE (a file) say it to the registry\nthat is named. A login is sent over HTTPS, or to this machine itself.\n\nExamples:\n  retort plugin login oci://packs.example --user ada\n  retort plugin login oci://packs.example --user ada --certificate authority.pem"
    )]
    Login(login::Login),
    /// Forget who you are to a registry.
    #[command(after_help = "Example:\n  retort plugin logout oci://packs.example")]
    Logout(login::Logout),
    /// Take a version back: it is added no more, except where a lock names it.
    #[command(after_help = "Example:\n  retort plugin yank ada/curvature@1.2.3")]
    Yank(share::Yank),
    /// Forget a pack that was added. Runs that used it keep it.
    #[command(after_help = "Example:\n  retort plugin remove ada/curvature")]
    Remove(share::Remove),
    /// Add the newest versions of packs that were added.
    #[command(after_help = "Example:\n  retort plugin update")]
    Update(share::Update),
    /// Verify all packs that were added: their bytes, and that they compute here what their authors saw.
    #[command(after_help = "Example:\n  retort plugin verify")]
    Verify,
}

/// Arguments of `retort plugin build`.
#[derive(Args, Debug)]
pub struct Build {
    /// Folder of the pack.
    path: PathBuf,
    /// Build the native library [default: both].
    #[arg(long)]
    native: bool,
    /// Build the component [default: both].
    #[arg(long)]
    wasm: bool,
    #[command(flatten)]
    cargo: Cargo,
}

/// Arguments of `retort plugin test`.
#[derive(Args, Debug)]
pub struct Test {
    /// Folder of the pack.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Folder of recorded snapshots [default: `snapshots` in the pack's].
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Build and check the component alone, which runs in a sandbox.
    #[arg(long)]
    wasm: bool,
    #[command(flatten)]
    cargo: Cargo,
    #[command(flatten)]
    wanted: check::Wanted,
    /// A limit of each step, such as `seconds=60`.
    #[arg(long = "limit", value_name = "KEY=VALUE")]
    limit: Vec<String>,
}

/// Builds a pack and checks its component, against the native library if that is built.
fn test(args: &Test, common: &Common) -> Result<()> {
    let limits = limits(&args.limit)?;
    let options = build::Options { native: !args.wasm, wasm: true, cargo: args.cargo.clone() };
    let built = build::build(&args.path, &options)?;
    let Some(component) = &built.wasm else {
        return Err(Failure::new("the component that was asked for wasn't built"));
    };
    let snapshots = match &args.against {
        Some(dir) => dir.clone(),
        None if args.path.is_dir() => args.path.join("snapshots"),
        None => args.path.with_file_name("snapshots"),
    };
    let named = args.against.is_some();
    if named && !snapshots.is_dir() {
        return Err(Failure::file("read", &snapshots, "there is no such folder"));
    }
    let subjects = check::subjects_of(component, built.native.as_deref(), &snapshots, &limits)?;
    let unpinned: Vec<&str> = subjects
        .iter()
        .filter(|subject| subject.pin.is_none())
        .map(|subject| subject.found.definition.name.as_str())
        .collect();
    if !unpinned.is_empty() {
        output::say(format_args!(
            "no snapshot yet of {}: `retort snapshot record {} --out {}` makes them",
            unpinned.join(", "),
            component.display(),
            snapshots.display()
        ));
    }
    check::try_all(&subjects, &args.wanted, common)
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    let mut registry = Registry::new(limits(&[])?)?;
    match command {
        Command::New(args) => new::run(args, common),
        Command::Build(args) => {
            let both = args.native == args.wasm;
            let built = build::build(
                &args.path,
                &build::Options {
                    native: both || args.native,
                    wasm: both || args.wasm,
                    cargo: args.cargo.clone(),
                },
            )?;
            let files: Vec<PathBuf> = [built.native, built.wasm].into_iter().flatten().collect();
            let mut packs = Vec::new();
            for file in files {
                packs.push(registry.pack(&file)?);
            }
            show(&packs, common);
            Ok(())
        }
        Command::Test(args) => test(args, common),
        Command::List { paths, native } => {
            let mut packs = vec![registry.builtin().clone()];
            for added in install::list()? {
                // One that can't be loaded hides none of the others.
                match registry.pack(Path::new(&added.name.to_string())) {
                    Ok(pack) => packs.push(pack),
                    Err(e) => output::say(format_args!("left out: {e}")),
                }
            }
            let (files, unloaded) = files(paths, *native)?;
            for file in files {
                packs.push(registry.pack(&file)?);
            }
            if unloaded > 0 {
                let what = if unloaded == 1 { "library isn't" } else { "libraries aren't" };
                output::say(format_args!(
                    "{unloaded} native {what} loaded: --native would run their code"
                ));
            }
            show(&packs, common);
            Ok(())
        }
        Command::Pack(args) => share::pack(args, common),
        Command::Publish(args) => share::publish(args, common),
        Command::Add(args) => share::add(args, common),
        Command::Search(args) => share::search(args, common),
        Command::Versions(args) => share::versions(args, common),
        Command::Yank(args) => share::yank(args),
        Command::Login(args) => login::login(args),
        Command::Logout(args) => login::logout(args),
        Command::Remove(args) => share::remove(args),
        Command::Update(args) => share::update(args, common),
        Command::Verify => share::verify(common),
        Command::Info { path } => {
            let added = path.to_str().and_then(|text| text.parse::<Name>().ok());
            let added = added.map(|name| install::resolve(&name)).transpose()?;
            let path = &added.map_or_else(|| path.clone(), |(_, file)| file);
            let component = path.extension().is_some_and(|end| end == "wasm");
            if component && share::info(path, common)? {
                return Ok(());
            }
            describe(&registry.pack(path)?, common);
            Ok(())
        }
    }
}

/// Plugin files among these paths, and in the folders among them: of those, native libraries only if
/// `native`, else their number.
fn files(paths: &[PathBuf], native: bool) -> Result<(Vec<PathBuf>, usize)> {
    let (mut out, mut unloaded) = (Vec::new(), 0);
    for path in paths {
        if !path.is_dir() {
            out.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| Failure::file("list", path, e))?;
        let mut found: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        let is =
            |p: &Path, ends: &[&str]| p.extension().is_some_and(|e| ends.iter().any(|k| e == *k));
        let libraries = ["so", "dylib", "dll"];
        if !native {
            unloaded += found.iter().filter(|p| is(p, &libraries)).count();
        }
        found.retain(|p| is(p, &["wasm"]) || native && is(p, &libraries));
        found.sort();
        out.append(&mut found);
    }
    Ok((out, unloaded))
}

fn names(pack: &Pack) -> Vec<&str> {
    pack.description.losses.iter().map(|l| l.name.as_str()).collect()
}

fn path(pack: &Pack) -> Option<&Path> {
    match &pack.origin {
        Origin::BuiltIn => None,
        Origin::Native(path) | Origin::Component(path) => Some(path),
    }
}

fn to_json(pack: &Pack) -> Value {
    json!({"origin": pack.origin.to_string(), "path": path(pack), "digest": pack.digest,
        "interface": pack.description.interface, "sdk": pack.description.sdk, "losses": names(pack)})
}

fn show(packs: &[Pack], common: &Common) {
    if common.json {
        let packs: Vec<Value> = packs.iter().map(to_json).collect();
        output::json(&json!({"packs": packs}));
        return;
    }
    let mut table = output::table(["PACK", "ORIGIN", "INTERFACE", "LOSSES"]);
    for pack in packs {
        table.add_row([
            path(pack).map_or_else(|| "retort".to_owned(), |p| p.display().to_string()),
            pack.origin.to_string(),
            pack.description.interface.to_string(),
            names(pack).join(", "),
        ]);
    }
    output::line(table);
}

fn describe(pack: &Pack, common: &Common) {
    if common.json {
        output::json(&to_json(pack));
        return;
    }
    let place = path(pack).map_or_else(|| "this program".to_owned(), |p| p.display().to_string());
    output::line(format_args!(
        "{place}\nOrigin:    {}\nDigest:    {}\nInterface: {} ({})\n",
        pack.origin, pack.digest, pack.description.interface, pack.description.sdk
    ));
    let mut table = output::table(["LOSS", "PAPER"]);
    for loss in &pack.description.losses {
        table.add_row([loss.name.clone(), loss.paper.clone()]);
    }
    output::line(table);
}
