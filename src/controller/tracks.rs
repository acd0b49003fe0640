//! What this process remembers of each worker between two looks. None of it is needed after a restart: it only saves
//! time, and makes destructive time-outs start anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::testing::Findings;
use crate::api::reasons::WorkerReason;
use crate::clock::BootTime;
use crate::domain::backoff;
use crate::domain::effect::Effect;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::observation::Problem;
use crate::domain::operation::{Operation, Step};
use crate::hypervisor::vm::{Power, TaskHandle};

/// Looks that failed this often in a row, and for this long, are worth a word to people. By then a poll has shown whether
/// it is the hypervisor as a whole that cannot be asked.
const LASTING: (u32, Duration) = (3, Duration::from_secs(30));

/// What an accepted call did may take this long to show.
const SHOWS_AFTER: Duration = Duration::from_secs(2);

/// Which step of which operation something belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StepKey {
    operation: String,
    step: Step,
    vm_id: String,
    spec_hash: String,
}

impl From<&Operation> for StepKey {
    fn from(operation: &Operation) -> Self {
        Self {
            operation: operation.id.clone(),
            step: operation.step,
            vm_id: operation.target.vm_id.clone(),
            spec_hash: operation.spec_hash.clone(),
        }
    }
}

/// Looks that failed one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Failing {
    /// How many there were.
    failures: u32,
    /// When the first one was.
    since: BootTime,
    /// Why the last ones failed, and how many of them did for that reason.
    lately: Option<(WorkerReason, u32)>,
    /// What people were told.
    told: Option<Problem>,
}

/// What follows from a look that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// Looks in a row that failed, this one included.
    pub failures: u32,
    /// When to try again.
    pub again: Duration,
    /// What people are told, once it has lasted. The words stay the same as long as the reason does.
    pub lasting: Option<Problem>,
    /// Whether they were told something else before, or nothing.
    pub is_news: bool,
}

/// What is remembered of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Track {
    step: Option<(StepKey, BootTime)>,
    task: Option<TaskHandle>,
    last_call: Option<Fault>,
    calls: u32,
    failures: u32,
    not_before: BootTime,
    /// The effect that was accepted last, and until when it is not repeated: what it did must show first.
    accepted: Option<(Effect, BootTime)>,
    /// What the checks of an operation, by its id, found before its update.
    pub checks: Option<(String, Findings)>,
    /// Looks that fail at present.
    failing: Failing,
    /// The last change of ours: polls that began before it prove nothing.
    pub changed: BootTime,
    /// Since when the VM has been seen powered on with nothing to do.
    pub idle_since: Option<BootTime>,
    /// Since when its guest has not answered to whoever asked what runs in it.
    pub silent_since: Option<BootTime>,
    /// Since when it has not been known where the VM is, or whether it is powered on.
    pub dark_since: Option<BootTime>,
    /// Power as it was read live, and when: the inventory is older for some seconds.
    pub power: Option<(Power, BootTime)>,
    /// The id of the operation that may begin next, so that several looks speak of the same one.
    pub next_operation: Option<String>,
    /// Whether an operation that was open when this process began has been seen.
    pub resumed: bool,
}

impl Track {
    /// How long this step of this operation has been known here.
    pub fn step_age(&mut self, operation: &Operation, now: BootTime) -> Duration {
        let key = StepKey::from(operation);
        match &self.step {
            Some((known, since)) if *known == key => now.since(*since),
            _ => {
                self.enter(operation, now);
                Duration::ZERO
            }
        }
    }

    /// The same for an operation that comes out of a cache, which may be older than what is known here: another step
    /// than the present one is not entered.
    pub fn known_step_age(&self, operation: &Operation, now: BootTime) -> Duration {
        let known = self.step.as_ref().filter(|(key, _)| *key == StepKey::from(operation));
        known.map_or(Duration::ZERO, |(_, since)| now.since(*since))
    }

    /// A step was entered: what was known of the one before is void.
    fn enter(&mut self, operation: &Operation, now: BootTime) {
        self.step = Some((StepKey::from(operation), now));
        self.task = None;
        self.last_call = None;
        self.calls = 0;
        self.failures = 0;
        self.not_before = BootTime::default();
        self.accepted = None;
    }

    /// The task of the present step, if it was started by this process.
    pub fn task(&self, operation: &Operation) -> Option<&TaskHandle> {
        let known = self.step.as_ref().is_some_and(|(key, _)| *key == StepKey::from(operation));
        self.task.as_ref().filter(|_| known)
    }

    /// What came back from the last call of the present step, if it failed.
    pub fn last_call(&self) -> Option<&Fault> {
        self.last_call.as_ref()
    }

