//! Event files of TensorBoard: scalars only. A file is a row of records (TFRecord: length, its
//! checksum, an `Event` message, its checksum), so it can be written without TensorFlow.

use crate::run::line::Line;

/// The file's name in a run folder; TensorBoard looks for `tfevents` in it.
pub const FILE: &str = "events.out.tfevents.0.retort";

/// The record that a file begins with.
pub fn header(time: f64) -> Vec<u8> {
    let mut event = event(time, 0);
    bytes(&mut event, 3, b"brain.Event:2"); // file_version
    record(&event)
}

/// One record for a line of `metrics.jsonl`; none if it holds no number to draw.
pub fn records(line: &Line) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in scalars(line) {
        let mut entry = Vec::new();
        bytes(&mut entry, 1, tag.as_bytes()); // tag
        key(&mut entry, 2, 5); // simple_value
        entry.extend((value as f32).to_le_bytes());
        bytes(&mut summary, 1, &entry); // value
    }
    if summary.is_empty() {
        return Vec::new();
    }
    let mut event = event(line.time(), line.step());
    bytes(&mut event, 5, &summary); // summary
    record(&event)
}

/// A line's numbers by the names that TensorBoard groups them by. The weighted losses lie beside their sum, and
/// apart from their own values.
fn scalars(line: &Line) -> Vec<(String, f64)> {
    let named = |name: &str, x: Option<f64>| (name.to_owned(), x);
    let all: Vec<(String, Option<f64>)> = match line {
        Line::Step(line) => {
            let own = [
                named("images_per_second", line.images_per_second),
                named("loss", line.loss),
                named("lr", line.lr),
            ];
            let terms = line.terms.iter().map(|(name, x)| (format!("loss/{name}"), *x));
            let values = line.values.iter().map(|(name, x)| (format!("value/{name}"), *x));
            own.into_iter().chain(terms).chain(values).collect()
        }
        Line::Epoch(line) => {
            let recall = line.recall.iter().flatten();
            let recall = recall.map(|(k, r)| (format!("recall/{k}"), Some(*r)));
            [named("mean_loss", line.mean_loss)].into_iter().chain(recall).collect()
        }
    };
    all.into_iter().filter_map(|(name, x)| Some((name, x?))).collect()
}

/// The beginning of an `Event`: when, in seconds since 1970, and at which step.
fn event(time: f64, step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, 1); // wall_time
    event.extend(time.to_le_bytes());
    if step > 0 {
        key(&mut event, 2, 0); // step
        varint(&mut event, step);
    }
    event
}

/// A field's number and wire type.
fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    key(out, field, 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

fn varint(out: &mut Vec<u8>, mut x: u64) {
    while x >= 0x80 {
        out.push(x as u8 | 0x80);
        x >>= 7;
    }
    out.push(x as u8);
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), event, &checksum(event)].concat()
}

/// CRC-32C, masked as TFRecord asks, because a checksum of data with checksums in it is weak.
fn checksum(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{header, records};
    use crate::run::line::{Line, Step};
    use std::fmt::Write as _;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    /// Written by TensorBoard's own Python package (2.21): `RecordWriter` and `event_pb2.Event`.
    #[test]
    fn the_bytes_are_tensorboards_own() {
        let first =
            "1800000000000000a37f4b22090000d08d93c1da411a0d627261696e2e4576656e743a32924e0f87";
        assert_eq!(hex(&header(1_795_575_351.25)), first);
        let terms = [("rkd".to_owned(), Some(2.5))].into();
        let line = Step {
            epoch: 2,
            step: 300,
            loss: Some(0.5),
            terms,
            seconds: 7.5,
            time: 1_795_575_351.5,
            ..Step::default()
        };
        let second = "2c00000000000000f4aecc45090000e08d93c1da4110ac022a1e0a0b0a046c6f7373150000003f\
                      0a0f0a086c6f73732f726b641500002040ddcbf0d1";
        assert_eq!(hex(&records(&Line::Step(line))), second);
        assert!(records(&Line::Step(Step { step: 3, time: 1.0, ..Step::default() })).is_empty());
    }
}
