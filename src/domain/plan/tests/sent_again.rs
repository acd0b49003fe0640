//! Calls that were sent before, and may still come.

use super::*;

/// A create was sent three times, the last time a second ago and the first time long ago; nothing is there, and the
/// declaration is another one by now.
fn edited_meanwhile() -> Facts {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    facts.declared.spec_hash = "h2".into();
    facts.remembered.operation = Some(Ok(Operation { sends: 3, ..operation(Kind::Test, Step::Create) }));
    facts.observed.last_call = Some(Fault::new(FaultKind::UnknownOutcome, "596 Connection timed out"));
    facts.observed.step_age = Duration::from_secs(100);
    facts.observed.quiet_for = Duration::from_secs(1);
    facts
}

#[test]
fn an_id_is_not_given_up_while_the_latest_call_under_it_may_still_come() {
    let mut facts = edited_meanwhile();
    let world = well(Live::NotThere);
    assert!(matches!(settle(facts.clone(), &world).next, Next::Wait { .. }));
    facts.observed.quiet_for = Duration::from_secs(70);
    assert!(matches!(settle(facts, &world).next, Next::Close(_)));
}

#[test]
fn a_create_without_an_answer_is_not_repeated_while_it_may_still_come() {
    let mut facts = edited_meanwhile();
    facts.declared.spec_hash = "h1".into();
    let world = well(Live::NotThere);
    assert!(matches!(settle(facts.clone(), &world).next, Next::Wait { .. }));
    facts.observed.last_call = Some(Fault::new(FaultKind::Busy, "got no worker upid"));
    assert_eq!(effect(&settle(facts, &world)), Some(Effect::Create));
}

#[test]
fn a_test_asks_for_its_turn_before_it_makes_or_starts_a_vm() {
    let mut facts = facts();
    facts.declared.has_finalizer = true;
    let unsent = Some(Fault::new(FaultKind::NotSent, "not sent"));
    for (step, live, is_next) in [
        (Step::Create, Live::NotThere, Effect::Create),
        (Step::Configure, Live::Found(vm(Power::Off)), Effect::Start),
        (Step::ShutDown, Live::Found(vm(Power::Off)), Effect::Start),
    ] {
        facts.remembered.operation = Some(Ok(operation(Kind::Test, step)));
        facts.observed.last_call.clone_from(&unsent);
        let mut world = well(live);
        assert_eq!(effect(&settle(facts.clone(), &world)), Some(is_next));
        world.permit = Some(false);
        assert!(matches!(settle(facts.clone(), &world).next, Next::Wait { .. }), "{step:?}");
    }
}
