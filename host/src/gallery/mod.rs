//! A gallery: pages of losses that need neither a server nor the network. All that packs say about themselves is
//! foreign, and is text there.

mod markdown;
mod math;
mod page;

use crate::failure::{Failure, Result};
use crate::share::about::About;
use crate::share::name::Name;
use crate::share::registry::Registry;
use crate::share::registry::entry::Entry;
use retort_core::Limits;
use retort_core::fs::atomic_write;
use retort_sdk::schema::Pack;
use std::path::Path;

/// A pack as it is shown.
#[derive(Debug)]
pub struct Shown {
    /// Its name; none of the losses that are built in.
    pub name: Option<Name>,
    /// Its losses.
    pub pack: Pack,
    /// What it says about itself.
    pub about: Option<About>,
    /// Its versions, the newest first.
    pub versions: Vec<Entry>,
}

impl Shown {
    /// The losses that are built in.
    pub fn builtin(pack: Pack) -> Self {
        Shown { name: None, pack, about: None, versions: Vec::new() }
    }

    /// What it is called on its pages.
    fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| "built in".to_owned(), Name::to_string)
    }

    /// Where its pages lie, two folders deep.
    fn folder(&self) -> String {
        self.name.as_ref().map_or_else(|| "built-in/losses".to_owned(), Name::to_string)
    }
}

/// The newest version of each pack of an index, and why others aren't there.
pub fn of(index: &Registry, limits: &Limits) -> Result<(Vec<Shown>, Vec<String>)> {
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    for name in index.place().packs()? {
        match one(index, &name, limits) {
            Ok(shown) => all.extend(shown),
            Err(e) => unread.push(format!("{name}: {}", e.message)),
        }
    }
    Ok((all, unread))
}

fn one(index: &Registry, name: &Name, limits: &Limits) -> Result<Option<Shown>> {
    let versions = index.versions(name)?;
    let Some(newest) = versions.iter().find(|entry| !entry.yanked) else { return Ok(None) };
    let bytes = index.place().bytes(newest, limits.component_bytes)?;
    let about = About::read(&bytes).map_err(Failure::new)?;
    let about = about.ok_or_else(|| Failure::new("it says nothing about itself"))?;
    if about.name != *name {
        return Err(Failure::new(format!("its file says that it is {}", about.name)));
    }
    let pack = about.losses.clone();
    Ok(Some(Shown { name: Some(name.clone()), pack, about: Some(about), versions }))
}

/// Writes the pages; how many losses they show.
pub fn write(all: &[Shown], out: &Path) -> Result<usize> {
    let mut losses = 0;
    let put = |path: &Path, text: String| -> Result<()> {
        let dir = path.parent().unwrap_or(out);
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))?;
        atomic_write(path, text.as_bytes()).map_err(Failure::new)
    };
    for shown in all {
        for loss in &shown.pack.losses {
            let path = out.join(shown.folder()).join(format!("{}.html", loss.name));
            put(&path, page::loss(shown, loss))?;
            losses += 1;
        }
    }
    put(&out.join("index.html"), page::first(all))?;
    Ok(losses)
}
