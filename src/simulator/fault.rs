//! What goes wrong between a client and a simulated hypervisor, by script; and a log of what was asked.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::BootTime;
use crate::simulator::scenario::glob;

/// One thing that goes wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Method, or `*`.
    #[serde(default = "star")]
    pub method: String,
    /// Path below the API's root, such as `/nodes/*/qemu/*/clone`; `*` stands for any characters.
    #[serde(default = "star")]
    pub path: String,
    /// The first occurrence that is struck, counted from 1.
    #[serde(default = "one")]
    pub from: u64,
    /// How many occurrences are struck; absent: all from there on.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub then: Effect,
}

impl Rule {
    /// A rule that strikes the `nth` call (from 1) that fits `method` and `path`.
    pub fn nth(method: &str, path: &str, nth: u64, then: Effect) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), from: nth, times: Some(1), then }
    }

    /// A rule that strikes every call that fits.
    pub fn every(method: &str, path: &str, then: Effect) -> Self {
        Self { times: None, ..Self::nth(method, path, 1, then) }
    }
}

fn star() -> String {
    "*".to_owned()
}

fn one() -> u64 {
    1
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It takes this many seconds longer, before it has its effect.
    Delay(f64),
    /// It has its effect at once and its answer takes this many seconds longer.
    DelayAnswer(f64),
    /// It is refused without effect.
    Fail(Failure),
    /// The connection closes before it has an effect.
    DropBefore,
    /// It has its effect and the connection closes instead of an answer.
    DropAfter,
    /// It has its effect and another answer comes, such as 596 of a proxy that lost patience.
    FailAfter(Failure),
    /// It is performed twice; the second answer is given.
    Duplicate,
}

/// An answer that says that something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// Reads, including logins and pings of the guest agent.
    Read,
    /// Changes something at the hypervisor.
    Change,
    /// Runs a program in a guest.
    Exec,
}

/// One call, as the log has it. Parameters that are secret are left out.
#[derive(Clone, Debug, Serialize)]
pub struct LoggedCall {
    /// When it came, by the simulator's boot clock.
    #[serde(skip)]
    pub at: BootTime,
    /// Kind.
    pub kind: CallKind,
    /// Number among the calls of kind change and exec, from 1; zero for reads.
    pub number: u64,
    /// Method.
    pub method: String,
    /// Path below the API's root.
    pub path: String,
    /// Parameters.
    pub params: Vec<(String, String)>,
    /// Where the client is; absent for one that needs no socket.
    #[serde(skip)]
    pub peer: Option<SocketAddr>,
    /// Status of the answer; absent while there is none and for a connection that was closed.
    pub status: Option<u16>,
}

/// The moment at which a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the call has an effect. What the hook gives back strikes the call.
    Before,
    /// After it had its effect, before the answer. What the hook gives back is ignored.
    After,
}

/// Called before and after each call of kind change or exec.
pub type Hook = Arc<dyn Fn(Moment, &LoggedCall) -> Option<Effect> + Send + Sync>;

/// Called with the address of each client that connects, before anything else is done with it.
pub type Porter = Arc<dyn Fn(SocketAddr) + Send + Sync>;

/// Rules, hook and log. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rules: Vec<(Rule, u64)>,
    hook: Option<Hook>,
    porter: Option<Porter>,
    log: Vec<LoggedCall>,
    dropped: u64,
    numbered: u64,
    reads: u64,
}

