//! The passing of time: what is due, who holds which lock, how tasks go on.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::World;
use super::access::Caller;
use super::refusal::flock_timeout;
use super::task::{Job, LockWish, Step, Task, TaskId, Upid};
use crate::clock::BootTime;
use crate::simulator::guest_exec::GuestEffect;

/// Holder of file locks that no task holds.
const LATCH: TaskId = TaskId::MAX;

/// Something that happens at a moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A task goes on.
    Task(TaskId),
    /// A task has waited long enough for this lock.
    LockTimeout(TaskId, u64),
    /// A guest has powered itself off; the number is the process's.
    GuestDown(u32, u64),
    /// A clean-up that took the wrong process for its own gives up.
    Unlatch(u32),
    /// A program in a guest does something to its machine.
    Effect(u32, u64, GuestEffect),
}

/// What is due, earliest first; equal moments in the order in which they were planned.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    queue: BinaryHeap<Reverse<(BootTime, u64, Due)>>,
    planned: u64,
}

impl Agenda {
    fn plan(&mut self, at: BootTime, what: Due) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, what)));
    }

    fn pop_until(&mut self, now: BootTime) -> Option<(BootTime, Due)> {
        if self.queue.peek().is_none_or(|Reverse((at, ..))| *at > now) {
            return None;
        }
        self.queue.pop().map(|Reverse((at, _, what))| (at, what))
    }
}

/// The file lock of one configuration.
#[derive(Debug, Default)]
pub(super) struct Flock {
    exclusive: Option<TaskId>,
    shared: Vec<TaskId>,
    latched: bool,
    waiting: VecDeque<TaskId>,
}

impl Flock {
    fn admits(&self, shared: bool) -> bool {
        !self.latched && self.exclusive.is_none() && (shared || self.shared.is_empty())
    }
}

impl World {
    /// Lets everything happen that was due by now.
    pub fn catch_up(&mut self) {
        self.read_clock();
        let now = self.clock.boot();
        while let Some((at, what)) = self.agenda.pop_until(now) {
            self.now = self.now.max(at);
            match what {
                Due::Task(task) => self.go_on(task),
                Due::LockTimeout(task, wait) => self.give_up(task, wait),
                Due::GuestDown(vmid, run) => self.guest_is_down(vmid, run),
                Due::Unlatch(vmid) => self.release(LATCH, vmid),
                Due::Effect(vmid, run, effect) => self.take_effect(vmid, run, effect),
            }
        }
        self.now = self.now.max(now);
        self.notice_ends();
    }

    pub(super) fn plan(&mut self, after: Duration, what: Due) {
        let at = self.now.plus(after);
        self.agenda.plan(at, what);
    }

    /// Forks a worker for `job` and gives back the identifier that the client gets.
    pub(crate) fn fork(&mut self, node: &str, kind: &str, target: &str, caller: &Caller, job: Box<dyn Job>) -> String {
        let id = self.next_task;
        self.next_task += 1;
        let start = self.wall();
        let step = 1 + u32::try_from(self.dice.below(7)).unwrap_or(0);
        let (pid, pstart) = self.nodes.get_mut(node).map_or((id.try_into().unwrap_or(0), 0), |node| {
            node.next_pid += step;
            let uptime = self.now.since(node.on_since).as_millis() / 10;
            (node.next_pid, 100_000 + u64::try_from(uptime).unwrap_or(0))
        });
        let upid = Upid {
            node: node.to_owned(),
            pid,
            pstart,
            start,
            kind: kind.to_owned(),
            target: target.to_owned(),
            user: caller.full(),
        };
        let text = upid.to_string();
        self.by_upid.insert(text.clone(), id);
        let times = (self.now, None);
        let (log, held) = (Vec::new(), Vec::new());
        let task = Task { upid, log, warnings: 0, end: None, times, job: Some(job), held, wish: None };
        self.tasks.insert(id, task);
        self.plan(self.scenario.timings.fork.span(), Due::Task(id));
        text
    }

    pub(crate) fn task(&self, upid: &str) -> Option<&Task> {
        self.by_upid.get(upid).and_then(|id| self.tasks.get(id))
    }

    pub(crate) fn task_id(&self, upid: &str) -> Option<TaskId> {
        self.by_upid.get(upid).copied()
    }

