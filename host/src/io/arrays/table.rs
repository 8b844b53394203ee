//! Tables of embeddings and labels (CSV, TSV), and texts with a label on each line.

use super::{Array, Values};

/// What columns of labels are called, and those that say nothing about a sample's place or class.
const LABELS: [&str; 6] = ["label", "labels", "class", "classes", "target", "targets"];
const IGNORED: [&str; 8] = ["", "path", "file", "filename", "image", "id", "ids", "index"];

/// What a column is for.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Number,
    Label,
    Ignored,
}

/// A label on each line: whole numbers, or names. A byte-order mark and blank lines at the end are nothing.
pub fn lines(text: &str) -> Result<Vec<Array>, String> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    let names: Vec<&str> = text.lines().map(str::trim).collect();
    if let Some(blank) = names.iter().position(|name| name.is_empty()) {
        let n = blank + 1;
        return Err(format!("line {n} is blank; each line has the label of one sample"));
    }
    Ok(vec![labels(&names)])
}

/// `labels` `[n]`.
fn labels<S: AsRef<str>>(names: &[S]) -> Array {
    let shape = vec![names.len()];
    let signed: Option<Vec<i64>> = names.iter().map(|name| name.as_ref().parse().ok()).collect();
    let unsigned = || names.iter().map(|name| name.as_ref().parse().ok()).collect();
    let values = match signed {
        Some(numbers) => Values::Signed(numbers),
        None => match unsigned() {
            Some(numbers) => Values::Unsigned(numbers),
            None => Values::Names(names.iter().map(|name| name.as_ref().to_owned()).collect()),
        },
    };
    Array { name: "labels".to_owned(), shape, values }
}

/// `embeddings` `[n, columns of numbers]` and `labels` `[n]`, whichever there are. A first line without a
/// number is a header: a column called label or class has the labels, those of paths and indices are left
/// out, and all others are dimensions. Without a header, the column that isn't numbers has the labels. A
/// single column is labels.
pub fn columns(text: &str) -> Result<Vec<Array>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let delimiter = if first.contains('\t') && !first.contains(',') { b'\t' } else { b',' };
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).trim(csv::Trim::All).delimiter(delimiter);
    let mut reader = reader.from_reader(text.as_bytes());
    let mut roles: Vec<Role> = Vec::new();
    let (mut rows, mut names) = (Vec::new(), Vec::new());
    for line in reader.records() {
        let line = line.map_err(|e| e.to_string())?;
        let number = line.position().map_or(0, csv::Position::line);
        if roles.is_empty() {
            let (found, is_header) = roles_of(&line)?;
            roles = found;
            if is_header {
                continue;
            }
        }
        for (column, (field, role)) in line.iter().zip(&roles).enumerate() {
            match role {
                Role::Label if field.is_empty() => {
                    return Err(format!("line {number} has no label"));
                }
                Role::Label => names.push(field.to_owned()),
                Role::Ignored => {}
                Role::Number => rows.push(field.parse::<f32>().map_err(|_| {
                    format!("line {number}, column {} is {field:?}; it needs a number", column + 1)
                })?),
            }
        }
    }
    let dim = roles.iter().filter(|role| **role == Role::Number).count();
    let mut arrays = Vec::new();
    if dim > 0 && !rows.is_empty() {
        let shape = vec![rows.len() / dim, dim];
        arrays.push(Array { name: "embeddings".to_owned(), shape, values: Values::Floats(rows) });
    }
    if !names.is_empty() {
        arrays.push(labels(&names));
    }
    Ok(arrays)
}

/// What the columns are for, by the first line; and whether that is a header.
fn roles_of(line: &csv::StringRecord) -> Result<(Vec<Role>, bool), String> {
    let is_number = |field: &str| field.parse::<f32>().is_ok();
    let among = |list: &[&str], field: &str| list.iter().any(|n| field.eq_ignore_ascii_case(n));
    if line.len() == 1 {
        return Ok((vec![Role::Label], among(&LABELS, &line[0])));
    }
    if !line.iter().any(is_number) {
        let role = |field| match field {
            field if among(&LABELS, field) => Role::Label,
            field if among(&IGNORED, field) => Role::Ignored,
            _ => Role::Number,
        };
        return one_label(line.iter().map(role).collect(), true);
    }
    let role = |field| if is_number(field) { Role::Number } else { Role::Label };
    one_label(line.iter().map(role).collect(), false)
}

fn one_label(roles: Vec<Role>, header: bool) -> Result<(Vec<Role>, bool), String> {
    if roles.iter().filter(|role| **role == Role::Label).count() > 1 {
        return Err(
            "more than one column has labels; call one of them label, in a first line with the \
                    columns' names"
                .to_owned(),
        );
    }
    Ok((roles, header))
}
