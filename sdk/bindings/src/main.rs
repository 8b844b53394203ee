//! Writes the bindings of the WIT world in a folder to standard output.

use std::error::Error;
use std::io::{Write as _, stdout};
use wit_bindgen_core::{Files, WorldGenerator as _, wit_parser::Resolve};
use wit_bindgen_rust::Opts;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder of the WIT files")?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(folder)?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    let options = Opts {
        format: true,
        pub_export_macro: true,
        default_bindings_module: Some("retort_sdk::wit".to_owned()),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    for (_, text) in files.iter() {
        stdout().write_all(text)?;
    }
    Ok(())
}
