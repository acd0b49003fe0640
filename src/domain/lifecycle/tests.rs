//! A worker is led along every row of the table by the decisions of `plan`, in a world that does what it is told.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::domain::attempt::{Attempt, AttemptState, Sight};
use crate::domain::attend::{Act, Step};
use crate::domain::claims::{Claim, Held, OpenTask, TaskSight};
use crate::domain::identity::{Mark, Ownership};
use crate::domain::observation::{
    Abandon, Budget, Declared, Facts, HypervisorState, ImageSight, Inside, LaunchRecord, Live, LiveVm, Looks, NewId,
    Observed, Presence, Remembered, TestRecord, UpdateLook, UpdatesWanted,
};
use crate::domain::operation::Operation;
use crate::domain::phase::{PhaseFacts, phase};
use crate::domain::plan::{AfterChecks, Decision, Look, Next, VmReport, plan};
use crate::domain::update::{PackageManager, UpdateEnd, UpdateResult, UpdateSight, UpdateState};
use crate::hypervisor::vm::image::ImageWanted;
use crate::hypervisor::vm::{Difference, Power, Takes, TaskHandle, TaskState, VmRef, VmWanted};

/// Whether the guest answers, and what its checks say.
#[derive(Clone, Copy, PartialEq)]
enum Guest {
    Silent,
    Fit,
    Unfit,
}

/// A worker, its VM, and what the status remembers.
struct World {
    facts: Facts,
    vm: Option<LiveVm>,
    guest: Guest,
    /// Whether a changed configuration takes its time.
    slow: bool,
    phase: Option<String>,
    /// Whether the status knows of a VM, and whether it is on.
    known: Option<bool>,
    effects: Vec<Effect>,
    /// How many operations have ended.
    operations: u32,
    /// How often the guest was booted.
    boots: u32,
    /// The boot in which its packages were updated.
    updated: Option<u32>,
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn wanted() -> VmWanted {
    let mark = Mark {
        installation: "inst".into(),
        worker_uid: "uid-1".into(),
        worker: "ns/w1".into(),
        operation: String::new(),
        vm_id: String::new(),
    };
    VmWanted {
        host: "pve1".into(),
        storage: "local-lvm".into(),
        image: ImageWanted::Template("debian-worker".into()),
        name: "w1".into(),
        description: String::new(),
        mark,
        cpus: 6,
        memory_mib: 6144,
        disk_gib: 100,
        networks: Vec::new(),
        dns_servers: Vec::new(),
        search_domains: Vec::new(),
        user: "stevedore".into(),
        authorized_keys: Vec::new(),
    }
}

fn nothing_observed() -> Observed {
    Observed {
        hypervisor: HypervisorState::Ready,
        away_for: Duration::ZERO,
        hypervisor_paused: false,
        presence: Presence::Absent { polls: 2 },
        idle_for: Duration::ZERO,
        needed: false,
        undecided: false,
        host_refuses: None,
        dark_for: Duration::ZERO,
        conflict: None,
        step_age: Duration::ZERO,
        quiet_for: Duration::from_secs(600),
        calls: 0,
        hold: Duration::ZERO,
        settling: None,
        checked: false,
        last_call: None,
        fresh_operation_id: "op-1".into(),
        guest_timeout: Duration::from_secs(300),
        call_deadline: Duration::from_secs(35),
    }
}

fn difference(takes: Takes) -> Difference {
    Difference { field: "resources".into(), from: "1".into(), to: "2".into(), takes }
}

impl World {
    /// A Worker that nobody has looked at yet.
    fn new() -> Self {
        let declared = Declared {
            wanted: wanted(),
            spec_hash: "h1".into(),
            test_on_change: false,
            test_request: None,
            grace: Duration::from_secs(120),
            enabled: true,
            slots: 4,
            max_age: Duration::ZERO,
            delay: Duration::ZERO,
            updates: None,
            paused: false,
            deleting: false,
            has_finalizer: false,
            abandon: Abandon::No,
        };
        Self {
            facts: Facts {
                declared,
                remembered: Remembered::default(),
                observed: nothing_observed(),
                looks: Looks::default(),
                now: now(),
            },
            vm: None,
            guest: Guest::Silent,
            slow: false,
            phase: None,
            known: None,
            effects: Vec::new(),
            operations: 0,
            boots: 0,
            updated: None,
        }
    }

