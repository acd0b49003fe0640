//! The way of an image to its storage, before a VM is made from it.

use super::*;

/// A worker that is made from an image.
fn by_url() -> Facts {
    let mut facts = facts();
    facts.declared.wanted.image = ImageWanted::File(image_file());
    facts
}

/// The same with the call that downloads on record.
fn downloading() -> Facts {
    let mut facts = by_url();
    let target = Target { host: "pve1".into(), vm_id: String::new(), uuid: String::new() };
    let task = Some(TaskHandle("UPID:d".into()));
    facts.remembered.operation = Some(Ok(Operation { target, task, ..operation(Kind::Test, Step::Download) }));
    facts.declared.has_finalizer = true;
    facts
}

/// A world without the VM, and with the image so.
fn with(image: ImageSight) -> Looks {
    Looks { image: Some(image), ..well(Live::NotThere) }
}

fn says(decision: &Decision) -> &str {
    decision.report.reconciling.as_ref().map_or("", |problem| problem.message.as_str())
}

#[test]
fn an_image_that_is_there_is_not_downloaded() {
    assert_eq!(effect(&settle(by_url(), &with(ImageSight::Present))), Some(Effect::Create));
    assert_eq!(effect(&settle(facts(), &with(ImageSight::Absent))), Some(Effect::Create), "from a template");
}

#[test]
fn an_image_that_is_nowhere_is_downloaded_on_record_without_a_permit() {
    let world = Looks { permit: Some(false), ..with(ImageSight::Absent) };
    let Next::Act { record, effect: Effect::Download } = settle(by_url(), &world).next else { panic!() };
    assert_eq!((record.step, record.sends, record.target.vm_id.as_str()), (Step::Download, 1, ""));
    assert!(record.made_as.is_empty(), "nothing was made yet");
    let waits = settle(by_url(), &Looks { permit: Some(false), ..with(ImageSight::Present) });
    assert!(matches!(waits.next, Next::Wait { .. }), "making the VM takes one: {waits:?}");
}

#[test]
fn what_others_have_downloaded_is_waited_for_without_an_operation() {
    let decision = settle(by_url(), &with(ImageSight::Downloading));
    assert!(matches!(decision.next, Next::Wait { .. }), "{decision:?}");
    assert!(says(&decision).contains("is being downloaded for pve1"), "{}", says(&decision));
    assert!(!decision.report.under_test, "nothing was begun");
}

#[test]
fn a_download_is_waited_for_and_leads_to_the_vm() {
    let mut facts = downloading();
    facts.looks.task = Some(TaskState::Running);
    let decision = settle(facts.clone(), &with(ImageSight::Absent));
    assert!(matches!(decision.next, Next::Wait { .. }) && decision.report.under_test, "{decision:?}");
    assert!(says(&decision).contains("the storage local"), "{}", says(&decision));
    facts.looks.task = Some(TaskState::Succeeded { warnings: Vec::new() });
    let decision = settle(facts.clone(), &with(ImageSight::Present));
    let Next::Act { record, effect: Effect::Create } = decision.next else { panic!("{decision:?}") };
    let was = (record.id.as_str(), record.step, record.sends, record.target.vm_id.as_str(), record.task.clone());
    assert_eq!(was, ("op-1", Step::Create, 1, "5000", None));
    assert!(record.made_as.contains_key("image.checksum"));
}

#[test]
fn what_changed_in_the_meantime_is_looked_at_before_the_vm_is_made() {
    let closes = |change: &dyn Fn(&mut Facts, &mut Looks)| {
        let (mut facts, mut world) = (downloading(), with(ImageSight::Present));
        change(&mut facts, &mut world);
        matches!(settle(facts, &world).next, Next::Close(_))
    };
    assert!(!closes(&|_, _| {}));
    assert!(closes(&|facts, _| {
        facts.observed.presence =
            Presence::Present { at: place(), power: Power::Off, ownership: Ownership::Ours, uuid: "u".into() };
    }));
    assert!(closes(&|_, world| world.strangers = Some(vec!["5003".into()])));
    assert!(closes(&|_, world| {
        world.obstacles = Some(vec![Problem::new(WorkerReason::StorageMissing, "gone")]);
    }));
    assert!(closes(&|facts, _| facts.observed.conflict = Some(Problem::new(WorkerReason::VmNameInUse, "taken"))));
    let mut facts = downloading();
    facts.observed.presence = Presence::Absent { polls: 1 };
    let decision = settle(facts, &with(ImageSight::Present));
    assert!(matches!(decision.next, Next::Wait { poll: true, .. }), "absence is proven first: {decision:?}");
}

#[test]
fn nobody_waits_for_an_image_that_is_not_wanted_any_more() {
    let closes = |change: &dyn Fn(&mut Facts)| {
        let mut facts = downloading();
        facts.looks.task = Some(TaskState::Running);
        change(&mut facts);
        matches!(settle(facts, &with(ImageSight::Downloading)).next, Next::Close(_))
    };
    assert!(!closes(&|_| {}));
    assert!(closes(&|facts| facts.declared.deleting = true));
    assert!(closes(&|facts| facts.declared.spec_hash = "h2".into()));
    assert!(closes(&|facts| facts.declared.wanted.image = ImageWanted::Template("debian-worker".into())));
}

