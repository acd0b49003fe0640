//! Lives of workers, told in stages, and what must hold in all of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use stevedore::api::{Worker, WorkerSession};
use stevedore::simulator::fault::LoggedCall;
use stevedore::simulator::kubernetes::Call;
use stevedore::simulator::scenario::Scenario;

use super::mishaps::{Arranged, Mishap, Place, arrange, is_ours};
use super::world::{World, in_virtual_time, is_tested, worker};
use crate::support::seed::{self, seed};

/// Longer, in virtual time, than any life takes, back-offs included.
pub(super) const LONG: Duration = Duration::from_secs(4 * 3600);

/// A life of one or two workers.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) scenario: Scenario,
    /// Merged into the Hypervisor.
    pub(super) hypervisor: Value,
    /// The workers that there are, at most.
    pub(super) workers: usize,
    /// VMs that are made or powered on at a time, at most.
    pub(super) busy: usize,
    /// The watch is late by up to this long.
    pub(super) stale: Duration,
    pub(super) stages: Vec<Stage>,
}

impl Story {
    /// Whether the record of what is made is never lost, so that what makes it is always found.
    fn knows_its_source(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage.until, Until::TestedOrOutdated))
    }
}

/// What people do, and what they wait for then.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) begin: Begin,
    pub(super) until: Until,
}

#[derive(Debug, Clone)]
pub(super) enum Begin {
    Create(Vec<Value>),
    Edit(Value),
    Delete,
}

#[derive(Debug, Clone)]
pub(super) enum Until {
    /// Every worker is declared and has no VM.
    Configured,
    /// The image is being downloaded, or was.
    Downloading,
    /// The VM is being made, or was made.
    Cloning,
    /// The VM is powered on, or was.
    Booting,
    /// Every worker passed the test of its present declaration and is off.
    Tested,
    /// Every worker is off, tested or not, and its VM has this option.
    Applied(&'static str, &'static str),
    /// The present declaration was tested, or takes another VM than the one that was made before it changed.
    TestedOrOutdated,
    /// The test that was asked for with this value was made.
    Asked(&'static str),
    /// Every session has succeeded, each task by one start, and every worker is off.
    Succeeded,
    /// No worker is left.
    Gone,
}

impl Story {
    /// Declared, deployed, tested, deleted.
    pub(super) fn plain() -> Self {
        Self {
            name: "deploy, test, delete",
            scenario: Scenario::default_demo(),
            hypervisor: json!({}),
            workers: 1,
            busy: 1,
            stale: Duration::ZERO,
            stages: vec![
                Stage { begin: Begin::Create(vec![worker("w1", &json!({}))]), until: Until::Tested },
                Stage { begin: Begin::Delete, until: Until::Gone },
            ],
        }
    }

    /// The same with packages that are old, and that ask for a reboot.
    pub(super) fn updated() -> Self {
        let old = json!({"name": "*", "updates": {"pending": 2, "reboot": true, "takes": 40}});
        let guests = vec![serde_json::from_value(old).unwrap()];
        let scenario = Scenario { guests, ..Scenario::default_demo() };
        Self { name: "deploy, update, reboot, test, delete", scenario, ..Self::plain() }
    }

    /// Declared, deployed, tested, edited, tested again, deleted.
    pub(super) fn whole() -> Self {
        let memory = json!({"spec": {"resources": {"memory": "7Gi"}}});
        let stages =
            vec![(Begin::Create(vec![worker("w1", &json!({}))]), Until::Tested), (Begin::Edit(memory), Until::Tested)];
        Self::of("deploy, test, edit, test, delete", stages)
    }