    /// Tasks, newest first.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().rev()
    }

    /// Tasks that run, oldest first.
    pub(crate) fn running(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.tasks.iter().filter(|(_, task)| task.is_running()).map(|(id, task)| (*id, task))
    }

    pub(crate) fn log(&mut self, task: TaskId, line: impl Into<String>) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.log.push(line.into());
        }
    }

    /// A line that also counts as a warning.
    pub(crate) fn warn(&mut self, task: TaskId, line: impl Into<String>) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.log.push(line.into());
            task.warnings += 1;
        }
    }

    fn go_on(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.is_running()) else { return };
        let Some(mut job) = task.job.take() else { return };
        let step = job.step(self, id);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.job = Some(job);
        }
        match step {
            Step::Wait(span) => self.plan(span, Due::Task(id)),
            Step::Lock(wish) => self.want_lock(id, wish),
            Step::Done => self.end_well(id),
            Step::Fail(text) => self.end(id, &text, true),
        }
    }

    fn end_well(&mut self, id: TaskId) {
        let warnings = self.tasks.get(&id).map_or(0, |task| task.warnings);
        let status = if warnings == 0 { "OK".to_owned() } else { format!("WARNINGS: {warnings}") };
        self.end(id, &status, true);
    }

    /// Ends a task. `told` is false for a worker that died without a last line in its log.
    fn end(&mut self, id: TaskId, status: &str, told: bool) {
        let (now, ended) = (self.wall(), self.now);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.times.1 = Some(ended);
        if told {
            let well = status == "OK" || status.starts_with("WARNINGS: ");
            task.log.push(if well { format!("TASK {status}") } else { format!("TASK ERROR: {status}") });
        }
        task.end = Some((status.to_owned(), now));
        task.job = None;
        task.wish = None;
        let (held, node) = (std::mem::take(&mut task.held), task.upid.node.clone());
        for vmid in held {
            self.release(id, vmid);
        }
        self.retire(id, &node);
    }

    fn retire(&mut self, id: TaskId, node: &str) {
        let keep = self.scenario.task_retention;
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.finished.push(id);
        let surplus = node.finished.len().saturating_sub(keep);
        for old in node.finished.drain(..surplus).collect::<Vec<_>>() {
            if let Some(task) = self.tasks.remove(&old) {
                self.by_upid.remove(&task.upid.to_string());
            }
        }
    }

    /// Terminates a task politely: it cleans up if its kind does (recorded 398, 399).
    pub(crate) fn terminate(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.is_running()) else { return };
        let Some(mut job) = task.job.take() else { return };
        match job.cancel(self, id) {
            Some(status) => self.end(id, &status, true),
            None => self.kill(id),
        }
    }

    /// Kills a task: nothing is cleaned up but the file locks.
    pub(crate) fn kill(&mut self, id: TaskId) {
        self.end(id, "unexpected status", false);
    }

    /// Whether nobody holds the file lock of `vmid`.
    pub(crate) fn is_unlocked(&self, vmid: u32) -> bool {
        self.flocks.get(&vmid).is_none_or(|flock| flock.admits(false))
    }

    /// Holds a machine's file lock although nothing is going on; the next in line gets it afterwards.
    pub(crate) fn latch(&mut self, vmid: u32) {
        let span = self.scenario.timings.restart_latch.span();
        let flock = self.flocks.entry(vmid).or_default();
        if span.is_zero() {
            return;
        }
        flock.latched = true;
        self.plan(span, Due::Unlatch(vmid));
    }

    fn want_lock(&mut self, id: TaskId, wish: LockWish) {
        let flock = self.flocks.entry(wish.vmid).or_default();
        if flock.waiting.is_empty() && flock.admits(wish.shared) {
            self.hand_over(id, &wish);
            return self.plan(Duration::ZERO, Due::Task(id));
        }
        flock.waiting.push_back(id);
        let (within, wait) = (wish.within, self.agenda.planned);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.log.push("trying to acquire lock...".into());
            task.wish = Some((wish, wait));
        }
        self.plan(within, Due::LockTimeout(id, wait));
    }

    fn hand_over(&mut self, id: TaskId, wish: &LockWish) {
        let flock = self.flocks.entry(wish.vmid).or_default();
        if wish.shared {
            flock.shared.push(id);
        } else {
            flock.exclusive = Some(id);
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            task.held.push(wish.vmid);
            task.wish = None;
        }
    }

    fn release(&mut self, id: TaskId, vmid: u32) {
        let Some(flock) = self.flocks.get_mut(&vmid) else { return };
        if flock.exclusive == Some(id) {
            flock.exclusive = None;
        }
        flock.shared.retain(|holder| *holder != id);
        flock.latched &= id != LATCH;
        while let Some(next) = self.flocks.get(&vmid).and_then(|flock| flock.waiting.front().copied()) {
            let wish = self.tasks.get(&next).and_then(|task| task.wish.as_ref()).map(|(wish, _)| wish.clone());
            let admitted =
                wish.as_ref().is_none_or(|wish| self.flocks.get(&vmid).is_some_and(|flock| flock.admits(wish.shared)));
            if !admitted {
                return;
            }
            if let Some(flock) = self.flocks.get_mut(&vmid) {
                flock.waiting.pop_front();
            }
            if let Some(wish) = wish {
                self.hand_over(next, &wish);
                self.log(next, " OK");
                self.plan(Duration::ZERO, Due::Task(next));
            }
        }
        if self.flocks.get(&vmid).is_some_and(|flock| flock.admits(false)) {
            self.flocks.remove(&vmid);
        }
    }

    fn give_up(&mut self, id: TaskId, wait: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some((wish, _)) = task.wish.take_if(|(_, number)| *number == wait) else { return };
        if let Some(flock) = self.flocks.get_mut(&wish.vmid) {
            flock.waiting.retain(|waiting| *waiting != id);
        }
        let Some(mut job) = self.tasks.get_mut(&id).and_then(|task| task.job.take()) else { return };
        let _ = job.cancel(self, id);
        self.end(id, &flock_timeout(wish.vmid), true);
    }
}
