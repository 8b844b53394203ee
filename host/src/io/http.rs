//! Requests to one place on the network: over TLS, with the user's login where the place asks for it, and to nobody else.

use crate::failure::{Failure, Result};
use crate::io::download::Patience;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use ureq::http::{HeaderMap, Request, Response, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// Most bytes of an answer that says who one is.
const TOKEN_BYTES: u64 = 1 << 20;

/// What a user has to say who they are. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A name and its password.
    Password(String, String),
    /// A token that stands for both.
    Token(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where requests go: what of an address decides who reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// That of an address; none where it isn't one of HTTP.
    pub fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(usual);
        Some(Origin { scheme, host: uri.host()?.to_lowercase(), port })
    }

    /// Whether nobody between here and there can read along.
    pub fn is_private(&self) -> bool {
        self.scheme == "https" || self.is_loopback()
    }

    /// Its host, with a port if that isn't the usual one.
    pub fn authority(&self) -> String {
        let usual = if self.scheme == "https" { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// The network or the other end.
    Network(ureq::Error),
    /// It wasn't asked, or can't be.
    Refused(Failure),
}

impl Trouble {
    /// In one sentence.
    pub fn at(self, url: &str) -> Failure {
        match self {
            Trouble::Network(e) if url.starts_with("https") && is_tls(&e) => Failure::new(format!(
                "can't trust {url}: {e}. If its certificate is of an authority of your own, give that one's to \
                 `retort plugin login … --certificate FILE`, or name its file with RETORT_REGISTRY_CERTIFICATE"
            )),
            Trouble::Network(e) => Failure::new(format!("can't reach {url}: {e}")),
            Trouble::Refused(failure) => failure,
        }
    }
}

/// Whether the other end couldn't show who it is.
fn is_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Pem(_) => true,
        ureq::Error::Io(e) => e.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}

/// The certificates of a PEM file.
pub fn certificates(pem: &[u8]) -> std::result::Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item.map_err(|e| e.to_string())? {
            PemItem::Certificate(certificate) => found.push(certificate),
            PemItem::PrivateKey(_) => {
                return Err("it holds a private key, which stays with its server".to_owned());
            }
            _ => {}
        }
    }
    if found.is_empty() {
        return Err(
            "it holds no certificate: those begin with -----BEGIN CERTIFICATE-----".to_owned()
        );
    }
    Ok(found)
}

/// Whoever asks one place: by its agents, the first of which knows the user's own certificates.
#[derive(Debug)]
pub struct Client {
    agents: Vec<Agent>,
    home: Option<Origin>,
    secret: Option<Secret>,
    /// What was said last to the place, which asked for it.
    said: Mutex<Option<String>>,
}

impl Client {
    /// One who has nothing to say about themselves.
    pub fn anonymous(patience: Patience) -> Self {
        Client {
            agents: vec![agent(patience, None)],
            home: None,
            secret: None,
            said: Mutex::default(),
        }
    }