    /// The same with these stages before the deletion.
    pub(super) fn of(name: &'static str, stages: Vec<(Begin, Until)>) -> Self {
        let mut stages: Vec<Stage> = stages.into_iter().map(|(begin, until)| Stage { begin, until }).collect();
        stages.push(Stage { begin: Begin::Delete, until: Until::Gone });
        Self { name, stages, ..Self::plain() }
    }
}

impl Begin {
    pub(super) async fn begin(&self, world: &World) -> Result<(), String> {
        match self {
            Self::Create(workers) => {
                for worker in workers {
                    world.create(worker.clone()).await;
                }
            }
            Self::Edit(patch) => world.edit("w1", patch.clone()).await,
            Self::Delete => {
                for worker in world.all_workers() {
                    let deleted = world.workers().delete(&worker.name_any(), &DeleteParams::default()).await;
                    deleted.map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }
}

impl Until {
    pub(super) fn is_so(&self, world: &World) -> bool {
        let workers = world.all_workers();
        let all = |is: &dyn Fn(&Worker) -> bool| !workers.is_empty() && workers.iter().all(is);
        match self {
            Self::Configured => all(&|worker| phase(worker) == Some("Configured")),
            Self::Downloading => world.downloads() > 0,
            Self::Cloning => !world.ours().is_empty() || all(&is_tested),
            Self::Booting => world.running() > 0 || all(&is_tested),
            Self::Tested => all(&is_tested),
            Self::Applied(key, value) => {
                all(&|worker| phase(worker) == Some("ShutDown") && is_settled(worker))
                    && world.option_of_ours(key).as_deref() == Some(*value)
            }
            Self::TestedOrOutdated => {
                all(&|worker| is_tested(worker) || is_settled(worker) && has_reason(worker, "RedeployNeeded"))
            }
            Self::Asked(value) => all(&|worker| {
                let handled = worker.status.as_ref().and_then(|status| status.last_handled_test_request.as_deref());
                is_tested(worker) && handled == Some(*value)
            }),
            Self::Succeeded => {
                all(&|worker| phase(worker) == Some("ShutDown") && is_settled(worker)) && has_succeeded(world)
            }
            Self::Gone => workers.is_empty(),
        }
    }

    /// Whether the workers' VMs are off and complete now.
    fn is_at_rest(&self) -> bool {
        matches!(self, Self::Tested | Self::TestedOrOutdated | Self::Applied(..) | Self::Asked(_) | Self::Succeeded)
    }
}

fn phase(worker: &Worker) -> Option<&str> {
    worker.status.as_ref()?.phase.as_deref()
}

fn has_succeeded(world: &World) -> bool {
    let is_done = |session: &WorkerSession| {
        session.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Succeeded"))
    };
    let sessions = world.all_sessions();
    !sessions.is_empty() && sessions.iter().all(is_done)
}

/// What must hold of tasks at every moment: no attempt is begun twice, no task where no guest has failed either, and no
/// worker has more than it takes.
fn tasks_hold(world: &World) -> Result<(), String> {
    let starts = world.guests.starts();
    let mut by_task = BTreeMap::new();
    for (id, times) in &starts {
        *by_task.entry(&id.task).or_insert(0) += times;
    }
    if let Some((task, times)) = by_task.iter().find(|(_, times)| **times > 1) {
        return Err(format!("task {task} was begun {times} times: {starts:?}"));
    }
    for worker in world.all_workers() {
        let held = worker.status.as_ref().map_or(0, |status| status.assignments.len());
        if held > usize::try_from(worker.spec.max_concurrent_tasks).unwrap() {
            return Err(format!("{} holds {held} tasks", worker.name_any()));
        }
    }
    Ok(())
}

fn is_settled(worker: &Worker) -> bool {
    let status = worker.status.clone().unwrap_or_default();
    status.operation.is_none() && status.observed_generation == worker.metadata.generation
}

/// Whether one of the worker's conditions has this reason.
fn has_reason(worker: &Worker, reason: &str) -> bool {
    let conditions = worker.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.reason == reason)
}

/// What must hold at every moment; the text says what does not.
pub(super) fn invariants(world: &World, story: &Story, strangers: &BTreeMap<u32, String>) -> Result<(), String> {
    let ours = world.ours();
    if ours.len() > story.workers {
        return Err(format!("more VMs than workers: {:?}", ours.keys()));
    }
    if world.busy() > story.busy {
        return Err(format!("{} VMs are made or on at a time", world.busy()));
    }
    // Where a record was erased, a lock may look like an orphan's for a moment.
    if story.knows_its_source() && world.all_workers().iter().any(|worker| has_reason(worker, "OrphanLock")) {
        return Err("a person is told to unlock a VM that a task works on".to_owned());
    }
    tasks_hold(world)?;
    if let Some((operation, times)) = world.guests.updates().into_iter().find(|(_, times)| *times > 1) {
        return Err(format!("the update of {operation} was started {times} times"));
    }
    if world.strangers() != *strangers {
        return Err("a VM of somebody else was changed".to_owned());
    }
    Ok(())
}

/// Runs operators one after the other (each until it is killed) until `until`.
pub(super) async fn live(
    world: &World,
    story: &Story,
    arranged: &Arranged,
    strangers: &BTreeMap<u32, String>,
    until: &Until,
) -> Result<(), String> {
    let broken = Mutex::new(None);
    let watch = async |world: &World| {
        if let Err(text) = invariants(world, story, strangers) {
            *broken.lock().unwrap() = Some(text);
            return true;
        }
        until.is_so(world)
    };
    for _ in 0..6 {
        let mut operator = world.operator().with_stale_cache(story.stale);
        let finished = tokio::select! {
            finished = operator.run(LONG, &watch) => finished,
            () = arranged.kill.notified() => continue,
        };
        if let Some(text) = broken.lock().unwrap().take() {
            return Err(text);
        }
        if !finished {
            let statuses: Vec<_> = world.all_workers().into_iter().map(|worker| worker.status).collect();
            let tasks: Vec<_> = world.all_tasks().into_iter().map(|task| task.status).collect();
            return Err(format!("not {until:?}: {statuses:?}\n{:?}\n{tasks:?}", world.ours()));
        }
        return Ok(());
    }
    Err("killed more often than was arranged".to_owned())
}

/// One life, with what `arrange` sets up on the way.
pub(super) async fn life(seed: u64, story: &Story, arranged: &Arranged, world: &World) -> Result<(), String> {
    let strangers = world.strangers();
    for stage in &story.stages {
        stage.begin.begin(world).await?;
        live(world, story, arranged, &strangers, &stage.until).await?;
        if stage.until.is_at_rest() && world.guests.cut_off() > 0 {
            return Err(format!("seed {seed}, after {stage:?}: a guest went down in the middle of an update"));
        }
        if stage.until.is_at_rest() && (world.ours().len() != story.workers || world.busy() > 0) {
            return Err(format!("seed {seed}, after {stage:?}: {:?}", world.ours()));
        }
    }
    if world.ours().is_empty() { Ok(()) } else { Err(format!("an orphan is left: {:?}", world.ours())) }
}

/// A world for a story.
pub(super) async fn world_of(seed: u64, story: &Story) -> World {
    World::with(seed, story.scenario.clone(), story.hypervisor.clone()).await
}

/// One life with one mishap.
async fn disturbed(seed: u64, story: &Story, place: Place, mishap: Mishap) -> Result<(), String> {
    let world = world_of(seed, story).await;
    let arranged = arrange(&world, place, mishap);
    life(seed, story, &arranged, &world).await?;
    let struck = arranged.struck.load(Ordering::Relaxed);
    if struck == 1 { Ok(()) } else { Err(format!("the mishap struck {struck} times")) }
}

/// The effects and the writes of an undisturbed life.
pub(super) fn undisturbed(story: &Story) -> (Vec<LoggedCall>, Vec<Call>) {
    in_virtual_time(async {
        let world = world_of(seed(), story).await;
        if let Err(text) = life(seed(), story, &Arranged::default(), &world).await {
            panic!("seed {}, {}: {text}", seed(), story.name);
        }
        let writes = world.kube.writes().into_iter().map(|write| write.call).filter(is_ours).collect();
        (world.effects(), writes)
    })
}

/// Every mishap at every place.
fn matrix(story: &Story, places: impl Iterator<Item = Place>, mishaps: &[Mishap]) {
    let seed = seed();
    let (mut runs, mut violations) = (0, Vec::new());
    for place in places {
        for mishap in mishaps {
            runs += 1;
            if let Err(text) = in_virtual_time(disturbed(seed, story, place, *mishap)) {
                violations.push(format!("{place:?} {mishap:?}: {text}"));
            }
        }
    }
    tell(story.name, runs, &violations);
}

/// Every mishap at every effect of the story.
pub(super) fn at_each_effect(story: &Story, mishaps: &[Mishap]) {
    let (effects, _) = undisturbed(story);
    matrix(story, effects.iter().map(|call| Place::Hypervisor(call.number)), mishaps);
}

/// Every mishap at every write to Kubernetes of the story.
pub(super) fn at_each_write(story: &Story, mishaps: &[Mishap]) {
    at_some_writes(story, mishaps, |_| true);
}

/// The same at those effects that happen inside a guest. There are this many of them.
pub(super) fn at_each_effect_inside(story: &Story, mishaps: &[Mishap], count: usize) {
    let (effects, _) = undisturbed(story);
    let inside: Vec<_> = effects.iter().filter(|call| call.path.contains("/agent/")).collect();
    assert_eq!(inside.len(), count, "{effects:?}");
    matrix(story, inside.iter().map(|call| Place::Hypervisor(call.number)), mishaps);
}

/// The same at those writes that are wanted, of which there must be some.
pub(super) fn at_some_writes(story: &Story, mishaps: &[Mishap], wanted: impl Fn(&Call) -> bool) {
    let (_, writes) = undisturbed(story);
    let places: Vec<u64> = (1..).zip(&writes).filter(|(_, call)| wanted(call)).map(|(number, _)| number).collect();
    assert!(!places.is_empty(), "{writes:?}");
    matrix(story, places.into_iter().map(Place::Kubernetes), mishaps);
}

/// Prints the figures and fails if there was a violation.
pub(super) fn tell(name: &str, runs: usize, violations: &[String]) {
    seed::tell(&format!("{name}: {runs} lives, {} violations", violations.len()));
    assert!(violations.is_empty(), "seed {}, {name}\n{}", seed(), violations.join("\n"));
}
