//! Edits of a worker whose VM is there.

use super::*;

fn asked_for(field: &str) -> LiveVm {
    let difference = Difference { field: field.into(), ..difference(Takes::Configure) };
    LiveVm { differences: vec![difference], ..vm(Power::Off) }
}

/// A worker without tests whose VM is powered off.
fn at_rest() -> Facts {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.declared.test_on_change = false;
    facts.observed.presence =
        Presence::Present { at: place(), power: Power::Off, ownership: Ownership::Ours, uuid: "u".into() };
    facts
}

/// The same, in the middle of an edit that was refused six times.
fn refused(quiet_for: u64) -> Facts {
    let mut facts = at_rest();
    facts.remembered.operation = Some(Ok(Operation { sends: 6, ..operation(Kind::Apply, Step::Configure) }));
    facts.observed.calls = 6;
    facts.observed.quiet_for = Duration::from_secs(quiet_for);
    let kind = FaultKind::Forbidden { privilege: "VM.Config.Memory".into(), path: "/vms/5000".into() };
    facts.observed.last_call = Some(Fault::new(kind, "403"));
    facts
}

#[test]
fn an_edit_that_was_refused_is_tried_again_now_and_then() {
    let world = well(Live::Found(asked_for("resources.memory")));
    let decision = settle(refused(10), &world);
    let Next::Wait { after, .. } = decision.next else { panic!("{decision:?}") };
    assert_eq!(after, Duration::from_secs(50));
    assert_eq!(decision.report.ready.map(|ready| ready.reason), Some(WorkerReason::OperationFailed));
    assert_eq!(effect(&settle(refused(60), &world)), Some(Effect::Configure));
}

#[test]
fn an_edit_that_was_refused_is_given_up_for_another() {
    let mut facts = refused(10);
    facts.declared.spec_hash = "h2".into();
    let world = well(Live::Found(asked_for("resources.memory")));
    assert!(matches!(settle(facts.clone(), &world).next, Next::Close(_)));
    facts.looks.task = Some(TaskState::Running);
    assert!(matches!(settle(facts.clone(), &world).next, Next::Wait { .. }), "it is under way");
    facts.looks.task = None;
    facts.observed.last_call = Some(Fault::new(FaultKind::UnknownOutcome, "no answer"));
    assert!(matches!(settle(facts, &world).next, Next::Wait { .. }), "it may still come");
}

#[test]
fn an_edit_that_cannot_work_is_not_begun() {
    let obstacle = |reason| Problem::new(reason, "in the way");
    for (field, reason, stands) in [
        ("networks", WorkerReason::BridgeMissing, true),
        ("networks[0]", WorkerReason::BridgeMissing, true),
        ("networks", WorkerReason::VmNameInUse, false),
        ("networks", WorkerReason::TemplateMissing, false),
        ("vmName", WorkerReason::VmNameInUse, true),
        ("vmName", WorkerReason::BridgeMissing, false),
        ("resources.memory", WorkerReason::BridgeMissing, false),
    ] {
        let mut world = well(Live::Found(asked_for(field)));
        world.obstacles = Some(vec![obstacle(WorkerReason::StorageMissing), obstacle(reason)]);
        for tested in [false, true] {
            let mut facts = at_rest();
            facts.declared.test_on_change = tested;
            let decision = settle(facts, &world);
            assert_eq!(effect(&decision).is_none(), stands, "{field} {reason:?}");
            if stands {
                assert_eq!(decision.report.stalled, Stalling::Yes(obstacle(reason)));
            }
        }
    }
}
