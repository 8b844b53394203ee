//! What makes pictures that belong to no data set into a network's input.

use crate::experiment::Data;
use crate::failure::Result;
use retort_datasets::{Compose, Resize, ResizeCrop, Transform};
use std::sync::Arc;

/// What makes a picture of any size into a network's input: what the network's data set does with its own,
/// or what is usual for photographs where none is known.
pub fn evaluation(data: Option<&Data>, size: usize) -> Result<Arc<dyn Transform>> {
    Ok(match data {
        // A generated data set's own pictures have that size already.
        Some(data) => Arc::new(Compose(vec![
            (data.entry()?.evaluation)(size),
            Arc::new(Resize { width: size, height: size }),
        ])),
        None => Arc::new(ResizeCrop::to(size)),
    })
}