    /// A worker that stands in this state when `event` happens.
    fn at(state: State, event: Event) -> Self {
        let path: &[Event] = match (state, event) {
            (State::New, _) => &[],
            (CONFIGURED, _) => &[Event::Declared],
            (TESTING, Event::Applied) => &[Event::Declared, Event::TestWanted, Event::ChecksPassed, Event::Edited],
            (TESTING, Event::Launched) => &[Event::Declared, Event::TaskGiven],
            (TESTING, _) => &[Event::Declared, Event::TestWanted],
            (SHUT_DOWN, _) => &[Event::Declared, Event::TestWanted, Event::ChecksPassed],
            (IDLE, _) => &[Event::Declared, Event::TestWanted, Event::ChecksPassed, Event::PoweredOn],
            (WORKING, _) => &[Event::Declared, Event::TaskGiven, Event::Launched],
            (state, _) => panic!("nothing leads to {}", state.name()),
        };
        let mut world = Self::new();
        for event in path {
            world.happens(*event);
        }
        world
    }

    /// Lets it happen, and the operator answer it until it waits or rests.
    fn happens(&mut self, event: Event) {
        self.effects.clear();
        let was_on = self.vm.as_ref().is_some_and(|vm| vm.power == Power::On);
        match event {
            Event::Declared => {}
            Event::TestWanted => {
                let request = self.facts.declared.test_request.as_ref().map_or("1".into(), |old| format!("{old}1"));
                self.facts.declared.test_request = Some(request);
            }
            Event::TaskGiven => {
                let number = self.facts.remembered.claims.len();
                self.facts.remembered.claims.push(given(number));
            }
            Event::LastTaskEnded => self.facts.remembered.claims.clear(),
            Event::GuestDead => self.guest = Guest::Silent,
            Event::ChecksPassed | Event::Launched => self.guest = Guest::Fit,
            Event::CheckFailed => self.guest = Guest::Unfit,
            Event::PackagesOld => {
                self.guest = Guest::Fit;
                let updates = UpdatesWanted { failure_fails: false, timeout: Duration::from_secs(1800) };
                self.facts.declared.updates = Some(updates);
            }
            Event::GuestSilent => self.facts.observed.step_age = Duration::from_secs(301),
            Event::Edited => {
                self.facts.declared.spec_hash.push('x');
                // No test is to follow: a request that still waits is taken back with the edit.
                self.facts.declared.test_request = self.facts.remembered.handled_request.clone();
                self.slow = !was_on;
                if let Some(vm) = &mut self.vm {
                    vm.differences.push(difference(Takes::Configure));
                }
            }
            Event::Applied => {
                self.slow = false;
                self.change(|vm| vm.differences.clear());
            }
            Event::PoweredOn => self.power(Power::On),
            Event::PoweredOff => self.power(Power::Off),
            Event::GraceOver => self.facts.observed.idle_for = self.facts.declared.grace,
            Event::Vanished => {
                self.vm = None;
                self.facts.declared.test_request = self.facts.remembered.handled_request.clone();
            }
            Event::Deleted => self.facts.declared.deleting = true,
        }
        self.looks_fade();
        self.settle();
    }

    fn power(&mut self, power: Power) {
        self.boots += u32::from(power == Power::On);
        self.vm.as_mut().unwrap().power = power;
    }

    /// Everything that was seen is seen anew; the inventory keeps up.
    fn looks_fade(&mut self) {
        let before = &self.facts.observed;
        self.facts.observed = Observed {
            idle_for: before.idle_for,
            dark_for: before.dark_for,
            step_age: before.step_age,
            checked: before.checked,
            fresh_operation_id: format!("op-{}", self.operations),
            presence: match &self.vm {
                None => Presence::Absent { polls: 2 },
                Some(vm) => Presence::Present {
                    at: vm.at.clone(),
                    power: vm.power,
                    ownership: vm.ownership.clone(),
                    uuid: vm.uuid.clone(),
                },
            },
            ..nothing_observed()
        };
        let task = self.facts.looks.task.take();
        self.facts.looks = Looks::default();
        self.facts.looks.task =
            if self.slow { task } else { task.map(|_| TaskState::Succeeded { warnings: Vec::new() }) };
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let decision = plan(&self.facts);
            self.tell(&decision);
            match decision.next {
                Next::Look(look) => self.look(&look),
                Next::Act { record, effect } => self.act(*record, effect),
                Next::Check { after: AfterChecks::Update, .. } if self.guest == Guest::Fit => {
                    self.facts.observed.checked = true;
                }
                Next::Check { operation, .. } => self.tested(&operation, self.guest == Guest::Fit),
                Next::Conclude { operation, .. } => self.tested(&operation, false),
                Next::Close(_) => {
                    self.facts.remembered.operation = None;
                    self.operations += 1;
                    self.looks_fade();
                }
                Next::Release { abandoned } => {
                    assert!(!abandoned);
                    self.facts.declared.has_finalizer = false;
                    self.looks_fade();
                }
                Next::Attend(steps) => self.attend(&steps),
                Next::Forget(_) => self.facts.looks.gone = Some(BTreeSet::new()),
                Next::Launched { operation, boot_id, .. } => {
                    self.facts.remembered.launch = Some(LaunchRecord { operation: operation.id, boot_id });
                }
                Next::Wait { .. } | Next::Rest => return,
            }
        }
        panic!("no end: {:?}", plan(&self.facts).next);
    }

