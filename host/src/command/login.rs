//! `retort plugin login` and `logout`: who the user is to a registry.

use crate::failure::{Failure, Result};
use crate::io::http::Origin;
use crate::share::login;
use crate::share::registry::oci::Oci;
use crate::terminal::output;
use clap::Args;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;

/// Most bytes of a password or a token.
const SECRET_BYTES: u64 = 64 << 10;

/// Arguments of `retort plugin login`.
#[derive(Args, Debug)]
pub struct Login {
    /// The registry: oci://HOST, or the https:// address of an index.
    registry: String,
    /// Who you are there.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Give a token in place of a user's password.
    #[arg(long, conflicts_with = "user")]
    token: bool,
    /// Trust this root certificate there, too: a file in PEM form.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

/// Arguments of `retort plugin logout`.
#[derive(Args, Debug)]
pub struct Logout {
    /// The registry.
    registry: String,
}

/// Where a registry's requests go, and whom a login is noted for.
fn origin(registry: &str) -> Result<Origin> {
    let address = match registry.split_once("://") {
        Some(("oci", rest)) => format!("https://{rest}"),
        Some(("oci+http", rest)) => format!("http://{rest}"),
        _ => registry.to_owned(),
    };
    Origin::of(&address).ok_or_else(|| {
        Failure::usage(format!("{registry} takes no logins: oci://HOST or https://HOST does"))
    })
}

/// Notes who the user is, if the registry agrees.
pub fn login(args: &Login) -> Result<()> {
    let origin = origin(&args.registry)?;
    if !origin.is_private() {
        return Err(Failure::usage(format!(
            "{origin} is plain HTTP, where anybody could read a password: no login is sent there"
        )));
    }
    if args.user.is_none() && !args.token && args.certificate.is_none() {
        return Err(Failure::usage("say who you are: --user NAME, or --token"));
    }
    let host = origin.authority();
    let mut noted = login::Login { host: host.clone(), ..login::Login::default() };
    let certificates = args.certificate.as_deref().map(login::read_certificates).transpose()?;
    noted.certificates = certificates;
    if let Some(user) = &args.user {
        if user.is_empty() || user.contains(':') {
            return Err(Failure::usage(format!(
                "{user:?} can't be a user: it is empty or has a colon"
            )));
        }
        noted.password = Some(secret(&format!("password of {user} at {host}: "))?);
        noted.user = Some(user.clone());
    } else if args.token {
        noted.token = Some(secret(&format!("token for {host}: "))?);
    }
    let before = login::list()?.into_iter().find(|login| login.host == host);
    login::note(noted)?;
    if !args.registry.starts_with("oci") {
        return Ok(());
    }
    // Not kept if the registry won't have it.
    let greeted = Oci::at(&args.registry, false).and_then(|registry| registry.greet());
    if greeted.is_err() {
        match before {
            Some(before) => login::note(before)?,
            None => drop(login::forget(&host)?),
        }
    }
    greeted?;
    output::say(format_args!("{host} knows you"));
    Ok(())
}

/// Asks for a secret, or reads the first line of standard input.
fn secret(prompt: &str) -> Result<String> {
    let failed = |e: std::io::Error| Failure::new(format!("can't read the password: {e}"));
    let text = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).map_err(failed)?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().take(SECRET_BYTES).read_line(&mut line).map_err(failed)?;
        line
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Failure::usage(
            "the password is empty, or has a character that nobody can type",
        ));
    }
    Ok(text.to_owned())
}

/// Forgets who the user is.
pub fn logout(args: &Logout) -> Result<()> {
    let host = origin(&args.registry)?.authority();
    if login::forget(&host)? {
        return Ok(());
    }
    Err(Failure::usage(format!("no login for {host} is noted")))
}
