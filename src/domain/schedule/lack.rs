//! What to say to a person when no worker takes a task.

use std::collections::BTreeMap;

use super::candidates::{Candidates, Verdict};
use super::world::{Placement, short_name};
use crate::api::reasons::TaskReason;
use crate::domain::availability::Unavailable;
use crate::domain::unfit::{of_many, says};

/// What is said if there are none to choose from.
const NOBODY: &str = "the session selects none of the Hypervisor's Workers: declare one, or look at its workerSelector and at their labels";

/// Workers that are named in one sentence; the others are counted.
const MOST_NAMES: usize = 3;

/// The workers that cannot take a task, sorted by why.
#[derive(Debug, Default)]
struct Lack<'a> {
    full: Group<'a>,
    avoided: Group<'a>,
    /// With what the first of them says.
    unfit: BTreeMap<TaskReason, (Group<'a>, &'a str)>,
}

/// Workers of which the same can be said.
#[derive(Debug, Default)]
struct Group<'a> {
    count: usize,
    /// The first names, each with its figures if it has some.
    named: Vec<(&'a str, String)>,
}

/// Why no worker takes the task: the word, and the sentence.
pub(super) fn lack(candidates: &Candidates<'_, '_>) -> (TaskReason, String) {
    if candidates.selected().is_empty() {
        return (TaskReason::NoWorker, NOBODY.into());
    }
    let lack = Lack::of(candidates);
    if lack.count() == 0 {
        return (TaskReason::NoWorkerOnHost, none_on_host(candidates));
    }
    (lack.reason(), lack.message(&place(candidates)))
}

fn none_on_host(candidates: &Candidates<'_, '_>) -> String {
    match (&candidates.turn.member.task.host, candidates.selected().len()) {
        (None, _) => "the host of the VM is not known, and the session requires a worker on it".into(),
        (Some(host), 1) => format!("the one worker that the session selects is not on {host}, where the VM is"),
        (Some(host), count) => {
            format!("none of the {count} workers that the session selects is on {host}, where the VM is")
        }
    }
}

/// Where the workers are that come into question, if that is said.
fn place(candidates: &Candidates<'_, '_>) -> String {
    let member = candidates.turn.member;
    match (member.session.placement, &member.task.host) {
        (Placement::RequireSameHost, Some(host)) => format!(" on {host}"),
        _ => String::new(),
    }
}

impl<'a> Lack<'a> {
    fn of(candidates: &Candidates<'_, 'a>) -> Self {
        let mut lack = Self::default();
        for (place, verdict) in candidates.verdicts() {
            let worker = candidates.roll.workers[place];
            match verdict {
                Verdict::Full => {
                    let claims = candidates.ledger.claims(place);
                    lack.full.add(short_name(&worker.name), || format!("{claims}/{}", worker.slots));
                }
                Verdict::Avoided => lack.avoided.add(short_name(&worker.name), String::new),
                Verdict::Unavailable(Unavailable { reason, message }) => {
                    let (group, _) = lack.unfit.entry(*reason).or_insert_with(|| (Group::default(), message));
                    group.add(short_name(&worker.name), String::new);
                }
                Verdict::Takes(_) | Verdict::OtherHost | Verdict::NotSelected => {}
            }
        }
        lack
    }

    fn count(&self) -> usize {
        self.full.count + self.avoided.count + self.unfit.values().map(|(group, _)| group.count).sum::<usize>()
    }

    fn reason(&self) -> TaskReason {
        let mut kinds = self.unfit.keys();
        match (self.full.count, kinds.next(), kinds.next()) {
            (0, Some(only), None) => *only,
            (0, ..) => TaskReason::Unavailable,
            _ => TaskReason::Busy,
        }
    }

    fn message(&self, place: &str) -> String {
        let all = self.count();
        let mut parts = Vec::new();
        parts.extend(self.full.says("is full", "are full", all, place));
        for (unfit, (group, message)) in &self.unfit {
            // What is wrong with a worker matters to whom no other is left.
            let more = if self.full.count == 0 && group.count == 1 { *message } else { "" };
            parts.extend(group.says(&says(*unfit, more), of_many(*unfit), all, place));
        }
        if self.avoided.count > 0 {
            parts.push(format!("earlier attempts failed on {}", self.avoided.shown()));
        }
        parts.join("; ")
    }
}

impl<'a> Group<'a> {
    fn add(&mut self, name: &'a str, figures: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < MOST_NAMES {
            self.named.push((name, figures()));
        }
    }

    fn shown(&self) -> String {
        let named = self.named.iter().map(|(name, figures)| format!("{name} {figures}").trim_end().to_owned());
        let shown = named.collect::<Vec<_>>().join(", ");
        if self.count > MOST_NAMES { format!("{shown} and {} more", self.count - MOST_NAMES) } else { shown }
    }

    /// The sentence on these out of `all` workers at `place`; none on nobody.
    fn says(&self, one: &str, many: &str, all: usize, place: &str) -> Option<String> {
        let (name, figures) = self.named.first()?;
        Some(match self.count {
            1 if figures.is_empty() => format!("{name} {one}"),
            1 => format!("{name} {one} ({figures})"),
            count if count == all => format!("all {all} workers{place} {many} ({})", self.shown()),
            count => format!("{count} of {all} workers{place} {many} ({})", self.shown()),
        })
    }
}
