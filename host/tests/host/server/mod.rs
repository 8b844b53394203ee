//! A server on the loopback: what comes is kept, and a closure says what to answer.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// GET and the like.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// What was sent.
    pub body: Vec<u8>,
}

impl Asked {
    /// A header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: &'static str,
    pub headers: String,
    pub body: Vec<u8>,
    /// Bytes of the body that are sent at once; then it waits, and hangs up.
    pub cut: Option<(usize, Duration)>,
}

impl Answer {
    pub fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Answer { status, headers: String::new(), body: body.into(), cut: None }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        std::fmt::Write::write_fmt(&mut self.headers, format_args!("{name}: {value}\r\n")).unwrap();
        self
    }

    /// A file, or the part of it that was asked for.
    pub fn file(asked: &Asked, bytes: &[u8]) -> Self {
        let from = asked.header("range").strip_prefix("bytes=").and_then(|r| r.strip_suffix('-'));
        let Some(from) = from.and_then(|from| from.parse::<usize>().ok()) else {
            return Answer::new("200 OK", bytes);
        };
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        Answer::new("206 Partial Content", &bytes[from..]).with("Content-Range", &range)
    }
}

/// A server that runs until the test ends.
pub struct Server {
    /// HOST:PORT.
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (asked, answer) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(answer));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || one(stream.unwrap(), &seen, &*answer));
            }
        });
        Server { host, asked }
    }

    /// All that came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn one(mut stream: TcpStream, seen: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut asked = Asked { method, path, ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.split_once(':') else { break };
        asked.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = asked.header("content-length").parse().unwrap_or(0);
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).unwrap();
    seen.lock().unwrap().push(asked.clone());
    let Answer { status, headers, body, cut } = answer(&asked);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
    if asked.method == "HEAD" {
        return;
    }
    match cut {
        None => drop(stream.write_all(&body)),
        Some((at, wait)) => {
            let _ = stream.write_all(&body[..at]);
            std::thread::sleep(wait);
        }
    }
}
