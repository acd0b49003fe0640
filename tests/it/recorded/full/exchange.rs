//! Recordings as they lie in their folder: one exchange to a file, or one to a line.

use std::collections::BTreeMap;
use std::path::Path;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// What a server answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) reason: String,
    /// Null for an empty body, text for one that is no JSON.
    pub(super) body: Value,
}

/// One recorded exchange.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// Name of the file, or of the file and the line.
    pub(super) name: String,
    /// Number at the head of the name; the number of the line where there is none.
    pub(super) number: u32,
    pub(super) method: String,
    /// Path with everything in front of it.
    pub(super) path: String,
    pub(super) params: Vec<(String, Value)>,
    /// Who called, in the recording's words.
    pub(super) caller: String,
    pub(super) content_type: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    /// Absent when the recording is of several calls at once.
    pub(super) answered: Option<Answered>,
    /// What each of several calls at once came to.
    pub(super) race: Vec<String>,
    /// How the task ended that the call began, where that stands beside the call, and when: milliseconds since 1970.
    pub(super) ends: Option<(u64, String)>,
    /// When the call was made, where that was recorded: milliseconds since 1970.
    pub(super) at: Option<u64>,
    /// Sets the order among those of the same number.
    rank: (u64, usize),
}

impl Recorded {
    /// A recording of this name that holds nothing.
    #[cfg(test)]
    pub(super) fn named(name: &str) -> Self {
        from_file(name, &Value::Null)
    }

    /// Path below `/api2/json`, if it is.
    pub(super) fn call_path(&self) -> Option<&str> {
        self.path.strip_prefix("/api2/json").filter(|path| path.starts_with('/'))
    }

    /// Method and path, to be read.
    pub(super) fn call(&self) -> String {
        format!("{} {}", self.method, self.path.trim_start_matches("/api2/json"))
    }

    /// Numbers of the machines that the call concerns.
    pub(super) fn machines(&self) -> Vec<u32> {
        let in_path = self.path.split_once("/qemu/").and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        let named = self.params.iter().filter(|(key, _)| matches!(key.as_str(), "vmid" | "newid" | "target-vmid"));
        let named = named.filter_map(|(_, value)| value.to_string().trim_matches('"').parse().ok());
        in_path.into_iter().chain(named).collect()
    }

    /// What the token lacked whose rights were changed between the calls: privileges separated by `|`, and where;
    /// nothing if it was allowed; absent for other callers.
    pub(super) fn lacks(&self) -> Option<(String, String)> {
        let answered = self.answered.as_ref().filter(|_| self.caller == "stevedore@pve!min")?;
        let text = answered.reason.strip_prefix("Permission check failed").filter(|_| answered.status == 403);
        let Some(text) = text else { return Some((String::new(), "/".to_owned())) };
        // Without more words it is the right to make the machine.
        let named = text.trim_start_matches([' ', '(']).trim_end_matches(')').split_once(", ");
        let (path, lacks) = named.unwrap_or(("/", "VM.Allocate"));
        Some((lacks.to_owned(), path.to_owned()))
    }

    /// The answer's data.
    pub(super) fn data(&self) -> &Value {
        self.answered.as_ref().map_or(&Value::Null, |answered| &answered.body["data"])
    }

    /// The identifier of the task that the call began.
    pub(super) fn upid(&self) -> Option<&str> {
        self.data().as_str().filter(|text| text.starts_with("UPID:"))
    }

    /// The identifier of a task in the path.
    pub(super) fn upid_in_path(&self) -> Option<String> {
        let segments = self.path.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned());
        segments.into_iter().find(|part| part.starts_with("UPID:"))
    }

    /// Whether the recording was taken after the task in its path had ended.
    pub(super) fn is_of_ended_task(&self) -> bool {
        let lines = self.data().as_array();
        let last = lines.and_then(|lines| lines.last()).and_then(|line| line["t"].as_str());
        self.data()["status"] == "stopped" || last.is_some_and(|line| line.starts_with("TASK "))
    }
}

