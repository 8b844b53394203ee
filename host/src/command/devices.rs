//! `retort devices`: what there is to compute on.

use crate::command::Common;
use crate::failure::Result;
use crate::terminal::output;
use retort_core::device::{self, DeviceChoice};
use serde_json::{Value, json};

/// Runs the command.
pub fn run(common: &Common) -> Result<()> {
    let devices = device::list();
    let auto = device::resolve(DeviceChoice::Auto).ok().map(|(_, info)| info.id);
    if common.json {
        let list: Vec<Value> = devices
            .iter()
            .map(|d| {
                json!({"id": d.id, "name": d.name, "kind": d.kind.to_string(), "api": d.api,
                    "driver": d.driver, "auto": Some(&d.id) == auto.as_ref()})
            })
            .collect();
        output::json(&json!({"devices": list, "auto": auto}));
        return Ok(());
    }
    let mut table = output::table(["DEVICE", "NAME", "KIND", "API", "DRIVER", ""]);
    for d in devices {
        let mark = if Some(&d.id) == auto.as_ref() { "<- auto" } else { "" };
        table.add_row([d.id, d.name, d.kind.to_string(), d.api, d.driver, mark.to_owned()]);
    }
    output::line(table);
    Ok(())
}