    /// What the status says then.
    fn tell(&mut self, decision: &Decision) {
        let report = &decision.report;
        match &report.vm {
            VmReport::Keep => {}
            VmReport::Gone => {
                self.known = None;
                self.facts.remembered.applied = None;
            }
            VmReport::Known(vm) | VmReport::Making(vm) => self.known = Some(vm.power == Power::On),
        }
        if report.off {
            self.facts.remembered.launch = None;
        }
        if report.fits {
            self.facts.remembered.applied = Some(self.facts.declared.spec_hash.clone());
        }
        let facts = PhaseFacts {
            before: self.phase.as_deref(),
            unknown: report.unknown,
            deleting: self.facts.declared.deleting,
            under_test: report.under_test,
            claims: self.facts.remembered.claims.len(),
            vm: self.known,
        };
        self.phase = phase(facts).map(ToOwned::to_owned);
    }

    fn look(&mut self, look: &Look) {
        let (inside, update) = (self.inside(), self.update());
        let looks = &mut self.facts.looks;
        match look {
            Look::Vm(at) => {
                let found = self.vm.clone().filter(|vm| vm.at == *at);
                looks.live = Some(found.map_or(Live::NotThere, Live::Found));
            }
            Look::Image => looks.image = Some(ImageSight::Present),
            Look::BeingMade => looks.being_made = Some(false),
            Look::Obstacles(_) => looks.obstacles = Some(Vec::new()),
            Look::Strangers => looks.strangers = Some(Vec::new()),
            Look::NewId => looks.new_id = Some(NewId::Reserved("5000".into())),
            Look::Permit => looks.permit = Some(true),
            Look::Budget(_) => looks.budget = Some(Budget::Granted),
            Look::Guest(_) => looks.guest = Some(self.guest != Guest::Silent),
            Look::Inside(_) => looks.inside = Some(inside),
            Look::Update(_) => looks.update = Some(update),
            Look::Gone(_) => looks.gone = Some(BTreeSet::new()),
        }
    }

    /// What the guest tells of its update, which asks for a reboot.
    fn update(&self) -> UpdateLook {
        let boot = |number: u32| format!("boot-{number}");
        let end = |number| UpdateEnd {
            result: UpdateResult::Done,
            manager: Some(PackageManager::Apt),
            packages: 1,
            pending: 0,
            reboot_needed: true,
            boot_id: boot(number),
            finished_ago: Duration::ZERO,
        };
        let state = self.updated.map_or(UpdateState::NotStarted, |number| UpdateState::Ended(end(number)));
        UpdateLook::Told(UpdateSight { boot_id: boot(self.boots), state })
    }

    /// What the guest tells of its tasks: as many run as say so.
    fn inside(&self) -> Inside {
        if self.guest == Guest::Silent {
            return Inside::Silent(Duration::from_secs(3600));
        }
        let running = |held: &&Held| matches!(&held.task, TaskSight::Open(task) if task.begun);
        let attempt =
            |held: &Held| Attempt { id: held.claim.attempt_id(), age: Duration::ZERO, state: AttemptState::Running };
        let attempts = self.facts.remembered.claims.iter().filter(running).map(attempt).collect();
        Inside::Told(Sight { boot_id: format!("boot-{}", self.boots), attempts, strays: Vec::new() })
    }

