//! What a person is told who asks why a task is where it is: every worker and every limit, as the decision saw them.

use std::fmt;

use super::candidates::{Candidates, Readiness, Verdict};
use super::judgement::{Judgement, walk};
use super::limit::Limit;
use super::roll::{Member, Roll};
use super::world::{TaskState, World};
use crate::api::reasons::TaskReason;
use crate::domain::unfit::says;

/// What there is to say of one task. Its rendering has one line for what becomes of it, and one for each limit that holds
/// it back and each worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Name of the task.
    pub task: String,
    /// Name of its session.
    pub session: String,
    /// What becomes of it.
    pub outcome: Outcome,
    /// All that holds it back.
    pub limits: Vec<Limit>,
    /// Each worker by its name, if it waits for one.
    pub workers: Vec<(String, Seen)>,
}

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has a worker.
    Holds {
        /// The worker's name.
        worker: String,
    },
    /// It gets a worker.
    Assigned {
        /// The worker's name.
        worker: String,
        /// Whether the worker is on the host of the task's VM.
        local: bool,
    },
    /// It waits.
    Waits {
        /// Why, in one word.
        reason: TaskReason,
        /// Why, for people.
        message: String,
    },
}

/// What a worker is to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It has a free slot for it.
    Takes {
        /// How soon it can begin.
        readiness: Readiness,
        /// Whether it is on the host of the task's VM.
        local: bool,
        /// The slots that are taken.
        claims: usize,
        /// All its slots.
        slots: usize,
    },
    /// It has no free slot.
    Full {
        /// The slots that are taken.
        claims: usize,
        /// All its slots.
        slots: usize,
    },
    /// An earlier attempt failed on it, and another worker can take the task.
    Avoided,
    /// It takes no tasks.
    Unavailable {
        /// Why, in one word.
        reason: TaskReason,
        /// What more there is to say; may be empty.
        message: String,
    },
    /// The session requires a worker on the host of the task's VM.
    OtherHost {
        /// Its own host; `None` if it is not known.
        host: Option<String>,
    },
    /// The session's selector does not select it.
    NotSelected,
}

/// Explains one task; `None` if there is no such task.
pub fn explain(world: &World, task: &str) -> Option<Explanation> {
    explanations(world, |member| member.task.uid == task).pop()
}

/// Explains each task of a session, in the order of the session; nothing if there is no such session.
pub fn explain_session(world: &World, session: &str) -> Vec<Explanation> {
    explanations(world, |member| member.session.uid == session)
}

fn explanations(world: &World, is_asked: impl Fn(Member<'_>) -> bool) -> Vec<Explanation> {
    let roll = Roll::of(world);
    let mut judged = Vec::new();
    walk(&roll, |candidates, judgement| {
        if is_asked(candidates.turn.member) {
            judged.push(Explanation::of(candidates, judgement));
        }
    });
    // Both come in the order of the turns.
    let mut judged = judged.into_iter();
    let asked = roll.members().filter(|member| is_asked(*member));
    asked.filter_map(|member| Explanation::of_holder(member).or_else(|| judged.next())).collect()
}

impl Explanation {
    fn of(candidates: &Candidates<'_, '_>, judgement: Judgement) -> Self {
        let member = candidates.turn.member;
        let workers = &candidates.roll.workers;
        let outcome = match judgement {
            Judgement::Assigned(place, standing) => {
                Outcome::Assigned { worker: workers[place].name.clone(), local: standing.local }
            }
            Judgement::Waits(wait) => Outcome::Waits { reason: wait.reason, message: wait.message },
        };
        Self {
            task: member.task.name.clone(),
            session: member.session.name.clone(),
            outcome,
            limits: candidates.ledger.limits(member).collect(),
            workers: (0..workers.len())
                .map(|place| (workers[place].name.clone(), Seen::of(candidates, place)))
                .collect(),
        }
    }

    fn of_holder(member: Member<'_>) -> Option<Self> {
        let TaskState::Holding { worker } = &member.task.state else { return None };
        Some(Self {
            task: member.task.name.clone(),
            session: member.session.name.clone(),
            outcome: Outcome::Holds { worker: worker.clone() },
            limits: Vec::new(),
            workers: Vec::new(),
        })
    }
}

impl Seen {
    fn of(candidates: &Candidates<'_, '_>, place: usize) -> Self {
        let worker = candidates.roll.workers[place];
        let (claims, slots) = (candidates.ledger.claims(place), worker.slots);
        match candidates.verdict(place) {
            Verdict::NotSelected => Self::NotSelected,
            Verdict::OtherHost => Self::OtherHost { host: worker.host.clone() },
            Verdict::Unavailable(why) => Self::Unavailable { reason: why.reason, message: why.message.clone() },
            Verdict::Avoided => Self::Avoided,
            Verdict::Full => Self::Full { claims, slots },
            Verdict::Takes(standing) => {
                Self::Takes { readiness: standing.readiness, local: standing.local, claims, slots }
            }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.task, self.outcome)?;
        for limit in &self.limits {
            write!(f, "\n  limit: {limit}")?;
        }
        for (name, seen) in &self.workers {
            write!(f, "\n  worker {name}: {seen}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds { worker } => write!(f, "has worker {worker}"),
            Self::Assigned { worker, local: true } => write!(f, "gets worker {worker}, on the VM's host"),
            Self::Assigned { worker, local: false } => write!(f, "gets worker {worker}, on another host than the VM"),
            Self::Waits { reason, message } => write!(f, "waits ({reason}): {message}"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Takes { readiness, local, claims, slots } => {
                let host = if *local { "on the VM's host" } else { "not on the VM's host" };
                write!(f, "has a free slot ({claims}/{slots} taken), {readiness}, {host}")
            }
            Self::Full { claims, slots } => write!(f, "is full ({claims}/{slots})"),
            Self::Avoided => f.write_str("an earlier attempt failed on it, and another worker can take the task"),
            Self::Unavailable { reason, message } => f.write_str(&says(*reason, message)),
            Self::OtherHost { host: Some(host) } => write!(f, "is on {host}, not on the VM's host, as is required"),
            Self::OtherHost { host: None } => f.write_str("is on no known host; one on the VM's host is required"),
            Self::NotSelected => f.write_str("is not selected by the session"),
        }
    }
}