#[test]
fn a_download_that_fails_is_the_tests_result() {
    let mut facts = downloading();
    facts.looks.task = Some(TaskState::Failed { message: "404".into(), kind: FaultKind::Other });
    let decision = settle(facts.clone(), &with(ImageSight::Absent));
    let Next::Conclude { check: "deployed", message, .. } = &decision.next else { panic!("{decision:?}") };
    assert!(message.contains("could not be downloaded: 404"), "{message}");
    assert!(effect(&settle(facts.clone(), &with(ImageSight::Present))) == Some(Effect::Create), "somebody else had it");
    facts.remembered.last_test = Some(TestRecord {
        passed: false,
        spec_hash: "h1".into(),
        started: at(NOW - 60),
        finished: at(NOW),
        operation: "op-1".into(),
        message: message.clone(),
    });
    assert!(matches!(settle(facts, &with(ImageSight::Absent)).next, Next::Close(_)));
}

#[test]
fn a_download_that_does_not_end_is_the_tests_result() {
    let ends = |task: Option<TaskState>, image, age: u64| {
        let mut facts = downloading();
        facts.looks.task = task;
        facts.observed.step_age = Duration::from_secs(age);
        settle(facts, &with(image))
    };
    for (task, image) in [
        (Some(TaskState::Running), ImageSight::Absent),
        (Some(TaskState::Running), ImageSight::Downloading),
        (None, ImageSight::Downloading),
        (Some(TaskState::Lost), ImageSight::Downloading),
    ] {
        assert!(matches!(ends(task.clone(), image.clone(), 1799).next, Next::Wait { .. }), "{task:?}");
        let decision = ends(task.clone(), image, 1800);
        let Next::Conclude { check: "deployed", message, .. } = &decision.next else { panic!("{decision:?}") };
        assert!(message.contains("has not come for 30 min") && message.contains("on pve1"), "{message}");
        assert_eq!(message.contains("UPID:d"), task == Some(TaskState::Running), "{message}");
    }
    assert_eq!(effect(&ends(Some(TaskState::Running), ImageSight::Present, 1800)), Some(Effect::Create), "it came");
}

#[test]
fn a_download_whose_task_is_known_is_followed_closely_and_any_other_rarely() {
    let waits = |task| {
        let mut facts = downloading();
        facts.looks.task = task;
        let Next::Wait { after, .. } = settle(facts, &with(ImageSight::Downloading)).next else { panic!() };
        after
    };
    assert_eq!(waits(Some(TaskState::Running)), BUSY);
    assert_eq!(waits(None), Duration::from_secs(10));
    assert_eq!(waits(Some(TaskState::Lost)), Duration::from_secs(10));
}

#[test]
fn what_passes_or_was_lost_is_sent_again_a_few_times() {
    for task in [None, Some(TaskState::Lost), Some(TaskState::Failed { message: "busy".into(), kind: FaultKind::Busy })]
    {
        let mut facts = downloading();
        facts.looks.task.clone_from(&task);
        facts.observed.last_call = Some(Fault::new(FaultKind::UnknownOutcome, "no answer"));
        let decision = settle(facts.clone(), &with(ImageSight::Absent));
        let Next::Act { record, effect: Effect::Download } = &decision.next else { panic!("{task:?} {decision:?}") };
        assert_eq!(record.sends, 2);
        let Some(Ok(open)) = &mut facts.remembered.operation else { panic!() };
        open.sends = MOST_SENDS;
        let decision = settle(facts, &with(ImageSight::Absent));
        assert!(matches!(decision.next, Next::Conclude { .. }), "{task:?} {decision:?}");
    }
}

#[test]
fn a_call_that_arrived_twice_makes_one_vm() {
    let mut facts = by_url();
    facts.remembered.operation = Some(Ok(operation(Kind::Test, Step::Create)));
    facts.observed.last_call = Some(Fault::new(FaultKind::AlreadyExists, "VM 5000 already exists"));
    let locked = LiveVm { ownership: Ownership::Foreign, lock: Some("create".into()), ..vm(Power::Off) };
    let world = |made: bool| Looks { being_made: Some(made), ..well(Live::Found(locked.clone())) };
    let new_id = |facts: &Facts, made| effect(&settle(facts.clone(), &world(made))) == Some(Effect::Create);
    facts.observed.quiet_for = Duration::from_secs(1);
    assert!(!new_id(&facts, true), "its first arrival may be what makes the VM");
    assert!(!new_id(&facts, false), "and may not show as a task yet");
    facts.observed.quiet_for = Duration::from_secs(60);
    assert!(!new_id(&facts, true));
    assert!(new_id(&facts, false), "nobody makes it: the id is somebody else's");
}

#[test]
fn what_failed_for_another_worker_is_not_tried_at_once_unless_a_person_asks() {
    let world = with(ImageSight::Refused("the image could not be downloaded: 404".into()));
    let decision = settle(by_url(), &world);
    let Next::Conclude { message, .. } = &decision.next else { panic!("{decision:?}") };
    assert!(message.contains("404; that was tried for another worker"), "{message}");
    let mut asked = by_url();
    asked.declared.test_request = Some("now".into());
    assert_eq!(effect(&settle(asked, &world)), Some(Effect::Download));
}
