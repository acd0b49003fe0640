//! Whether an answer is like the recorded one: what two runs cannot have in common is masked or compared by its kind,
//! everything else must be equal.

use serde_json::{Map, Value, json};

use super::super::{compare, setups};
use super::exchange::Answered;
use crate::simulator::probe::Read;

/// Keys whose values are of the moment or of the machine: only their kind is compared.
const OF_THE_MOMENT: &[&str] = &[
    "CSRFPreventionToken",
    "avail",
    "bridge_ports",
    "priority",
    "public-key-bits",
    "public-key-type",
    "cpu",
    "ctime",
    "digest",
    "disk",
    "diskread",
    "diskwrite",
    "endtime",
    "fingerprint",
    "ip-address",
    "free_mem",
    "freemem",
    "issuer",
    "last_update",
    "loadavg",
    "major_page_faults",
    "mem",
    "memhost",
    "minor_page_faults",
    "netin",
    "netout",
    "notafter",
    "notbefore",
    "pbs-library-version",
    "pem",
    "pid",
    "pressurecpufull",
    "pressurecpusome",
    "pressureiofull",
    "pressureiosome",
    "pressurememoryfull",
    "pressurememorysome",
    "pstart",
    "repoid",
    "running-machine",
    "running-qemu",
    "snaptime",
    "starttime",
    "subject",
    "ticket",
    "timestamp",
    "total",
    "total_mem",
    "uptime",
    "used",
    "used_fraction",
    "version",
    "vmgenid",
];
/// Below these keys nothing is compared: figures of a running machine, and the names in a certificate.
const FIGURES: &[&str] = &["blockstat", "nics", "ballooninfo", "statistics", "san"];
/// What tells the entries of a list apart, the first that does.
const NAMES: &[&str] = &["id", "volid", "storage", "iface", "key", "subdir", "filename", "name", "n"];
/// Beginnings of log lines that tell what QEMU's tools are doing, or what Perl thinks of the recorded server's code.
const CHATTER: &[&str] =
    &["transferred ", "Formatting '", "drive-", "mirror-", "qemu-img: ", "for my (...) is experim"];

/// What differs, in words.
pub(super) fn differences(was: &Answered, is: &Read) -> Vec<String> {
    let mut found = Vec::new();
    if is.status != was.status {
        found.push(format!("status: {} instead of {}", is.status, was.status));
    }
    let (is_reason, was_reason) = (masked(&is.reason), masked(&was.reason));
    if is_reason != was_reason {
        found.push(format!("status line: {is_reason:?} instead of {was_reason:?}"));
    }
    if was.body.is_object() {
        compare::compare("body", &shape("", &normal("", &was.body)), &normal("", &is.body), &mut found);
    } else if !is.body.is_null() {
        found.push(format!("body: {} instead of one that is no JSON", is.body));
    }
    found
}

/// The shape that an answer must have, in the words of `compare`.
fn shape(key: &str, value: &Value) -> Value {
    let kind = |value: &Value| match value {
        Value::String(_) => json!("s"),
        Value::Number(_) => json!("n"),
        Value::Bool(_) => json!("b"),
        Value::Null => json!("z"),
        Value::Array(_) => json!("a"),
        Value::Object(_) => json!("o"),
    };
    match value {
        Value::Object(_) if FIGURES.contains(&key) => kind(value),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), shape(key, value))).collect(),
        _ if OF_THE_MOMENT.contains(&key) => kind(value),
        _ => json!(["=", value]),
    }
}

/// A value with its texts masked and its lists turned into objects by what tells their entries apart.
fn normal(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if matches!(key, "content" | "tags") => json!(sorted(text)),
        Value::String(text) => json!(masked(text)),
        Value::Object(entries) => {
            let mut entries: Map<_, _> = entries.iter().map(|(key, value)| (key.clone(), normal(key, value))).collect();
            of_the_host(&mut entries);
            Value::Object(entries)
        }
        Value::Array(entries) => Value::Object(by_name(entries)),
        other => other.clone(),
    }
}

/// Takes the sizes out of entries that describe a node or a storage.
fn of_the_host(entries: &mut Map<String, Value>) {
    if matches!(entries.get("type").and_then(Value::as_str), Some("node" | "storage")) {
        for key in ["maxdisk", "maxmem"] {
            if let Some(size) = entries.get_mut(key) {
                *size = json!("some");
            }
        }
    }
}

fn by_name(entries: &[Value]) -> Map<String, Value> {
    let spoken: Vec<&Value> = entries.iter().filter(|entry| !is_chatter(entry)).collect();
    let is_log = spoken.iter().any(|entry| entry["t"].is_string());
    let tells = |name: &&&str| {
        let mut names: Vec<_> = spoken.iter().map(|entry| entry[**name].to_string()).collect();
        names.sort();
        names.dedup();
        names.len() == spoken.len() && !names.iter().any(|name| name == "null")
    };
    let name = NAMES.iter().find(tells).filter(|_| !is_log && !is_task_list(entries));
    let place = |place: usize, entry: &Value| match name {
        Some(name) => entry[*name].as_str().map_or_else(|| entry[*name].to_string(), str::to_owned),
        None => format!("{place:03}"),
    };
    let named = spoken.iter().enumerate().map(|(at, entry)| {
        let mut entry = normal("", entry);
        if is_log {
            entry["n"] = Value::Null;
        }
        (place(at, &entry), entry)
    });
    named.collect()
}