    /// Changing calls that were sent for the present step.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// How long to hold back before the next changing call.
    pub fn hold(&self, now: BootTime) -> Duration {
        self.not_before.since(now)
    }

    /// A changing call is about to be sent.
    pub fn sending(&mut self, operation: &Operation, now: BootTime) {
        self.step_age(operation, now);
        if let Some((_, since)) = self.step.as_mut().filter(|_| self.calls == 0) {
            // What was held up on its way so far has not begun before now.
            *since = now;
        }
        self.calls = self.calls.saturating_add(1);
        // From here on nobody can say that it was not sent, should the answer never be seen.
        self.last_call.take_if(|fault| fault.kind == FaultKind::NotSent);
        self.task = None;
        self.changed = now;
    }

    /// It was accepted.
    pub fn accepted(&mut self, effect: Effect, task: Option<TaskHandle>, now: BootTime) {
        self.task = task;
        self.last_call = None;
        self.changed = now;
        self.accepted = Some((effect, now.plus(SHOWS_AFTER)));
    }

    /// The effect that is not to be repeated yet, and for how long.
    pub fn settling(&self, now: BootTime) -> Option<(Effect, Duration)> {
        self.accepted.map(|(effect, until)| (effect, until.since(now))).filter(|(_, left)| !left.is_zero())
    }

    /// It was not sent after all, and is not counted as a call.
    pub fn unsent(&mut self) {
        self.calls = self.calls.saturating_sub(1);
    }

    /// It failed. What was not sent after all is not counted as a call.
    pub fn failed(&mut self, fault: Fault, now: BootTime, seed: u64) {
        if fault.kind == FaultKind::NotSent {
            self.unsent();
        }
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.plus(backoff::CALL.delay(self.failures, seed));
        self.last_call = Some(fault);
        self.changed = now;
    }

    /// The task that an accepted call started has failed: that counts as the call's failure, once.
    pub fn task_failed(&mut self, fault: Fault, now: BootTime, seed: u64) {
        if self.task.take().is_some() {
            self.failed(fault, now, seed);
        }
    }

    /// A look failed for this reason.
    pub fn look_failed(&mut self, problem: Problem, now: BootTime, seed: u64) -> Hindrance {
        let failing = &mut self.failing;
        if failing.failures == 0 {
            failing.since = now;
        }
        failing.failures = failing.failures.saturating_add(1);
        let before = failing.lately.filter(|(reason, _)| *reason == problem.reason).map_or(0, |(_, times)| times);
        let times = before.saturating_add(1);
        failing.lately = Some((problem.reason, times));
        // Reasons may take turns: another one than was told must last, too.
        let is_news = match &failing.told {
            None => failing.failures >= LASTING.0 && now.since(failing.since) >= LASTING.1,
            Some(told) => told.reason != problem.reason && times >= LASTING.0,
        };
        if is_news {
            failing.told = Some(problem);
        }
        Hindrance {
            failures: failing.failures,
            again: backoff::LOOK.delay(failing.failures, seed),
            lasting: failing.told.clone(),
            is_news,
        }
    }

    /// Every look that a decision asked for has succeeded.
    pub fn looked(&mut self) {
        self.failing = Failing::default();
    }

    /// The operation is over.
    pub fn closed(&mut self, now: BootTime) {
        *self = Self { changed: now, power: self.power, resumed: true, ..Self::default() };
    }
}

/// What is remembered of all workers, by UID.
#[derive(Debug, Default)]
pub struct Tracks {
    by_uid: Mutex<HashMap<String, Track>>,
}