    fn attend(&mut self, steps: &[Step]) {
        for step in steps {
            let claims = &mut self.facts.remembered.claims;
            match &step.act {
                Act::Start => {
                    for held in claims.iter_mut().filter(|held| held.claim == step.claim) {
                        if let TaskSight::Open(task) = &mut held.task {
                            task.begun = true;
                        }
                    }
                }
                Act::Finish(_) | Act::Requeue(_) | Act::Release => claims.retain(|held| held.claim != step.claim),
                other => panic!("{other:?}"),
            }
        }
        self.looks_fade();
    }

    /// The record is written, then the effect does what it says.
    fn act(&mut self, record: Operation, effect: Effect) {
        self.effects.push(effect);
        match effect {
            Effect::Download => {}
            Effect::Create => self.vm = Some(made(&record)),
            Effect::Configure if self.slow => {}
            Effect::Configure => self.change(|vm| {
                vm.ownership = Ownership::Ours;
                vm.differences.retain(|difference| difference.takes == Takes::Grow);
            }),
            Effect::GrowDisk => self.change(|vm| vm.differences.clear()),
            Effect::Start => {
                self.guest = Guest::Silent;
                self.power(Power::On);
            }
            Effect::Update => self.updated = Some(self.boots),
            Effect::Reboot => {
                self.guest = Guest::Silent;
                self.boots += 1;
            }
            Effect::ShutDown | Effect::PowerOff => self.power(Power::Off),
            Effect::Destroy => self.vm = None,
        }
        self.facts.declared.has_finalizer = true;
        self.facts.remembered.operation = Some(Ok(Operation { task: Some(TaskHandle("UPID".into())), ..record }));
        self.facts.observed.step_age = Duration::ZERO;
        self.facts.looks.task = Some(TaskState::Running);
        self.looks_fade();
    }

    fn change(&mut self, change: impl FnOnce(&mut LiveVm)) {
        change(self.vm.as_mut().unwrap());
    }

    fn tested(&mut self, operation: &Operation, passed: bool) {
        self.facts.remembered.last_test = Some(TestRecord {
            passed,
            spec_hash: operation.spec_hash.clone(),
            started: operation.since,
            finished: now(),
            operation: operation.id.clone(),
            message: String::new(),
        });
        self.facts.remembered.handled_request.clone_from(&self.facts.declared.test_request);
    }

    fn state(&self) -> State {
        if self.facts.declared.deleting && !self.facts.declared.has_finalizer {
            assert!(self.vm.is_none(), "a VM was left behind");
            return State::Gone;
        }
        State::In(Phase::parse(self.phase.as_deref().unwrap()).unwrap())
    }
}

/// A slot that a task has just been given, which has not begun.
fn given(number: usize) -> Held {
    let task = OpenTask { begun: false, command: true, ending: None, retries_left: false, was_lost: false };
    let claim = Claim { task: format!("s-{number}"), uid: format!("a-{number}"), session: "s".into(), attempt: 1 };
    Held { claim, listed: true, task: TaskSight::Open(task) }
}

/// A VM as it is when it has just been made: not configured, and its disk as large as the template's.
fn made(record: &Operation) -> LiveVm {
    LiveVm {
        at: VmRef { host: record.target.host.clone(), id: record.target.vm_id.clone() },
        ownership: Ownership::Unfinished { operation: record.id.clone() },
        power: Power::Off,
        lock: None,
        template: false,
        protected: false,
        differences: vec![difference(Takes::Configure), difference(Takes::Grow)],
        uuid: record.target.uuid.clone(),
        disk_bytes: None,
    }
}

#[test]
fn every_row_is_what_plan_decides() {
    let mut wrong = Vec::new();
    for row in TRANSITIONS {
        let mut world = World::at(row.state, row.event);
        if row.state != State::New {
            assert_eq!(world.state(), row.state, "the way to {} / {} is broken", row.state.name(), row.event.name());
        }
        world.happens(row.event);
        if (world.state(), world.effects.as_slice()) != (row.next, row.effects) {
            let (from, event) = (row.state.name(), row.event.name());
            wrong.push(format!("{from}, {event}: {} with {:?}", world.state().name(), world.effects));
        }
    }
    assert!(wrong.is_empty(), "plan leads elsewhere:\n{}", wrong.join("\n"));
}

#[test]
fn no_row_is_there_twice() {
    for (place, row) in TRANSITIONS.iter().enumerate() {
        assert!(
            TRANSITIONS[..place].iter().all(|other| (other.state, other.event) != (row.state, row.event)),
            "{row:?}"
        );
    }
}
