//! Files that come from elsewhere or go there: arrays, labels, pictures, downloads.

pub mod arrays;
pub mod download;
pub mod http;
pub mod labels;
pub mod pictures;
pub mod regular;
pub mod rows;
pub mod sheet;
