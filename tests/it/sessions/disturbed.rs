//! The operator is killed, and its calls are lost, late and doubled, at every single write of a session's life; and what its
//! watches show comes late.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use stevedore::api::WorkerSession;
use stevedore::simulator::kubernetes::Verb;

use super::lab::{Lab, of, session};
use crate::crash::mishaps::{Arranged, MISHAPS, Mishap, Place, arrange, is_ours};
use crate::crash::world::{World, in_virtual_time};
use crate::support::seed::{self, seed};

/// Longer, in virtual time, than any life takes, back-offs included.
const LONG: Duration = Duration::from_secs(4 * 3600);

/// Who sees to it that a session goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Goes {
    /// Nobody: its tasks end, and its time comes.
    ByItself,
    /// A person, as soon as all tasks are made.
    Deleted,
}

/// A VM that waits for a worker until it is too late, one that is not there, one that is named twice.
fn night() -> Value {
    let patch = json!({"spec": {"startDeadline": "2m", "ttlAfterFinished": "30s"}});
    session("night", &json!([{"id": "101"}, {"id": "999"}, {"name": "files"}, {"id": "102"}]), &patch)
}

/// How often each task was really made.
fn made(world: &World) -> BTreeMap<String, usize> {
    let mut made = BTreeMap::new();
    for write in world.kube.writes().into_iter().filter(|write| write.changed) {
        if write.call.verb == Verb::Create && write.call.target.resource == "workertasks" {
            let name = write.call.body["metadata"]["name"].as_str().unwrap().to_owned();
            *made.entry(name).or_default() += 1;
        }
    }
    made
}

/// What the session and its tasks said when it was over.
#[derive(Debug, Default, PartialEq)]
struct End {
    phase: String,
    counts: [i32; 3],
    tasks: Vec<(String, String)>,
}

fn end(world: &World) -> Option<End> {
    let status = world.all_sessions().into_iter().find_map(|session| session.status)?;
    status.finished_at.as_ref()?;
    let counts = status.tasks.unwrap_or_default();
    let said = |task: &stevedore::api::WorkerTask| {
        let status = task.status.clone().unwrap_or_default();
        (status.phase.unwrap_or_default(), status.reason.unwrap_or_default())
    };
    Some(End {
        phase: status.phase.unwrap_or_default(),
        counts: [counts.succeeded, counts.failed, counts.cancelled],
        tasks: of(world, "night").iter().map(said).collect(),
    })
}

fn expected() -> End {
    let failed = |reason: &str| ("Failed".to_owned(), reason.to_owned());
    End {
        phase: "Failed".into(),
        counts: [0, 4, 0],
        tasks: vec![failed("DeadlineExceeded"), failed("NotFound"), failed("Duplicate"), failed("DeadlineExceeded")],
    }
}

/// One life, by operators one after the other, each until it is killed.
async fn life(world: &World, goes: Goes, arranged: &Arranged, stale: Duration) -> Result<(), String> {
    world.create(night()).await;
    let (seen, deleted) = (Mutex::new(None), AtomicBool::new(goes == Goes::ByItself));
    let gone = async |world: &World| {
        if let Some(end) = end(world) {
            seen.lock().unwrap().get_or_insert(end);
        }
        let created = |one: WorkerSession| one.status.is_some_and(|status| status.tasks_created == Some(true));
        if !deleted.load(Ordering::Relaxed) && world.all_sessions().into_iter().any(created) {
            deleted.store(true, Ordering::Relaxed);
            world.sessions().delete("night", &DeleteParams::default()).await.unwrap();
        }
        world.all_sessions().is_empty() && world.all_tasks().is_empty()
    };
    for _ in 0..6 {
        let mut operator = world.operator().with_stale_cache(stale);
        let finished = tokio::select! {
            finished = operator.run(LONG, &gone) => finished,
            () = arranged.kill.notified() => continue,
        };
        if !finished {
            return Err(format!("it is still there: {:?}\n{:?}", world.all_sessions(), of(world, "night")));
        }
        let seen = seen.lock().unwrap().take().unwrap_or_default();
        if goes == Goes::ByItself && seen != expected() {
            return Err(format!("it ended as {seen:?}"));
        }
        let made = made(world);
        return if made.len() == 4 && made.values().all(|times| *times == 1) {
            Ok(())
        } else {
            Err(format!("{made:?}"))
        };
    }
    Err("killed more often than was arranged".to_owned())
}

async fn world() -> World {
    let lab = Lab::new().await;
    lab.world
}

fn writes(goes: Goes) -> u64 {
    in_virtual_time(async {
        let world = world().await;
        life(&world, goes, &Arranged::default(), Duration::ZERO).await.unwrap();
        world.kube.writes().iter().filter(|write| is_ours(&write.call)).count() as u64
    })
}

async fn disturbed(goes: Goes, number: u64, mishap: Mishap) -> Result<(), String> {
    let world = world().await;
    let arranged = arrange(&world, Place::Kubernetes(number), mishap);
    life(&world, goes, &arranged, Duration::ZERO).await?;
    let struck = arranged.struck.load(Ordering::Relaxed);
    if struck == 1 { Ok(()) } else { Err(format!("the mishap struck {struck} times")) }
}

fn at_each_write(goes: Goes) {
    let (writes, mut lives, mut violations) = (writes(goes), 0, Vec::new());
    for number in 1..=writes {
        for mishap in MISHAPS {
            lives += 1;
            if let Err(text) = in_virtual_time(disturbed(goes, number, mishap)) {
                violations.push(format!("write {number}, {mishap:?}: {text}"));
            }
        }
    }
    seed::tell(&format!("sessions, {goes:?}: {lives} lives, {} violations", violations.len()));
    assert!(violations.is_empty(), "seed {}\n{}", seed(), violations.join("\n"));
}

#[test]
fn every_write_of_a_sessions_life_survives_every_mishap() {
    at_each_write(Goes::ByItself);
}

#[test]
fn every_write_of_a_sessions_deletion_survives_every_mishap() {
    at_each_write(Goes::Deleted);
}

#[test]
fn watches_that_are_late_change_nothing() {
    let mut violations = Vec::new();
    for (goes, seconds) in [1, 3, 10, 30].into_iter().flat_map(|late| [(Goes::ByItself, late), (Goes::Deleted, late)]) {
        let lived = in_virtual_time(async {
            let world = world().await;
            life(&world, goes, &Arranged::default(), Duration::from_secs(seconds)).await
        });
        violations.extend(lived.err().map(|text| format!("{goes:?}, {seconds} s late: {text}")));
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