/// Entries of the log that are kept; older reads are forgotten first.
const KEPT: usize = 20_000;

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule. Of several that fit a call the first strikes.
    pub fn add(&self, rule: Rule) {
        self.state().rules.push((rule, 0));
    }

    /// Removes all rules and the hook.
    pub fn clear(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.hook = None;
    }

    /// Sets the hook that sees each changing call.
    pub fn set_hook(&self, hook: Hook) {
        self.state().hook = Some(hook);
    }

    /// Sets who sees each client that connects.
    pub fn set_porter(&self, porter: Porter) {
        self.state().porter = Some(porter);
    }

    /// The log, oldest call first.
    pub fn log(&self) -> Vec<LoggedCall> {
        self.state().log.clone()
    }

    /// Calls of kind change and exec so far.
    pub fn changes(&self) -> Vec<LoggedCall> {
        self.state().log.iter().filter(|call| call.kind != CallKind::Read).cloned().collect()
    }

    /// How many calls came, reads included; also those that the log forgot.
    pub fn count(&self) -> u64 {
        let state = self.state();
        state.reads + state.numbered
    }

    /// Empties the log; the numbers go on.
    pub fn forget(&self) {
        let mut state = self.state();
        state.dropped += state.log.len() as u64;
        state.log.clear();
    }

    /// Enters a call. Gives back its place in the log, and what strikes it.
    pub(crate) fn enter(&self, mut call: LoggedCall) -> (u64, LoggedCall, Option<Effect>) {
        let mut state = self.state();
        if call.kind == CallKind::Read {
            state.reads += 1;
        } else {
            state.numbered += 1;
            call.number = state.numbered;
        }
        if state.log.len() >= KEPT {
            state.log.drain(..KEPT / 2);
            state.dropped += (KEPT / 2) as u64;
        }
        let place = state.dropped + state.log.len() as u64;
        state.log.push(call.clone());
        let struck = state.rules.iter_mut().find_map(|(rule, seen)| rule.strikes(&call, seen));
        (place, call, struck)
    }

    /// Calls the hook, if the call is one that it sees.
    pub(crate) fn hook(&self, moment: Moment, call: &LoggedCall) -> Option<Effect> {
        let hook = self.state().hook.clone().filter(|_| call.kind != CallKind::Read)?;
        hook(moment, call)
    }

    pub(crate) fn connected(&self, peer: SocketAddr) {
        let porter = self.state().porter.clone();
        if let Some(porter) = porter {
            porter(peer);
        }
    }

    pub(crate) fn answered(&self, place: u64, status: u16) {
        let mut state = self.state();
        let place = place.checked_sub(state.dropped).and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| state.log.get_mut(place)) {
            call.status = Some(status);
        }
    }
}

impl Rule {
    fn strikes(&self, call: &LoggedCall, seen: &mut u64) -> Option<Effect> {
        if !glob(&self.method, &call.method) || !glob(&self.path, &call.path) {
            return None;
        }
        *seen += 1;
        let last = self.times.map_or(u64::MAX, |times| self.from.saturating_add(times) - 1);
        (self.from..=last).contains(seen).then(|| self.then.clone())
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        formatter.debug_struct("Faults").field("rules", &state.rules).field("calls", &state.log.len()).finish()
    }
}

/// A span in seconds; zero for what is not a span of time.
pub(crate) fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, path: &str) -> LoggedCall {
        LoggedCall {
            at: BootTime::default(),
            kind: CallKind::Change,
            number: 0,
            method: method.into(),
            path: path.into(),
            params: Vec::new(),
            peer: None,
            status: None,
        }
    }

    #[test]
    fn the_nth_call_is_struck_and_no_other() {
        let faults = Faults::default();
        faults.add(Rule::nth("POST", "/nodes/*/qemu/*/clone", 2, Effect::DropAfter));
        let strike = |path| faults.enter(call("POST", path)).2;
        assert_eq!(strike("/nodes/pve1/qemu/100/clone"), None);
        assert_eq!(strike("/nodes/pve1/qemu"), None);
        assert_eq!(strike("/nodes/pve2/qemu/101/clone"), Some(Effect::DropAfter));
        assert_eq!(strike("/nodes/pve1/qemu/100/clone"), None);
        assert_eq!(faults.changes().last().unwrap().number, 4);
    }

    #[test]
    fn rules_are_read_from_text() {
        let text = "{method: PUT, path: '/nodes/*', then: {failAfter: {status: 596, reason: Broken pipe}}}";
        let rule: Rule = serde_yaml::from_str(text).unwrap();
        assert_eq!(rule.then, Effect::FailAfter(Failure { status: 596, reason: "Broken pipe".into() }));
    }
}
