//! Flags that several commands share.

pub mod data;
pub mod experiment;
pub mod hyper;
pub mod retrieval;
