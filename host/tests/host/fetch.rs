//! Downloads against a server on the loopback that breaks in every way.

use indicatif::ProgressBar;
use retort_host::io::download::{Expected, Patience, download};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server does with one request: status, headers, the part of the body that it sends.
struct Answer(&'static str, String, Vec<u8>);

impl Answer {
    fn whole(body: &[u8]) -> Self {
        let headers = format!("Content-Length: {}\r\nETag: \"one\"\r\n", body.len());
        Answer("200 OK", headers, body.to_vec())
    }

    fn rest(body: &[u8], from: usize) -> Self {
        let (n, all) = (body.len() - from, body.len());
        let range = format!("Content-Range: bytes {from}-{}/{all}\r\n", all - 1);
        let headers = format!("Content-Length: {n}\r\nETag: \"one\"\r\n{range}");
        Answer("206 Partial Content", headers, body[from..].to_vec())
    }

    /// Hangs up after so many bytes.
    fn cut(mut self, at: usize) -> Self {
        self.2.truncate(at);
        self
    }

    fn status(status: &'static str) -> Self {
        Answer(status, "Content-Length: 0\r\n".to_owned(), Vec::new())
    }
}

type Requests = Arc<Mutex<Vec<String>>>;

/// A request's head, read to its end.
fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that answers by the number of the request; its address and the requests it got.
fn serve(answer: impl Fn(usize) -> Answer + Send + 'static) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weights.pth", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = requests.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            seen.lock().unwrap().push(head_of(&mut stream).to_lowercase());
            let Answer(status, headers, body) = answer(number);
            let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    (url, requests)
}

fn body() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn get(url: &str, target: &Path, sha256: Option<&str>) -> Result<String, String> {
    get_of(url, target, &Expected { sha256, ..Expected::default() })
}

fn get_of(url: &str, target: &Path, expected: &Expected) -> Result<String, String> {
    let patience =
        Patience { pause: Duration::from_millis(1), silence: Duration::from_millis(300) };
    download(url, target, expected, &ProgressBar::hidden(), patience).map_err(|f| f.message)
}

/// Names of what is in a folder.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_broken_connection_is_made_again_where_it_broke() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let sent = bytes.clone();
    let (url, requests) = serve(move |number| match number {
        0 => Answer::whole(&sent).cut(500_000),
        1 => Answer::rest(&sent, 500_000).cut(300_000),
        2 => Answer::status("503 Service Unavailable"),
        _ => Answer::rest(&sent, 800_000),
    });
    let target = dir.path().join("new/weights.pth");
    assert_eq!(get(&url, &target, None).unwrap(), sha256(&bytes));
    assert!(std::fs::read(&target).unwrap() == bytes);
    assert_eq!(names(target.parent().unwrap()), ["weights.pth"]);
    let requests = requests.lock().unwrap();
    assert!(!requests[0].contains("\r\nrange:"), "{}", requests[0]);
    for (request, from) in requests[1..].iter().zip([500_000, 800_000, 800_000]) {
        assert!(request.contains(&format!("\r\nrange: bytes={from}-\r\n")), "{request}");
        assert!(request.contains("\r\nif-range: \"one\"\r\n"), "{request}");
    }
    assert_eq!(requests.len(), 4);
}

#[test]
fn the_same_command_goes_on_after_it_gave_up() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let sent = bytes.clone();
    let (url, requests) = serve(move |number| match number {
        0 => Answer::whole(&sent).cut(700_000),
        1..=5 => Answer::status("502 Bad Gateway"),
        _ => Answer::rest(&sent, 700_000),
    });
    let target = dir.path().join("weights.pth");
    let message = get(&url, &target, None).unwrap_err();
    assert!(message.contains("502 Bad Gateway, 5 times in a row"), "{message}");
    assert!(message.contains("700000 bytes are kept"), "{message}");
    assert!(!target.exists());
    get(&url, &target, Some(&sha256(&bytes))).unwrap();
    assert!(std::fs::read(&target).unwrap() == bytes);
    assert_eq!(requests.lock().unwrap().len(), 7);
}

