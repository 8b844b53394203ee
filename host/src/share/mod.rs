//! Packs that travel: one file that says all about itself, signed, in a registry, installed and locked.

pub mod about;
pub mod home;
pub mod index;
pub mod install;
pub mod key;
pub mod login;
pub mod make;
pub mod name;
pub mod new;
pub mod registry;
pub mod sdk;
pub mod store;
pub mod trust;
