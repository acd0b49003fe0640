//! Every effect of deploy, test and delete, met by every mishap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use stevedore::api::Worker;
use stevedore::simulator::fault::{Effect, LoggedCall, Moment};
use stevedore::simulator::kubernetes::{Call, Fault};
use stevedore::simulator::scenario::Scenario;
use tokio::sync::Notify;

use super::world::{NAMESPACE, World};

/// Longer, in virtual time, than any life takes, back-offs included.
const LONG: Duration = Duration::from_secs(4 * 3600);
/// Never, in virtual time.
const FOR_EVER: f64 = 1e8;

/// What happens at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    /// The operator is killed before the call has its effect.
    KilledBefore,
    /// The operator is killed after the call had its effect, before the answer.
    KilledAfter,
    /// The call never arrives.
    NeverArrives,
    /// The answer is lost.
    AnswerLost,
    /// The answer comes after the operator gave up waiting.
    AnswerLate,
    /// The call arrives after the operator gave up waiting.
    CallLate,
    /// The call arrives twice.
    Doubled,
    /// A proxy gives up although the call goes on.
    ProxyGivesUp,
}

const AT_HYPERVISOR: [Mishap; 8] = [
    Mishap::KilledBefore,
    Mishap::KilledAfter,
    Mishap::NeverArrives,
    Mishap::AnswerLost,
    Mishap::AnswerLate,
    Mishap::CallLate,
    Mishap::Doubled,
    Mishap::ProxyGivesUp,
];

const AT_KUBERNETES: [Mishap; 5] =
    [Mishap::KilledBefore, Mishap::KilledAfter, Mishap::NeverArrives, Mishap::AnswerLost, Mishap::CallLate];

/// Where the mishap strikes.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The n-th changing call to the hypervisor.
    Hypervisor(u64),
    /// The n-th write to Kubernetes.
    Kubernetes(u64),
    /// Nowhere.
    Nowhere,
}

fn worker() -> serde_json::Value {
    json!({
        "apiVersion": "stevedore.dev/v1alpha1", "kind": "Worker",
        "metadata": {"name": "w1", "namespace": NAMESPACE},
        "spec": {
            "hypervisorRef": {"name": "lab"}, "proxmox": {"host": "pve1", "storage": "local-lvm"},
            "image": {"template": "debian-worker"}, "networks": [{"name": "lan", "bridge": "vmbr0"}],
            "test": {"policy": "OnChange"},
        },
    })
}

/// Sets the mishap up; the answer rings when the operator is to be killed.
fn arrange(world: &World, place: Place, mishap: Mishap) -> Arc<Notify> {
    let kill = Arc::new(Notify::new());
    match place {
        Place::Nowhere => {}
        Place::Hypervisor(nth) => arrange_at_hypervisor(world, nth, mishap, &kill),
        Place::Kubernetes(nth) => arrange_at_kubernetes(world, nth, mishap, &kill),
    }
    kill
}

fn arrange_at_hypervisor(world: &World, nth: u64, mishap: Mishap, kill: &Arc<Notify>) {
    let proxy = stevedore::simulator::fault::Failure { status: 596, reason: "Connection timed out".into() };
    let effect = match mishap {
        Mishap::KilledBefore => Effect::Delay(FOR_EVER),
        Mishap::KilledAfter => Effect::DelayAnswer(FOR_EVER),
        Mishap::NeverArrives => Effect::DropBefore,
        Mishap::AnswerLost => Effect::DropAfter,
        Mishap::AnswerLate => Effect::DelayAnswer(50.0),
        Mishap::CallLate => Effect::Delay(50.0),
        Mishap::Doubled => Effect::Duplicate,
        Mishap::ProxyGivesUp => Effect::FailAfter(proxy),
    };
    let killing = matches!(mishap, Mishap::KilledBefore | Mishap::KilledAfter).then(|| Arc::clone(kill));
    world.pve.faults().set_hook(Arc::new(move |moment: Moment, call: &LoggedCall| {
        if call.number != nth || !is_effect(&call.method, &call.path) || moment != Moment::Before {
            return None;
        }
        if let Some(kill) = &killing {
            kill.notify_one();
        }
        Some(effect.clone())
    }));
}

/// Running a script in a guest changes nothing at the hypervisor.
fn is_effect(method: &str, path: &str) -> bool {
    method != "GET" && !path.contains("/agent/")
}

fn arrange_at_kubernetes(world: &World, nth: u64, mishap: Mishap, kill: &Arc<Notify>) {
    let fault = match mishap {
        Mishap::KilledBefore => Fault::Hang,
        Mishap::KilledAfter => Fault::Swallow,
        Mishap::NeverArrives => Fault::Refuse,
        Mishap::CallLate => Fault::Late(Duration::from_secs(15)),
        _ => Fault::LoseAnswer,
    };
    let killing = matches!(mishap, Mishap::KilledBefore | Mishap::KilledAfter).then(|| Arc::clone(kill));
    let seen = AtomicU64::new(0);
    world.kube.intercept(move |call| {
        if !is_ours(call) || seen.fetch_add(1, Ordering::Relaxed) + 1 != nth {
            return Fault::None;
        }
        if let Some(kill) = &killing {
            kill.notify_one();
        }
        fault
    });
}