#[test]
fn a_whole_part_needs_only_its_name() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let range = format!("Content-Range: bytes */{}\r\nContent-Length: 0\r\n", bytes.len());
    let (url, _) = serve(move |_| Answer("416 Range Not Satisfiable", range.clone(), Vec::new()));
    let target = dir.path().join("weights.pth");
    std::fs::write(dir.path().join("weights.pth.part"), &bytes).unwrap();
    std::fs::write(dir.path().join("weights.pth.part.version"), format!("{url}\n\"one\"")).unwrap();
    get(&url, &target, None).unwrap();
    assert!(std::fs::read(&target).unwrap() == bytes);
}

#[test]
fn servers_without_ranges_and_changed_files_start_from_the_beginning() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let (old, new) = (bytes.clone(), bytes.iter().map(|b| b ^ 1).collect::<Vec<u8>>());
    let (sent, target) = (new.clone(), dir.path().join("weights.pth"));
    let (url, _) = serve(move |number| match number {
        0 => Answer::whole(&old).cut(400_000),
        _ => Answer::whole(&sent),
    });
    get(&url, &target, None).unwrap();
    assert!(std::fs::read(&target).unwrap() == new);

    // A part of another address isn't this file's.
    let (sent, other) = (bytes.clone(), dir.path().join("other.pth"));
    let (url, requests) = serve(move |_| Answer::whole(&sent));
    std::fs::write(dir.path().join("other.pth.part"), "something").unwrap();
    std::fs::write(dir.path().join("other.pth.part.version"), "http://x/\n\"one\"").unwrap();
    get(&url, &other, None).unwrap();
    assert!(std::fs::read(&other).unwrap() == bytes);
    assert!(!requests.lock().unwrap()[0].contains("\r\nrange:"));

    // One that always hangs up at the same place and knows no ranges isn't asked for ever.
    let sent = bytes.clone();
    let (url, requests) = serve(move |_| Answer::whole(&sent).cut(1000));
    let message = get(&url, &dir.path().join("short.pth"), None).unwrap_err();
    assert!(message.contains("times in a row"), "{message}");
    assert_eq!(requests.lock().unwrap().len(), 5);
}

#[test]
fn a_wrong_file_never_gets_its_name() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let target = dir.path().join("weights.pth");
    let sent = bytes.clone();
    let (url, _) = serve(move |_| Answer::whole(&sent));
    let message = get(&url, &target, Some(&"0".repeat(64))).unwrap_err();
    assert!(message.contains(&format!("its SHA-256 is {}, not 000", sha256(&bytes))), "{message}");
    let message =
        get_of(&url, &target, &Expected { size: Some(5), ..Expected::default() }).unwrap_err();
    assert!(message.contains("the server has 1200000 bytes, and the file has 5"), "{message}");

    for status in ["404 Not Found", "403 Forbidden", "410 Gone"] {
        let (url, requests) = serve(move |_| Answer::status(status));
        let message = get(&url, &target, None).unwrap_err();
        assert!(message.contains(status) && message.contains("--from DIR"), "{message}");
        assert_eq!(requests.lock().unwrap().len(), 1);
    }
    let (url, _) = serve(|_| {
        let page = b"<!DOCTYPE html><p>Virus scan warning";
        let headers = format!("Content-Type: text/html\r\nContent-Length: {}\r\n", page.len());
        Answer("200 OK", headers, page.to_vec())
    });
    assert!(get(&url, &target, None).unwrap_err().contains("a web page in place of the file"));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = get(&format!("http://{closed}/x"), &target, None).unwrap_err();
    assert!(message.contains("5 times in a row"), "{message}");
    assert!(get("nonsense", &target, None).unwrap_err().contains("can't download nonsense"));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn without_space_or_a_folder_nothing_is_lost() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let sent = bytes.clone();
    let (url, _) = serve(move |_| Answer::whole(&sent));
    // A disk on which files may have 100 KB.
    let command = format!(
        "trap '' XFSZ; ulimit -f 200; exec '{}' checkpoint fetch dino_vits16 --url {url}",
        env!("CARGO_BIN_EXE_retort")
    );
    let mut shell = Command::new("sh");
    let message = error(&shell.args(["-c", &command]).current_dir(dir.path()).output().unwrap(), 1);
    assert!(message.contains("can't write") && message.contains("File too large"), "{message}");
    let part = dir.path().join("checkpoints/dino_deitsmall16_pretrain.pth.part");
    let kept = std::fs::read(part).unwrap();
    assert!(!kept.is_empty() && kept == bytes[..kept.len()]);
    assert_eq!(names(&dir.path().join("checkpoints")).len(), 2);
    std::fs::write(dir.path().join("file"), "mine").unwrap();
    let message = get(&url, &dir.path().join("file/weights.pth"), None).unwrap_err();
    assert!(message.contains("can't make the folder"), "{message}");
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"mine");
}

