//! How long it takes to decide which tasks get which workers: the pure function alone, in this process.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use stevedore::api::reasons::TaskReason;
use stevedore::domain::availability::{Availability, Unavailable};
use stevedore::domain::schedule::{Kind, Placement, Session, Task, TaskState, Worker, World, decide};

use crate::report::{Bound, Figure, Report, say};
use crate::stage::Outcome;

/// What the bound speaks of.
const TASKS: usize = 1_000;
const WORKERS: usize = 100;
const SESSIONS: usize = 20;
const HOSTS: usize = 10;
const STORAGES: usize = 60;
/// Decisions for each world.
const RUNS: usize = 101;

/// Measures decisions for an empty, a full and a crippled cluster, and tells the slowest of the three.
pub(crate) fn measure(report: &mut Report) -> Outcome<()> {
    say(&format!("decisions on {TASKS} tasks over {WORKERS} workers"));
    let mut figures = Vec::new();
    for (name, availability, foreign_claims) in states() {
        let world = World {
            sessions: (0..SESSIONS).map(session).collect::<Outcome<_>>()?,
            workers: (0..WORKERS).map(|number| worker(number, &availability, foreign_claims)).collect(),
            tasks_per_storage: 4,
        };
        figures.push(decided(name, &world)?);
    }
    let slowest = figures.iter().map(|(median, _)| *median).max().ok_or("nothing was measured")?;
    let told: Vec<String> = figures.into_iter().map(|(_, text)| text).collect();
    report.add(Figure {
        what: "1,000 tasks over 100 workers: time to decide".into(),
        bound: Bound { most: 50.0, unit: "ms", digits: 1 },
        measured: milliseconds(slowest),
        comparable: true,
        how: format!(
            "The function alone, without the operator around it: the slowest of three medians of {RUNS} decisions each, for \
             {SESSIONS} sessions, {HOSTS} hosts and {STORAGES} storages, two to a VM. {}.",
            told.join("; ")
        ),
    });
    Ok(())
}

/// In what state all workers are, and how many of their slots are taken.
fn states() -> [(&'static str, Availability, usize); 3] {
    let failed =
        Unavailable { reason: TaskReason::TestFailed, message: "guest answers: no answer within 5 min".into() };
    [
        ("All workers off", Availability::Off, 0),
        ("all of them full", Availability::Running, 4),
        ("all of them failed", Availability::Not(failed), 0),
    ]
}

fn session(number: usize) -> Outcome<Session> {
    let size = TASKS / SESSIONS;
    let kind = if number.is_multiple_of(5) { Kind::Restore } else { Kind::Backup };
    let placement = if number.is_multiple_of(4) { Placement::RequireSameHost } else { Placement::PreferSameHost };
    Ok(Session {
        uid: format!("session-{number}"),
        namespace: "backup".to_owned(),
        name: format!("session-{number}"),
        created: Timestamp::from_second(1_800_000_000 + i64::try_from(number)?)?,
        kind,
        placement,
        parallelism: number.is_multiple_of(3).then_some(size / 2),
        workers: (0..WORKERS).map(|number| format!("worker-{number}")).collect(),
        tasks: (number * size..(number + 1) * size).map(task).collect(),
    })
}

fn task(number: usize) -> Task {
    let storages = [number, number * 7 + 1].map(|storage| format!("storage-{}", storage % STORAGES));
    Task {
        uid: format!("task-{number}"),
        name: format!("task-{number}"),
        vm: Some(format!("{}", 100 + number)),
        host: Some(format!("host-{}", number % HOSTS)),
        storages: storages.into_iter().collect(),
        state: TaskState::Waiting { avoid: BTreeSet::new() },
    }
}

fn worker(number: usize, availability: &Availability, foreign_claims: usize) -> Worker {
    Worker {
        name: format!("worker-{number}"),
        host: Some(format!("host-{}", number % HOSTS)),
        slots: 4,
        foreign_claims,
        availability: availability.clone(),
    }
}

/// The median time of a decision, and what came of it.
fn decided(name: &str, world: &World) -> Outcome<(Duration, String)> {
    let mut times = Vec::new();
    let mut sizes = BTreeSet::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let plan = decide(world);
        times.push(begun.elapsed());
        sizes.insert((plan.assignments.len(), plan.waiting.len()));
    }
    let [(assigned, waiting)] = sizes.iter().copied().collect::<Vec<_>>()[..] else {
        return Err(format!("the same world was decided on in several ways: {sizes:?}").into());
    };
    if assigned + waiting != TASKS {
        return Err(format!("{assigned} tasks were assigned and {waiting} wait, of {TASKS}").into());
    }
    times.sort();
    let (median, longest) = (times[RUNS / 2], times[RUNS - 1]);
    let text =
        format!("{name}: {:.1} ms, at most {:.1} ms, {assigned} assigned", milliseconds(median), milliseconds(longest));
    Ok((median, text))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
