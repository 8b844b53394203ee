//! Who the user is to registries: in a file that nobody else can read, or in variables of the environment.

use super::home;
use crate::failure::{Failure, Result};
use crate::io::http::{Client, Secret, certificates};
use crate::plugin::variable;
use retort_core::fs::read_text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Most bytes of a file of certificates.
const CERTIFICATE_BYTES: u64 = 1 << 20;

/// What the user has for one registry.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Login {
    /// The registry's host, with a port if it isn't the usual one.
    pub host: String,
    /// The user there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A token, in place of user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Root certificates (PEM) that count there beside the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login at {}", self.host)
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    login: Vec<Login>,
}

fn file() -> Result<PathBuf> {
    Ok(home::folder()?.join("logins.toml"))
}

/// All of the user's.
pub fn list() -> Result<Vec<Login>> {
    let file = file()?;
    refuse_shared(&file)?;
    Ok(home::read::<File>(&file)?.login)
}

/// Secrets that others can read are none.
#[cfg(unix)]
fn refuse_shared(file: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata(file) {
        Ok(found) if found.mode() & 0o077 != 0 => Err(Failure::new(format!(
            "{} holds passwords, and others on this machine can read it: `chmod 600` it, and change them",
            file.display()
        ))),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "as where there are modes")]
fn refuse_shared(_: &Path) -> Result<()> {
    Ok(())
}

/// Notes one, in place of what was noted for its host.
pub fn note(login: Login) -> Result<()> {
    let mut all = list()?;
    all.retain(|other| other.host != login.host);
    all.push(login);
    all.sort_by(|a, b| a.host.cmp(&b.host));
    write(&File { login: all })
}

/// Forgets that of a host; whether there was one.
pub fn forget(host: &str) -> Result<bool> {
    let mut all = list()?;
    let before = all.len();
    all.retain(|login| login.host != host);
    let forgotten = all.len() < before;
    write(&File { login: all })?;
    Ok(forgotten)
}

/// Writes them, whole or not at all, for the user alone.
fn write(all: &File) -> Result<()> {
    let file = file()?;
    let failed = |e: std::io::Error| Failure::file("write", &file, e);
    let text = toml::to_string(all).map_err(|e| Failure::file("write", &file, e))?;
    home::make(&file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    // A temporary file is its owner's alone, and stays so under its name.
    let mut draft =
        tempfile::Builder::new().prefix(".retort-").tempfile_in(folder).map_err(failed)?;
    draft.write_all(text.as_bytes()).and_then(|()| draft.as_file().sync_all()).map_err(failed)?;
    draft.persist(&file).map_err(|e| failed(e.error))?;
    Ok(())
}

/// Who asks a registry or a site. What stands in the environment is for the one that the user names, and not for
/// one that an index names.
pub fn client(url: &str, host: &str, named_by_user: bool) -> Result<Client> {
    let noted = list()?.into_iter().find(|login| login.host == host).unwrap_or_default();
    let text = |name: &str| std::env::var(name).ok().filter(|v| named_by_user && !v.is_empty());
    let in_environment = match (text("RETORT_REGISTRY_USER"), text("RETORT_REGISTRY_PASSWORD")) {
        (Some(user), Some(password)) => Some(Secret::Password(user, password)),
        (None, None) => None,
        _ => {
            return Err(Failure::usage(
                "RETORT_REGISTRY_USER and RETORT_REGISTRY_PASSWORD come together: one of them is missing",
            ));
        }
    };
    let in_environment = text("RETORT_REGISTRY_TOKEN").map(Secret::Token).or(in_environment);
    let noted_secret = match (noted.user, noted.password, noted.token) {
        (_, _, Some(token)) => Some(Secret::Token(token)),
        (Some(user), Some(password), None) => Some(Secret::Password(user, password)),
        _ => None,
    };
    let pem = match variable("RETORT_REGISTRY_CERTIFICATE") {
        Some(file) => Some(read_certificates(&file)?),
        None => noted.certificates,
    };
    let own = pem.map(|pem| certificates(pem.as_bytes()).map_err(Failure::new)).transpose()?;
    Client::at(url, in_environment.or(noted_secret), &own.unwrap_or_default())
}

/// The text of a file of certificates, if it is one.
pub fn read_certificates(file: &Path) -> Result<String> {
    let text = read_text(file, CERTIFICATE_BYTES).map_err(|e| Failure::file("read", file, e))?;
    certificates(text.as_bytes())
        .map_err(|why| Failure::file("take the certificate in", file, why))?;
    Ok(text)
}
