//! What differs from run to run, replaced by its name, so that the rest can be compared with a file.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;
use uuid::Uuid;

/// Normalises a table as kubectl prints it: each cell, and then the widths of the columns.
pub(super) fn table(text: &str) -> String {
    let mut lines = text.lines();
    let Some(header) = lines.next() else { return String::new() };
    let starts = column_starts(header);
    let names = cells(header, &starts);
    let mut rows = vec![names.clone()];
    for line in lines {
        let cells = cells(line, &starts);
        rows.push(names.iter().zip(cells).map(|(name, cell)| normal_cell(name, &cell)).collect());
    }
    aligned(&rows)
}

/// Normalises several tables with an empty line between them, as kubectl prints several kinds.
pub(super) fn tables(text: &str) -> String {
    text.split("\n\n").map(table).collect::<Vec<_>>().join("\n")
}

/// Normalises a description as `kubectl describe` prints it, with its table of events.
pub(super) fn description(text: &str) -> String {
    let (fields, events) = text.split_once("Events:\n").unwrap_or((text, ""));
    let fields: Vec<String> = fields.lines().map(line).collect();
    if events.is_empty() {
        return format!("{}\n", fields.join("\n"));
    }
    let shown =
        indented(&table(&events.lines().map(|line| format!("{}\n", line.trim_start())).collect::<Vec<_>>().concat()));
    format!("{}\nEvents:\n{shown}", fields.join("\n"))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect::<Vec<_>>().concat()
}

/// Where the columns of a table begin: at each word of its header, which stands two spaces or more after the last.
fn column_starts(header: &str) -> Vec<usize> {
    let bytes = header.as_bytes();
    let begins = |at: &usize| bytes[*at] != b' ' && (*at == 0 || (*at > 1 && &bytes[at - 2..*at] == b"  "));
    (0..bytes.len()).filter(begins).collect()
}

fn cells(line: &str, starts: &[usize]) -> Vec<String> {
    let ends = starts.iter().skip(1).copied().chain([line.len()]);
    let cell =
        |(start, end): (&usize, usize)| line.get(*start..end.min(line.len())).unwrap_or_default().trim().to_owned();
    starts.iter().zip(ends).map(cell).collect()
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let row = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(row).collect::<Vec<_>>().concat()
}

fn normal_cell(column: &str, cell: &str) -> String {
    match column {
        "AGE" | "Age" | "TESTED" if cell.starts_with(|first: char| first.is_ascii_digit()) => "<age>".to_owned(),
        _ => line(cell),
    }
}

/// Fields that are different each time, whatever they look like.
const PASSING: [(&str, &str); 2] = [("Resource Version:", "<version>"), ("Duration:", "<duration>")];

/// Normalises each word of a line; the space between them stays.
fn line(line: &str) -> String {
    if let Some((field, name)) = PASSING.iter().find(|(field, _)| line.trim_start().starts_with(field)) {
        let value = line.split_once(field).map_or("", |(_, value)| value.trim());
        return line.replace(value, name);
    }
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    let inner = word.trim_end_matches([',', ';', ':', '.', ')']);
    let tail = &word[inner.len()..];
    kind(inner).map_or_else(|| word.to_owned(), |kind| format!("<{kind}>{tail}"))
}

/// Whether it is an address that was leased: the static ones are in the manifests.
fn is_leased(word: &str) -> bool {
    let address = word.split('/').next().unwrap_or_default();
    address.parse::<Ipv4Addr>().is_ok() && !address.starts_with("10.77.1.")
}

/// What a word is, if it is something that differs from run to run.
fn kind(word: &str) -> Option<&'static str> {
    let number = word.parse::<u64>().ok();
    if word.parse::<Timestamp>().is_ok() {
        Some("time")
    } else if Uuid::try_parse(word).is_ok() && word.contains('-') {
        Some("uuid")
    } else if is_leased(word) {
        Some("address")
    } else if word.trim_start_matches("https://").parse::<SocketAddr>().is_ok() {
        Some("endpoint")
    } else if number.is_some_and(|number| (5000..6000).contains(&number)) {
        Some("vmid")
    } else {
        None
    }
}