/// All recordings of a folder, in the order of their names or, of lines, of their times.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<Recorded>, String> {
    let listed = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = listed.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let kind = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !matches!(kind.as_str(), "json" | "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let wrong = |error: serde_json::Error| format!("{} is no recording: {error}", path.display());
        if kind == "json" {
            found.push(from_file(&stem, &serde_json::from_str(&text).map_err(wrong)?));
        } else {
            let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
            found.extend(from_lines(&stem, &lines.map_err(wrong)?));
        }
    }
    found.sort_by_key(|recorded| (recorded.number, recorded.rank));
    if found.is_empty() { Err(format!("{} holds no recordings", folder.display())) } else { Ok(found) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn params(value: &Value) -> Vec<(String, Value)> {
    let pair = |pair: &Value| (text(&pair[0]), pair[1].clone());
    match value {
        Value::Object(named) => named.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        Value::Array(pairs) => pairs.iter().map(pair).collect(),
        _ => Vec::new(),
    }
}

fn answered(value: &Value) -> Option<Answered> {
    let status = u16::try_from(value["status"].as_u64()?).ok()?;
    Some(Answered { status, reason: text(&value["reason"]), body: value["body"].clone() })
}

/// What one of several calls came to: its data, or its status line and how its task ended.
fn outcome(value: &Value) -> String {
    let end = value["task_exitstatus"].as_str().unwrap_or("no task");
    value.as_str().map_or_else(|| format!("{} {}, {end}", value["status"], text(&value["reason"])), str::to_owned)
}

/// When a task began on its node: what an identifier says of it.
fn began(upid: &str) -> Option<u64> {
    u64::from_str_radix(upid.split(':').nth(3)?, 16).ok()
}

fn from_file(name: &str, value: &Value) -> Recorded {
    let (request, headers) = (&value["request"], &value["request"]["extra_headers"]);
    let number = name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let mut recorded = Recorded {
        name: name.to_owned(),
        number,
        method: text(&request["method"]),
        path: text(&request["path"]),
        params: params(&request["params"]),
        caller: request["auth"].as_str().unwrap_or("API token of dev@pve").to_owned(),
        content_type: request["content_type"].as_str().map(str::to_owned),
        headers: headers.as_object().unwrap_or(&Map::new()).iter().map(|(key, to)| (key.clone(), text(to))).collect(),
        answered: answered(&value["response"]).filter(|_| request["scheme"].is_null()),
        race: value["responses"].as_array().into_iter().flatten().map(outcome).collect(),
        ends: None,
        at: None,
        rank: (u64::MAX, name.len()),
    };
    let upid = recorded.upid_in_path().or_else(|| recorded.upid().map(str::to_owned));
    recorded.rank.0 = upid.and_then(|upid| began(&upid)).unwrap_or(u64::MAX);
    recorded
}

/// Milliseconds since 1970.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of recordings")]
fn time(line: &Value) -> u64 {
    (line["ts"].as_f64().unwrap_or(0.0) * 1000.0).round() as u64
}

fn from_lines(name: &str, lines: &[Value]) -> Vec<Recorded> {
    let end = |line: &Value| Some((text(&line["upid"]), (time(line), line["exitstatus"].as_str()?.to_owned())));
    let ended: BTreeMap<String, (u64, String)> = lines.iter().filter_map(end).collect();
    let calls = lines.iter().enumerate().filter(|(_, line)| line["method"].is_string());
    let read = calls.map(|(place, line)| {
        let mut recorded = Recorded {
            name: format!("{name}:{}", place + 1),
            number: 0,
            method: text(&line["method"]),
            path: format!("/api2/json{}", text(&line["path"])),
            params: params(&line["params"]),
            caller: text(&line["token"]),
            content_type: None,
            headers: BTreeMap::new(),
            answered: answered(line),
            race: Vec::new(),
            ends: None,
            at: Some(time(line)),
            rank: (time(line), place),
        };
        recorded.ends = recorded.upid().and_then(|upid| ended.get(upid)).cloned();
        recorded
    });
    read.collect()
}