impl Tracks {
    /// Reads or changes what is remembered of a worker.
    pub fn with<R>(&self, uid: &str, change: impl FnOnce(&mut Track) -> R) -> R {
        let mut all = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(uid.to_owned()).or_default())
    }

    /// The worker is at rest: nothing is kept of it but what may still matter when it begins something.
    pub fn rest(&self, uid: &str) {
        let mut all = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(track) = all.get_mut(uid) else { return };
        track.next_operation = None;
        if *track == Track::default() {
            all.remove(uid);
        }
    }

    /// Forgets a worker that is gone.
    pub fn forget(&self, uid: &str) {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Forgets the workers (UIDs) that are not there any more, and says which these were. One whose pass is not over yet
    /// is remembered anew by that pass, and forgotten the next time.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let mut all = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        all.extract_if(|uid, _| !is_there(uid)).map(|(uid, _)| uid).collect()
    }

    /// How many workers are remembered.
    pub fn count(&self) -> usize {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::{Kind, Target, VERSION};

    fn operation(step: Step) -> Operation {
        Operation {
            version: VERSION,
            id: "op".into(),
            kind: Kind::Test,
            step,
            spec_hash: String::new(),
            target: Target { host: "pve1".into(), vm_id: "5000".into(), uuid: String::new() },
            sends: 1,
            task: None,
            checked: false,
            made_as: std::collections::BTreeMap::new(),
            request: None,
            since: jiff::Timestamp::UNIX_EPOCH,
            step_since: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn looks_that_fail_are_tried_later_and_later_and_told_once_it_lasts() {
        let problem = |reason, text: &str| Problem::new(reason, text);
        let mut track = Track::default();
        let mut now = BootTime::default();
        let mut fail = |track: &mut Track, reason, text: &str| {
            now = now.plus(Duration::from_secs(15));
            track.look_failed(problem(reason, text), now, 0)
        };
        let first = fail(&mut track, WorkerReason::HostOffline, "a");
        let second = fail(&mut track, WorkerReason::HostOffline, "b");
        assert!(first.lasting.is_none() && second.lasting.is_none() && second.again > first.again);
        let third = fail(&mut track, WorkerReason::HostOffline, "c");
        assert_eq!((third.lasting, third.is_news), (Some(problem(WorkerReason::HostOffline, "c")), true));
        let fourth = fail(&mut track, WorkerReason::HostOffline, "other words");
        assert_eq!((fourth.lasting, fourth.is_news), (Some(problem(WorkerReason::HostOffline, "c")), false));
        for told in [WorkerReason::HostOffline, WorkerReason::HostOffline, WorkerReason::Forbidden] {
            let other = fail(&mut track, WorkerReason::Forbidden, "d");
            assert_eq!((other.lasting.unwrap().reason, other.is_news), (told, told == WorkerReason::Forbidden));
        }
        let longest = (0..20).map(|_| fail(&mut track, WorkerReason::Forbidden, "d").again).max().unwrap();
        assert!(longest >= backoff::LOOK.longest && longest < Duration::from_secs(60), "a launch permit lasts 60 s");
        track.looked();
        assert_eq!(fail(&mut track, WorkerReason::HostOffline, "a"), first);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let tracks = Tracks::default();
        for uid in ["a", "b"] {
            tracks.with(uid, |track| track.resumed = true);
        }
        assert_eq!(tracks.keep(|uid| uid == "b"), ["a"]);
        assert_eq!(tracks.count(), 1);
        assert!(tracks.with("b", |track| track.resumed));
    }

    #[test]
    fn at_rest_only_what_matters_is_remembered() {
        let tracks = Tracks::default();
        for uid in ["idle", "changed"] {
            tracks.with(uid, |track| track.next_operation = Some("op".into()));
        }
        tracks.with("changed", |track| track.closed(BootTime::from_start(Duration::from_secs(1))));
        for uid in ["idle", "changed", "unknown"] {
            tracks.rest(uid);
        }
        assert_eq!(tracks.count(), 1);
        assert_eq!(tracks.with("changed", |track| track.changed), BootTime::from_start(Duration::from_secs(1)));
    }

    #[test]
    fn an_older_record_out_of_a_cache_does_not_undo_a_step() {
        let second = |seconds| BootTime::from_start(Duration::from_secs(seconds));
        let mut track = Track::default();
        track.sending(&operation(Step::Start), second(1));
        track.accepted(Effect::Start, Some(TaskHandle("UPID:x".into())), second(1));
        assert_eq!(track.known_step_age(&operation(Step::Configure), second(9)), Duration::ZERO);
        assert_eq!(track.step_age(&operation(Step::Start), second(9)), Duration::from_secs(8));
        assert!(track.task(&operation(Step::Start)).is_some());
    }

    #[test]
    fn a_call_that_was_not_sent_has_not_begun_its_step() {
        let second = |seconds| BootTime::from_start(Duration::from_secs(seconds));
        let fault = |kind| Fault::new(kind, "no");
        let mut track = Track::default();
        track.sending(&operation(Step::Start), second(1));
        track.failed(fault(FaultKind::NotSent), second(2), 0);
        assert_eq!(track.calls(), 0);
        assert!(!track.hold(second(2)).is_zero());
        track.sending(&operation(Step::Start), second(400));
        track.failed(fault(FaultKind::Busy), second(401), 0);
        assert_eq!((track.calls(), track.step_age(&operation(Step::Start), second(401)).as_secs()), (1, 1));
        track.sending(&operation(Step::Start), second(410));
        assert_eq!((track.calls(), track.step_age(&operation(Step::Start), second(410)).as_secs()), (2, 10));
        // One for which there was no proof is none, whatever its fault was.
        track.unsent();
        track.failed(fault(FaultKind::Refused), second(411), 0);
        assert_eq!((track.calls(), track.last_call()), (1, Some(&fault(FaultKind::Refused))));
    }
}
