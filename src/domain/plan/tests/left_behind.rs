//! A deletion that meets what a host left behind when it went down in the middle of a clone.

use super::*;

/// The worker is deleted; the task that made its VM is over, and nothing runs.
fn deleted(task: TaskState) -> Facts {
    let mut facts = facts();
    facts.declared.deleting = true;
    facts.declared.has_finalizer = true;
    let sent = Operation { task: Some(TaskHandle("UPID:t".into())), ..operation(Kind::Test, Step::Create) };
    facts.remembered.operation = Some(Ok(sent));
    facts.looks.task = Some(task);
    facts
}

fn unmarked(lock: Option<&str>) -> Looks {
    well(Live::Found(LiveVm { ownership: Ownership::Foreign, lock: lock.map(str::to_owned), ..vm(Power::Off) }))
}

#[test]
fn a_lock_that_was_left_behind_is_said_to_be_one() {
    let decision = settle(deleted(TaskState::Lost), &unmarked(Some("clone")));
    let ready = decision.report.ready.unwrap();
    assert_eq!(ready.reason, WorkerReason::OrphanLock);
    assert!(ready.message.contains("qm unlock 5000"), "{}", ready.message);
}

#[test]
fn a_vm_that_never_got_its_mark_is_left_behind_aloud() {
    let mut facts = deleted(TaskState::Lost);
    assert_eq!(settle(facts.clone(), &unmarked(None)).next, Next::Release { abandoned: true });
    // Not while it is not certain that there is no other.
    facts.observed.presence = Presence::Absent { polls: 1 };
    assert!(matches!(settle(facts, &unmarked(None)).next, Next::Wait { .. }));
}

#[test]
fn a_vm_that_the_call_did_not_make_is_nobodys_concern() {
    let refused = TaskState::Failed { message: "VM 5000 already exists".into(), kind: FaultKind::AlreadyExists };
    assert!(matches!(settle(deleted(refused), &unmarked(None)).next, Next::Close(_)));
    let mut facts = deleted(TaskState::Lost);
    facts.looks.task = None;
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Create)));
    assert!(matches!(settle(facts, &unmarked(None)).next, Next::Close(_)));
}
