//! Finding out what a loss needs, by running it on small batches of several layouts.

use crate::loss::case::{Case, Layout};
use crate::plugin::PluginError;
use crate::plugin::registry::Found;
use burn::tensor::{Device, FloatDType};
use retort_core::{Limits, LossError, Session, Setup};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// A loss on the plainest batch that it takes.
#[derive(Debug)]
pub struct Probed {
    /// What the batch is like.
    pub layout: Layout,
    /// The batch.
    pub case: Case,
    /// The loss after one step on it, which isn't committed.
    pub session: Session,
}

/// A loss that takes this long to fail isn't tried on other batches.
const PATIENCE: Duration = Duration::from_secs(2);

/// A new session of a loss, in 64 bits on the CPU.
pub fn session(
    found: &Found,
    hyper: &Map<String, Value>,
    limits: &Limits,
    dtype: FloatDType,
) -> Result<Session, LossError> {
    let name = &found.definition.name;
    let fault = |e: PluginError| LossError::Fault { loss: name.clone(), fault: e.to_string() };
    let code = found.create(hyper, limits).map_err(fault)?;
    let device = Device::flex().autodiff();
    Ok(Session::new(name, code, Setup { device, dtype, seed: 1, limits: limits.clone() }))
}

/// Tries the layouts in turn. One on which the loss gives a value counts more than one on which it says
/// that it isn't defined. Where it runs on none, the error of the plainest.
pub fn probe(
    found: &Found,
    hyper: &Map<String, Value>,
    limits: &Limits,
) -> Result<Probed, LossError> {
    let (mut undefined, mut error) = (None, None);
    for layout in Layout::ALL {
        let begun = Instant::now();
        let case = Case::of(layout, 12, 8, 1);
        let mut session = session(found, hyper, limits, FloatDType::F64)?;
        let inputs = case.inputs(&Device::flex().autodiff(), FloatDType::F64);
        match session.step(&inputs) {
            Ok(_) => return Ok(Probed { layout, case, session }),
            Err(LossError::Undefined { .. }) if undefined.is_none() => {
                undefined = Some(Probed { layout, case, session });
            }
            Err(e) => {
                error.get_or_insert(e);
            }
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    match (undefined, error) {
        (Some(probed), _) => Ok(probed),
        (None, Some(error)) => Err(error),
        (None, None) => unreachable!("there is a plainest layout"),
    }
}
