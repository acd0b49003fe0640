//! Which task gets which worker, and why the others wait: pure, for one hypervisor at a time.
//!
//! [`decide`] gives every waiting task one turn: restores before backups, then by the creation of the session, then in the
//! order of the session. At its turn a task gets the best worker that has a free slot, if its session's parallelism, its
//! VM and its storages allow. On the VM's host a worker that runs is better than one that is being launched, and that is
//! better than one that is off; workers elsewhere come after all of these, in the same order. Of equals the least loaded
//! is taken. A worker that is off and has a claim is being launched in effect, so that one fills up before a second is
//! launched.
//!
//! # Nobody starves
//!
//! A free slot of a worker goes to the first task that can use it. That is not enough for a task that needs several things
//! at once, such as room on two storages: those that come later could have one or the other for ever. So a task that
//! waits for what passes (a slot, a storage, a VM) *holds back* its VM and the next slot of each of its storages, unless
//! an earlier task does so already. Of the tasks of its type that wait, the first has everything held back that it needs,
//! save the worker's slot: its storages and its VM come free when what runs on them ends, stay free, and then the next
//! slot that comes free is its own. Then the next task is the first. Sessions that are created later come later in the
//! order, so only so many are ever before a task. Backups can wait for ever behind an endless stream of restores: that is
//! what strictly before means.
//!
//! Three cases need a word more:
//!
//! - A task that no worker could take holds nothing back: it would keep things for somebody who does not come. But a
//!   worker that is shutting down counts as one that is full: otherwise those that come later could
//!   take the storage in the very minute in which the worker of a waiting task goes down, again and again.
//! - A task that its session's parallelism holds back holds nothing back itself. Other tasks of its session can have
//!   the place for which it waits, but a session has only so many.
//! - A task that is to avoid workers waits for another one as long as there is one, in the same order as all.
//!
//! What is held back is lost to others meanwhile, so it is little: one slot of a storage, whatever the number of tasks
//! that wait for it.
//!
//! # More workers
//!
//! With one selector, `PreferSameHost` and nobody to avoid, one more worker never lowers the number of tasks that are
//! assigned: all workers' slots are one heap then, and the tasks are the same up to the one that finds it empty. With
//! workers to avoid it can, since another worker is then waited for.

mod candidates;
mod decision;
mod explain;
mod judgement;
mod lack;
mod ledger;
mod limit;
mod roll;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeSet;

pub use candidates::Readiness;
pub use decision::{Assignment, Plan, Waiting};
pub use explain::{Explanation, Outcome, Seen, explain, explain_session};
pub use limit::Limit;
pub use world::{Kind, Placement, Session, Task, TaskState, Worker, World, short_name};

use judgement::Judgement;
use roll::Roll;

/// Decides for all tasks that wait. The order of sessions and workers in `world` does not matter.
pub fn decide(world: &World) -> Plan {
    let roll = Roll::of(world);
    let mut plan = Plan::default();
    let mut retest = BTreeSet::new();
    judgement::walk(&roll, |candidates, judgement| {
        let member = candidates.turn.member;
        let (task, session) = (member.task.uid.clone(), member.session.uid.clone());
        match judgement {
            Judgement::Assigned(place, standing) => {
                let worker = roll.workers[place].name.clone();
                plan.assignments.push(Assignment { task, session, worker, local: standing.local });
            }
            Judgement::Waits(wait) => {
                if wait.lacks_worker {
                    retest.extend(candidates.failed());
                }
                plan.waiting.push(Waiting { task, session, reason: wait.reason, message: wait.message });
            }
        }
    });
    plan.retest = retest.into_iter().map(|place| roll.workers[place].name.clone()).collect();
    plan
}
