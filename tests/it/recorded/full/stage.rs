//! What is remembered while a scene is played: names, running tasks, and machines that are not as they were recorded.

use std::collections::BTreeMap;

use serde_json::Value;

use super::exchange::Recorded;
use crate::simulator::probe::Probe;

/// What the recorded server named, and what the simulator named in its place: tasks, processes in guests, digests.
#[derive(Debug, Default)]
pub(super) struct Names(pub(super) BTreeMap<String, String>);

impl Names {
    pub(super) fn learn(&mut self, was: &Value, is: &Value) {
        if let (Some(was), Some(is)) = (was.as_str().filter(|was| was.starts_with("UPID:")), is.as_str()) {
            self.0.insert(was.to_owned(), is.to_owned());
        }
        for key in ["digest", "pid"] {
            if !was[key].is_null() && !is[key].is_null() {
                self.0.insert(plain(&was[key]), plain(&is[key]));
            }
        }
    }

    pub(super) fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }
}

pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A scene while it is played.
pub(super) struct Stage<'a> {
    pub(super) probe: Probe,
    pub(super) names: Names,
    /// Tasks begun by calls whose end stands beside them: when it was seen, the call, its task here, how it ended.
    pub(super) ends: Vec<(u64, &'a Recorded, String, String)>,
    /// Machines that are not as they were recorded, with the call that would have made them so.
    pub(super) strange: BTreeMap<u32, String>,
    pub(super) now: Option<u64>,
    /// Where the token last lacked rights whose rights change.
    pub(super) lacked_at: String,
}

impl Stage<'_> {
    /// Notes that a change did not happen here, or happened only here.
    pub(super) fn estrange(&mut self, recorded: &Recorded, in_use: bool) {
        if recorded.at.is_none() || recorded.method == "GET" {
            return;
        }
        let cause = self.cause(recorded);
        let reason = cause.unwrap_or_else(|| {
            let what = if in_use { "went otherwise here" } else { "is neither in use nor simulated" };
            format!("rests on {} ({}), which {what}", recorded.call(), recorded.name)
        });
        for vmid in recorded.machines() {
            self.strange.entry(vmid).or_insert_with(|| reason.clone());
        }
    }

    /// Why the machines that a call concerns are not as they were recorded; what lies on a storage concerns all.
    pub(super) fn cause(&self, recorded: &Recorded) -> Option<String> {
        if recorded.path.ends_with("/content") {
            return self.strange.values().next().cloned();
        }
        recorded.machines().iter().find_map(|vmid| self.strange.get(vmid)).cloned()
    }
}