/// A server that sends this head, and then what `body` gives as long as it gives something.
fn stream(head: &'static str, body: impl Fn(usize) -> Option<Vec<u8>> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/weights.pth", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            head_of(&mut stream);
            let mut sent = stream.write_all(head.as_bytes());
            for part in 0.. {
                let Some(bytes) = body(part).filter(|_| sent.is_ok()) else { break };
                sent = stream.write_all(&bytes);
            }
        }
    });
    url
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n";

#[test]
fn a_server_that_sends_without_end_is_cut_off_at_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("weights.pth");
    let expected = Expected { size: Some(3_000_000), ..Expected::default() };
    // No size said, and chunks for ever: some 2 GB a second.
    let url = stream(PLAIN, |_| Some(vec![7; 1 << 16]));
    let message = get_of(&url, &target, &expected).unwrap_err();
    assert!(message.contains("sends more than the file's 3000000 bytes"), "{message}");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = || [&b"2000\r\n"[..], &[7; 1 << 13], b"\r\n"].concat();
    let message = get_of(&stream(chunked, move |_| Some(chunk())), &target, &expected).unwrap_err();
    assert!(message.contains("sends more than the file's 3000000 bytes"), "{message}");
    // A size that can't be, and one that isn't the file's.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n";
    let message = get(&stream(head, |_| Some(vec![7; 1 << 16])), &target, None).unwrap_err();
    assert!(message.contains("the server claims 9000000000000000000 bytes"), "{message}");
    let message = get_of(&stream(SIZED, |_| Some(vec![7; 1 << 16])), &target, &expected);
    let message = message.unwrap_err();
    assert!(message.contains("has 1000000 bytes, and the file has 3000000"), "{message}");
    assert_eq!(names(dir.path()).iter().filter(|n| !n.ends_with(".version")).count(), 0);
}

#[test]
fn a_server_that_sends_nothing_more_is_left_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("weights.pth");
    let wait = |time: u64| std::thread::sleep(Duration::from_millis(time));
    let begun = std::time::Instant::now();
    // Never an answer; the half of a head; the start of a body; a byte now and then; a byte and the end.
    let silent = move |_| {
        wait(5000);
        None
    };
    for (head, body) in [
        ("", Box::new(silent) as Box<dyn Fn(usize) -> Option<Vec<u8>> + Send>),
        ("HTTP/1.1 200 OK\r\nContent-Le", Box::new(silent)),
        (
            SIZED,
            Box::new(move |part| match part {
                0 => Some(vec![7; 1000]),
                _ => silent(part),
            }),
        ),
        (
            SIZED,
            Box::new(move |_| {
                wait(50);
                Some(vec![7])
            }),
        ),
        (SIZED, Box::new(|part| (part == 0).then(|| vec![7]))),
    ] {
        let message = get(&stream(head, body), &target, None).unwrap_err();
        assert!(message.contains("5 times in a row"), "{message}");
        assert!(!target.exists());
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let at = |name: &str| dir.path().join(name);
    let target = at("weights.pth");
    for (i, name) in ["weights.pth.part", "weights.pth.part.version"].into_iter().enumerate() {
        for hard in [false, true] {
            std::fs::write(at("mine"), "mine").unwrap();
            if hard {
                std::fs::hard_link(at("mine"), at(name)).unwrap();
            } else {
                std::os::unix::fs::symlink(at("mine"), at(name)).unwrap();
            }
            let sent = bytes.clone();
            let (url, _) = serve(move |_| Answer::whole(&sent));
            if i == 0 {
                // As an interrupted download would have left it.
                let note = format!("{url}\n\"one\"");
                std::fs::write(at("weights.pth.part.version"), note).unwrap();
            }
            get(&url, &target, None).unwrap();
            assert_eq!(std::fs::read_to_string(at("mine")).unwrap(), "mine");
            assert!(std::fs::read(&target).unwrap() == bytes);
            assert_eq!(names(dir.path()), ["mine", "weights.pth"]);
            std::fs::remove_file(&target).unwrap();
        }
    }
}

