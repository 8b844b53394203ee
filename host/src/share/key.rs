//! Keys that sign packs, and signatures, in minisign's format: `minisign -Vm PACK -P KEY` verifies them, too.

use super::home;
use super::name::is_part;
use crate::failure::{Failure, Result};
use minisign::{KeyPair, PublicKeyBox, SecretKeyBox};
use minisign_verify::{PublicKey, Signature};
use retort_core::fs::{atomic_write, read_text};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Most bytes of a key's file, or of a signature.
const LONGEST: u64 = 4096;

/// One of the user's keys.
#[derive(Clone, Debug)]
pub struct Key {
    /// What the user calls it.
    pub name: String,
    /// The public half, as others trust it.
    pub public: String,
}

fn folder() -> Result<PathBuf> {
    Ok(home::folder()?.join("keys"))
}

fn files(name: &str) -> Result<[PathBuf; 2]> {
    if !is_part(name) {
        return Err(Failure::usage(format!(
            "{name:?} can't be the name of a key: small letters, digits, - and _"
        )));
    }
    let dir = folder()?;
    Ok([dir.join(format!("{name}.key")), dir.join(format!("{name}.pub"))])
}

fn wrong(what: &str, e: impl std::fmt::Display) -> Failure {
    Failure::new(format!("can't {what}: {e}"))
}

/// What unlocks secret keys where nobody can be asked.
fn password() -> Option<String> {
    std::env::var("RETORT_KEY_PASSWORD").ok()
}

/// Makes a key. With a password it is of no use to whoever finds the file.
pub fn make(name: &str, protect: bool) -> Result<Key> {
    let [secret, public] = files(name)?;
    if secret.symlink_metadata().is_ok() {
        let file = secret.display();
        return Err(Failure::usage(format!("there is a key {name} already, {file}: name another")));
    }
    let pair = if protect {
        KeyPair::generate_encrypted_keypair(password())
    } else {
        KeyPair::generate_unencrypted_keypair()
    };
    let pair = pair.map_err(|e| wrong("make a key", e))?;
    let boxed = pair.sk.to_box(Some(&format!("retort's secret key {name}")));
    let boxed = boxed.map_err(|e| wrong("write the key", e))?.into_string();
    let dir = folder()?;
    std::fs::create_dir_all(&dir).map_err(|e| Failure::file("make the folder", &dir, e))?;
    write_private(&secret, boxed.as_bytes())?;
    let key = Key { name: name.to_owned(), public: pair.pk.to_base64() };
    let shown = pair.pk.to_box().map_err(|e| wrong("write the key", e))?.into_string();
    atomic_write(&public, shown.as_bytes()).map_err(Failure::new)?;
    Ok(key)
}

/// Writes a new file that nobody else can read.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|e| Failure::file("write", path, e))
}

/// All of the user's keys.
pub fn list() -> Result<Vec<Key>> {
    let dir = folder()?;
    let Ok(entries) = std::fs::read_dir(&dir) else { return Ok(Vec::new()) };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".pub").map(str::to_owned)
        })
        .filter(|name| is_part(name))
        .collect();
    names.sort();
    names.iter().map(|name| of(name)).collect()
}

fn of(name: &str) -> Result<Key> {
    let [_, public] = files(name)?;
    let text = read_text(&public, LONGEST).map_err(|e| Failure::file("read", &public, e))?;
    let key = PublicKeyBox::from_string(&text).and_then(PublicKeyBox::into_public_key);
    let key = key.map_err(|e| Failure::file("understand the key", &public, e))?;
    Ok(Key { name: name.to_owned(), public: key.to_base64() })
}

/// The user's key of that name; of nobody's choice the only one.
pub fn find(name: Option<&str>) -> Result<Key> {
    let all = list()?;
    let names = all.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, all.as_slice()) {
        (Some(name), all) => all.iter().find(|key| key.name == name).cloned().ok_or_else(|| {
            Failure::usage(format!(
                "you have no key {name}; you have: {names}. `retort key new` makes one"
            ))
        }),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Failure::usage(
            "you have no key yet: `retort key new NAME` makes one, and --unsigned publishes without",
        )),
        (None, _) => {
            Err(Failure::usage(format!("say with --key which of your keys signs: {names}")))
        }
    }
}

/// Signs bytes; the comment is signed with them.
pub fn sign(key: &Key, bytes: &[u8], comment: &str) -> Result<String> {
    let [secret, _] = files(&key.name)?;
    let text = read_text(&secret, LONGEST).map_err(|e| Failure::file("read", &secret, e))?;
    let boxed = || SecretKeyBox::from_string(&text);
    let damaged = |e: minisign::PError| Failure::file("use the key", &secret, e);
    let plain = boxed().map_err(damaged)?.into_unencrypted_secret_key();
    let secret_key = match plain {
        Ok(key) => key,
        Err(_) => boxed().map_err(damaged)?.into_secret_key(password()).map_err(damaged)?,
    };
    let note = format!("signature of retort's key {}", key.name);
    let signed = minisign::sign(None, &secret_key, Cursor::new(bytes), Some(comment), Some(&note));
    Ok(signed.map_err(|e| wrong("sign", e))?.into_string())
}

/// Whether a text is a public key: its number, in words that can be compared by eye.
pub fn fingerprint(public: &str) -> std::result::Result<String, String> {
    let key = minisign::PublicKey::from_base64(public)
        .map_err(|_| "it isn't a public key of minisign's: those begin with RW".to_owned())?;
    let number = key.keynum().iter().rev().map(|byte| format!("{byte:02X}"));
    Ok(number.collect())
}

/// Verifies a signature, and gives the comment that was signed.
pub fn verify(public: &str, bytes: &[u8], signature: &str) -> std::result::Result<String, String> {
    let key = PublicKey::from_base64(public).map_err(|e| format!("the key is damaged: {e}"))?;
    let signature =
        Signature::decode(signature).map_err(|e| format!("the signature is damaged: {e}"))?;
    key.verify(bytes, &signature, false).map_err(|_| {
        "the signature isn't of these bytes by this key: somebody has changed one of them"
            .to_owned()
    })?;
    Ok(signature.trusted_comment().to_owned())
}