    /// One who tells the place of this address who they are, if it asks; `own` are root certificates that count
    /// beside the usual ones.
    pub fn at(url: &str, secret: Option<Secret>, own: &[Certificate<'static>]) -> Result<Self> {
        let home = Origin::of(url)
            .ok_or_else(|| Failure::usage(format!("{url} is no address: it has no host")))?;
        let patience = Patience::default();
        let mut agents = Vec::new();
        if !own.is_empty() {
            agents.push(agent(patience, Some(RootCerts::new_with_certs(own))));
        }
        agents.push(agent(patience, None));
        Ok(Client { agents, home: Some(home), secret, said: Mutex::default() })
    }

    /// Asks, and says who one is if the place wants to know. No status is an error.
    pub fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> std::result::Result<Response<Body>, Trouble> {
        let at_home = self.home.is_some() && Origin::of(url) == self.home;
        let said = at_home.then(|| self.said().clone()).flatten();
        let response = self.once(method, url, headers, body, said.as_deref())?;
        if !at_home || response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(answer) = self.answer(response.headers())? else { return Ok(response) };
        if said.as_ref() == Some(&answer) {
            return Ok(response);
        }
        let response = self.once(method, url, headers, body, Some(&answer))?;
        *self.said() = Some(answer);
        Ok(response)
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn once(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
        authorization: Option<&str>,
    ) -> std::result::Result<Response<Body>, Trouble> {
        let all = headers.iter().copied().chain(authorization.map(|a| ("Authorization", a)));
        let all: Vec<(&str, &str)> = all.collect();
        let mut last = None;
        for agent in &self.agents {
            let mut request = Request::builder().method(method).uri(url);
            for (name, value) in &all {
                request = request.header(*name, *value);
            }
            let wrong = |e: ureq::http::Error| Trouble::Network(e.into());
            let answered = match body {
                Some(bytes) => agent.run(request.body(bytes).map_err(wrong)?),
                None => agent.run(request.body(()).map_err(wrong)?),
            };
            match answered {
                // It may be of another authority.
                Err(e) if is_tls(&e) => last = Some(e),
                other => return other.map_err(Trouble::Network),
            }
        }
        Err(Trouble::Network(last.unwrap_or(ureq::Error::ConnectionFailed)))
    }

    /// What to say to a place that asks who one is; none if there is nothing to say.
    fn answer(&self, headers: &HeaderMap) -> std::result::Result<Option<String>, Trouble> {
        let asked = headers.get_all("www-authenticate").iter();
        let mut asked = asked.filter_map(|value| Challenge::read(value.to_str().ok()?));
        let Some(challenge) = asked.find(|c| c.scheme == "bearer" || c.scheme == "basic") else {
            return Ok(None);
        };
        if let (Some(_), Some(home)) = (&self.secret, &self.home)
            && !home.is_private()
        {
            return Err(Trouble::Refused(Failure::new(format!(
                "{home} asks who you are over plain HTTP, where anybody could read the answer: it wasn't given. \
                 Name the registry as oci://HOST, which is HTTPS"
            ))));
        }
        Ok(match (&self.secret, challenge.scheme.as_str()) {
            (Some(Secret::Token(token)), _) => Some(format!("Bearer {token}")),
            (Some(Secret::Password(user, password)), "basic") => Some(basic(user, password)),
            (None, "basic") => None,
            _ => Some(format!("Bearer {}", self.token(&challenge)?)),
        })
    }

    /// A token of whoever the place trusts to give them out.
    fn token(&self, challenge: &Challenge) -> std::result::Result<String, Trouble> {
        let refused = |why: String| Trouble::Refused(Failure::new(why));
        let realm = challenge.get("realm").unwrap_or_default();
        let giver = Origin::of(realm).ok_or_else(|| {
            refused(format!("it wants a token of {realm:?}, which is no address"))
        })?;
        let on_loopback = self.home.as_ref().is_some_and(Origin::is_loopback);
        if giver.scheme != "https" && !(giver.is_loopback() && on_loopback) {
            return Err(refused(format!(
                "it wants a token of {giver}, over plain HTTP, where anybody could read it: none was asked for"
            )));
        }
        let mut last = None;
        for agent in &self.agents {
            let mut request = agent.get(realm);
            for key in ["service", "scope"] {
                if let Some(value) = challenge.get(key) {
                    request = request.query(key, value);
                }
            }
            if let Some(Secret::Password(user, password)) = &self.secret {
                request = request.header("Authorization", basic(user, password));
            }
            let response = match request.call() {
                Err(e) if is_tls(&e) => {
                    last = Some(e);
                    continue;
                }
                other => other.map_err(Trouble::Network)?,
            };
            if !response.status().is_success() {
                let status = response.status();
                return Err(refused(format!(
                    "{giver}, which gives out its tokens, answers {status}"
                )));
            }
            let text = response.into_body().into_with_config().limit(TOKEN_BYTES).read_to_string();
            let answer: Value = serde_json::from_str(&text.map_err(Trouble::Network)?)
                .map_err(|_| refused(format!("{giver} gives no token: its answer is no JSON")))?;
            let token = answer["token"].as_str().or(answer["access_token"].as_str());
            let fits = |t: &&str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic());
            return token
                .filter(fits)
                .map(str::to_owned)
                .ok_or_else(|| refused(format!("{giver} gives no token")));
        }
        Err(Trouble::Network(last.unwrap_or(ureq::Error::ConnectionFailed)))
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn agent(patience: Patience, roots: Option<RootCerts>) -> Agent {
    let tls = TlsConfig::builder().root_certs(roots.unwrap_or(RootCerts::WebPki)).build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("retort/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .timeout_resolve(Some(patience.silence))
        .timeout_connect(Some(patience.silence.min(Duration::from_secs(30))))
        .timeout_send_request(Some(patience.silence))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence));
    config.build().new_agent()
}

/// How a place asks who one is (RFC 9110, 11.6.1).
#[derive(Debug, PartialEq)]
struct Challenge {
    scheme: String,
    values: Vec<(String, String)>,
}

impl Challenge {
    fn read(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut values = Vec::new();
        while let Some((key, after)) = rest.split_once('=') {
            let key = key.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_lowercase();
            let (value, left) = if let Some(quoted) = after.strip_prefix('"') {
                quoted.split_once('"')?
            } else {
                after.split_once(',').unwrap_or((after, ""))
            };
            values.push((key, value.trim().to_owned()));
            rest = left;
        }
        (!scheme.is_empty()).then(|| Challenge { scheme: scheme.to_lowercase(), values })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Challenge, Origin, Secret};

    #[test]
    fn challenges_are_read_with_commas_in_quotes() {
        let text = r#"Bearer realm="https://auth.example/token",service="registry", scope="repository:ada/x:pull,push""#;
        let challenge = Challenge::read(text).unwrap();
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.get("realm"), Some("https://auth.example/token"));
        assert_eq!(challenge.get("service"), Some("registry"));
        assert_eq!(challenge.get("scope"), Some("repository:ada/x:pull,push"));
        let challenge = Challenge::read("Basic realm=here, charset=UTF-8").unwrap();
        assert_eq!((challenge.scheme.as_str(), challenge.get("realm")), ("basic", Some("here")));
        assert_eq!(challenge.get("charset"), Some("UTF-8"));
        assert_eq!(Challenge::read("Basic").unwrap().values, []);
        assert_eq!(Challenge::read(""), None);
        assert_eq!(Challenge::read("Bearer realm=\"never ends"), None);
    }

    #[test]
    fn a_place_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(a) == Origin::of(b);
        assert!(same("https://Host/x", "https://host:443/y"));
        assert!(!same("https://host/", "https://host:5000/"));
        assert!(!same("https://host/", "http://host/"));
        assert!(!same("https://host/", "https://host.evil/"));
        assert!(!same("https://host@evil/", "https://host/"));
        assert!(Origin::of("ftp://host/").is_none() && Origin::of("host").is_none());
        for (url, private) in [
            ("https://packs.example/", true),
            ("http://packs.example/", false),
            ("http://127.0.0.1:5000/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost/", true),
            ("http://localhost.evil/", false),
            ("http://127.0.0.1.evil/", false),
        ] {
            assert_eq!(Origin::of(url).unwrap().is_private(), private, "{url}");
        }
    }

    #[test]
    fn a_secret_isnt_shown() {
        let shown = format!("{:?}", Secret::Password("ada".to_owned(), "hunter2".to_owned()));
        assert_eq!(shown, "Secret");
    }
}