fn retort(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(["checkpoint", "fetch"]).args(args).current_dir(dir);
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command.output().unwrap()
}

fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn success(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn fetch_as_typed() {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), body());
    let path = dir.path();
    let listed = success(&retort(&[], path));
    for name in ["resnet50", "bn_inception", "dino_vits16", "cub_bn_inception"] {
        assert!(listed.contains(name), "{listed}");
    }
    let message = error(&retort(&["resnet5"], path), 2);
    assert!(message.contains("did you mean resnet50?"), "{message}");

    let sent = bytes.clone();
    let (url, _) = serve(move |_| Answer::whole(&sent));
    let message = error(&retort(&["resnet18", "--url", &url], path), 1);
    assert!(message.contains("has 1200000 bytes, and the file has 46830571"), "{message}");
    assert_eq!(names(&path.join("checkpoints")), [""; 0]);

    let found = format!("SHA-256 {} (not known before)", sha256(&bytes));
    let said = success(&retort(&["dino_vits16", "--url", &url], path));
    assert!(said.contains("downloaded") && said.contains(&found), "{said}");
    let kept = path.join("checkpoints/dino_deitsmall16_pretrain.pth");
    assert!(std::fs::read(&kept).unwrap() == bytes);
    let said = success(&retort(&["dino_vits16"], path));
    assert!(said.contains("there already") && said.contains(&found), "{said}");

    let said =
        success(&retort(&["dino_vits16", "--from=checkpoints", "--out=two", "--json"], path));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["files"][0]["sha256"], sha256(&bytes));
    assert!(std::fs::read(path.join("two/dino_deitsmall16_pretrain.pth")).unwrap() == bytes);
    let message = error(&retort(&["dino_vitb16", "--from=checkpoints"], path), 1);
    assert!(message.contains("dino_vitbase16_pretrain.pth"), "{message}");
    std::fs::write(path.join("checkpoints/resnet18-f37072fd.pth"), "not these").unwrap();
    let message = error(&retort(&["resnet18"], path), 1);
    assert!(message.contains("is there but isn't what was published"), "{message}");
}

fn data(args: &[&str]) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_retort"))
        .args(["data", "fetch"])
        .args(args)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(()) } else { Err(message) }
}

#[test]
fn data_sets_are_fetched_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("data");
    let out = out.to_str().unwrap();
    let message = data(&["cars", "--out", out]).unwrap_err();
    assert!(message.contains("car_ims.tgz has no direct link: get it by hand"), "{message}");
    let from = dir.path().join("downloads");
    std::fs::create_dir(&from).unwrap();
    for name in ["car_ims.tgz", "cars_annos.mat"] {
        std::fs::write(from.join(name), name).unwrap();
    }
    data(&["cars", "--out", out, "--from", from.to_str().unwrap()]).unwrap();
    assert_eq!(names(Path::new(out)), ["car_ims.tgz", "cars_annos.mat"]);

    let (url, requests) = serve(|_| Answer::whole(b"pictures"));
    let message = data(&["in_shop", "--out", out, "--url", &url]).unwrap_err();
    assert!(message.contains("ends in /"), "{message}");
    let folder = url.strip_suffix("weights.pth").unwrap();
    data(&["in_shop", "--out", out, "--url", folder]).unwrap();
    let requests = requests.lock().unwrap();
    assert!(requests[0].starts_with("get /img.zip"), "{requests:?}");
    assert!(requests[1].starts_with("get /list_eval_partition.txt"), "{requests:?}");
}