fn is_task_list(entries: &[Value]) -> bool {
    entries.iter().any(|entry| entry["upid"].is_string())
}

fn is_chatter(entry: &Value) -> bool {
    entry["t"].as_str().is_some_and(|line| CHATTER.iter().any(|chatter| line.starts_with(chatter)))
}

fn sorted(text: &str) -> String {
    let mut words: Vec<&str> = text.split([',', ';']).collect();
    words.sort_unstable();
    words.join(",")
}

/// A text without what differs from one run to the next.
pub(super) fn masked(text: &str) -> String {
    let text = setups::masked(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || ":@!_-.".contains(letter);
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        out.push_str(&word(&rest[..end]));
        let gap = rest[end..].find(is_word).map_or(rest.len(), |gap| end + gap);
        out.push_str(&rest[end..gap]);
        rest = &rest[gap..];
    }
    out
}

fn word(word: &str) -> String {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = word.split(':').collect();
    let groups: Vec<usize> = word.split('-').filter(|group| hex(group)).map(str::len).collect();
    if let ["UPID", node, _, _, _, kind, id, user, ..] = parts[..] {
        return format!("UPID:{node}:{kind}:{id}:{user}:");
    }
    if parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && hex(part)) {
        return "<hardware address>".to_owned();
    }
    if groups == [8, 4, 4, 4, 12] {
        return "<uuid>".to_owned();
    }
    let numbers: Vec<&str> = word.split('.').collect();
    if numbers.len() == 3 && numbers.iter().all(|part| part.parse::<u8>().is_ok()) {
        return "<version>".to_owned();
    }
    if word.len() == 40 && hex(word) {
        return "<digest>".to_owned();
    }
    if word.len() == 10 && word.starts_with("179") && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return "<time>".to_owned();
    }
    dated(word)
}

/// Masks a date within a word, or the time of a day.
fn dated(word: &str) -> String {
    let like = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(
                |(byte, like)| {
                    if like == b'0' { byte.is_ascii_digit() } else { byte == like }
                },
            )
    };
    if like(word, "00:00:00") {
        return "<time>".to_owned();
    }
    let mut dates = word.match_indices("-20").map(|(at, _)| at + 1);
    match dates.find(|at| word.get(*at..*at + 10).is_some_and(|date| like(date, "0000-00-00"))) {
        Some(at) => format!("{}<date>{}", &word[..at], &word[at + 10..]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(was: &Value, is: &Value) -> Vec<String> {
        let was = Answered { status: 200, reason: "OK".to_owned(), body: json!({"data": was}) };
        differences(&was, &Read { status: 200, reason: "OK".to_owned(), body: json!({"data": is}) })
    }

    #[test]
    fn what_two_runs_cannot_share_is_masked() {
        let text = "UPID:pve1:0000025B:00039E36:6B025509:qmcreate:100:dev@pve!t1: virtio=BC:24:11:96:56:37,bridge=vmbr0 \
                    vm-200-state-suspend-2026-11-22.raw at 06:50:15, ctime=1795314953";
        let masked = masked(text);
        let wanted = "UPID:pve1:qmcreate:100:dev@pve!t1: virtio=<hardware address>,bridge=vmbr0 \
                      vm-200-state-suspend-<date>.raw at <time>, ctime=<time>";
        assert_eq!(masked, wanted);
        assert_eq!(super::masked("store2:202/vm-202-disk-0.qcow2"), "store2:202/vm-202-disk-0.qcow2");
    }

    #[test]
    fn lists_are_compared_by_name_and_figures_by_kind() {
        let was = json!([{"id": "a", "cpu": 0.5, "maxcpu": 2}, {"id": "b", "cpu": 0, "maxcpu": 4}]);
        let other = json!([{"id": "b", "cpu": 0.1, "maxcpu": 4}, {"id": "a", "cpu": 7, "maxcpu": 2}]);
        assert_eq!(compared(&was, &other), [] as [String; 0]);
        let less = json!([{"id": "a", "cpu": "much", "maxcpu": 1}]);
        let told = [
            "body.data.a.cpu: \"much\" instead of \"n\"",
            "body.data.a.maxcpu: 1 instead of 2",
            "body.data: b is missing",
        ];
        assert_eq!(compared(&was, &less), told);
    }

    #[test]
    fn of_a_log_what_tools_say_is_passed_over() {
        let was = json!([{"n": 1, "t": "transferred 1 B of 2 B"}, {"n": 2, "t": "TASK OK"}]);
        assert_eq!(compared(&was, &json!([{"n": 1, "t": "TASK OK"}])), [] as [String; 0]);
        let told = ["body.data.000.t: \"TASK ERROR: no\" instead of \"TASK OK\""];
        assert_eq!(compared(&was, &json!([{"n": 1, "t": "TASK ERROR: no"}])), told);
    }
}