fn is_ours(call: &Call) -> bool {
    call.user_agent == "stevedore" && call.verb.is_write()
}

/// What must hold at every moment; the text says what does not.
fn invariants(world: &World, strangers: &BTreeMap<u32, String>) -> Result<(), String> {
    let ours = world.ours();
    if ours.len() > 1 {
        return Err(format!("more than one VM: {:?}", ours.keys()));
    }
    if world.strangers() != *strangers {
        return Err("a VM of somebody else was changed".to_owned());
    }
    Ok(())
}

fn is_tested(worker: &Worker) -> bool {
    let status = worker.status.clone().unwrap_or_default();
    status.phase.as_deref() == Some("ShutDown")
        && status.operation.is_none()
        && status.last_test.is_some_and(|test| test.result == "Passed")
}

/// Runs operators one after the other (each until it is killed) until `done`.
async fn live(
    world: &World,
    kill: &Notify,
    strangers: &BTreeMap<u32, String>,
    done: impl AsyncFn(&World) -> bool,
) -> Result<(), String> {
    let broken = std::sync::Mutex::new(None);
    let watch = async |world: &World| {
        if let Err(text) = invariants(world, strangers) {
            *broken.lock().unwrap() = Some(text);
            return true;
        }
        done(world).await
    };
    for _ in 0..3 {
        let mut operator = world.operator();
        let finished = tokio::select! {
            finished = operator.run(LONG, &watch) => finished,
            () = kill.notified() => continue,
        };
        if let Some(text) = broken.lock().unwrap().take() {
            return Err(text);
        }
        if !finished {
            let worker = world.worker("w1").await;
            return Err(format!("not done: {:?}", worker.map(|worker| worker.status)));
        }
        return Ok(());
    }
    Err("killed more often than was arranged".to_owned())
}

/// One life: declared, deployed, tested, deleted, with one mishap on the way.
async fn life(seed: u64, place: Place, mishap: Mishap) -> Result<World, String> {
    let world = World::new(seed, Scenario::default_demo()).await;
    let strangers = world.strangers();
    let kill = arrange(&world, place, mishap);
    world.create(worker()).await;
    live(&world, &kill, &strangers, async |world| world.worker("w1").await.as_ref().is_some_and(is_tested)).await?;
    let ours = world.ours();
    if ours.len() != 1 || ours.values().any(|vm| vm.contains("Ok(true)")) {
        return Err(format!("after the test: {ours:?}"));
    }
    world.workers().delete("w1", &DeleteParams::default()).await.map_err(|error| error.to_string())?;
    live(&world, &kill, &strangers, async |world| world.worker("w1").await.is_none()).await?;
    if !world.ours().is_empty() {
        return Err(format!("an orphan is left: {:?}", world.ours()));
    }
    Ok(world)
}

fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(work)
}

/// How many effects and writes an undisturbed life has.
fn count(seed: u64) -> (Vec<LoggedCall>, u64) {
    in_virtual_time(async {
        let world = life(seed, Place::Nowhere, Mishap::Doubled).await.unwrap();
        let changes = world.pve.faults().changes().into_iter();
        let writes = world.kube.writes().iter().filter(|write| is_ours(&write.call)).count();
        (changes.filter(|call| is_effect(&call.method, &call.path)).collect(), writes as u64)
    })
}

fn matrix(places: impl Iterator<Item = Place>, mishaps: &[Mishap]) {
    let seed = seed();
    let (mut runs, mut violations) = (0, Vec::new());
    for place in places {
        for mishap in mishaps {
            runs += 1;
            if let Err(text) = in_virtual_time(life(seed, place, *mishap)) {
                violations.push(format!("{place:?} {mishap:?}: {text}"));
            }
        }
    }
    println!("seed {seed}: {runs} lives, {} violations", violations.len());
    assert!(violations.is_empty(), "seed {seed}\n{}", violations.join("\n"));
}

/// `STEVEDORE_SEED` replays a run.
fn seed() -> u64 {
    std::env::var("STEVEDORE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn an_undisturbed_life_has_few_effects_and_writes() {
    let (effects, writes) = count(seed());
    let calls: Vec<String> = effects.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    println!("one life: {} changing calls, {writes} writes to Kubernetes\n{}", calls.len(), calls.join("\n"));
    assert!(calls.len() >= 6, "clone, configure, grow, start, shut down, destroy: {calls:?}");
}

#[test]
fn every_effect_on_the_hypervisor_survives_every_mishap() {
    let (effects, _) = count(seed());
    matrix(effects.iter().map(|call| Place::Hypervisor(call.number)), &AT_HYPERVISOR);
}

#[test]
fn every_write_to_kubernetes_survives_every_mishap() {
    let (_, writes) = count(seed());
    matrix((1..=writes).map(Place::Kubernetes), &AT_KUBERNETES);
}
