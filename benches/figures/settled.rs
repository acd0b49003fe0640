//! Many workers at rest: memory, what is asked and written meanwhile, and how soon a new process has looked at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stevedore::controlplane::{AuditEvent, Replica};
use tokio::time::{Instant, sleep};

use crate::machine;
use crate::report::{Bound, Figure, Report, say};
use crate::settling::settle;
use crate::stage::{Lab, Outcome, Stage, end, no_time, until};

/// What the bounds speak of.
const WORKERS: usize = 10_000;
const HYPERVISORS: usize = 100;
/// Workers on the second cluster, if there are so many.
const MANY: usize = 1_000;
/// Several idle polls, which come every 30 s.
const WATCHED: Duration = Duration::from_secs(95);
/// After this time without a reconcile all is at rest.
const QUIET: Duration = Duration::from_secs(3);
/// Polls at the busy interval, which come after the first contact and after work, have run out by then.
const BUSY: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures `count` workers at rest on `clusters` clusters.
pub(crate) async fn measure(count: usize, clusters: usize, report: &mut Report) -> Outcome<()> {
    say(&format!("{count} workers at rest on {clusters} hypervisors"));
    let counts = share(count, clusters)?;
    let stage = Stage::set().await?;
    let mut labs = Vec::new();
    for number in 0..clusters {
        labs.push(Lab::serve(number, no_time()).await?);
    }
    let begun = Instant::now();
    settle(&stage, &labs, &counts).await?;
    say(&format!("they are there after {} s", begun.elapsed().as_secs()));

    let before = stage.changes()?.len();
    labs[0].simulator.faults().forget();
    let operator = stage.operator().await?;
    at_rest(&operator, &labs, &counts, Instant::now()).await?;
    check(&stage, &labs, &counts, &stage.changes()?[before..]).await?;
    sleep(BUSY).await;
    end(operator).await?;

    for lab in &labs {
        lab.simulator.faults().forget();
    }
    let begun = Instant::now();
    let operator = stage.operator().await?;
    let took = at_rest(&operator, &labs, &counts, begun).await?;
    let comparable = (count, clusters) == (WORKERS, HYPERVISORS);
    let sizes = format!("{count} workers on {clusters} hypervisors");
    restarted(&sizes, comparable, took, &operator, report)?;
    sleep(BUSY).await;
    rest(&stage, &labs, &counts, report).await?;
    occupied(&sizes, comparable, &operator, report)?;
    end(operator).await?;
    stage.clear().await;
    Ok(())
}

/// One worker on the first cluster, many on the second, and the rest in equal parts on the others.
fn share(count: usize, clusters: usize) -> Outcome<Vec<usize>> {
    let many = MANY.min(count / 10);
    let others = clusters.checked_sub(2).filter(|others| *others > 0).ok_or("three hypervisors are the least")?;
    let left = count.checked_sub(many + 1).filter(|left| *left > 0).ok_or("some more workers are needed")?;
    let mut counts = vec![1, many];
    counts.extend((0..others).map(|index| left / others + usize::from(index < left % others)));
    Ok(counts)
}

/// How long after `begun` the last worker was looked at: when every hypervisor has shown every VM, as many reconciles
/// have come to rest as there are workers, and none came for a while after. A worker whose hypervisor is not known yet
/// does not come to rest.
async fn at_rest(operator: &Replica, labs: &[Lab], counts: &[usize], begun: Instant) -> Outcome<Duration> {
    let count = counts.iter().sum();
    let (mut last, mut seen) = (begun.elapsed(), (0, 0));
    let mut unread: Vec<(&Lab, usize)> = labs.iter().zip(counts.iter().copied()).collect();
    while !unread.is_empty() || seen.0 < count || begun.elapsed() < last + QUIET {
        if begun.elapsed() > PATIENCE {
            let (away, log) = (unread.len(), operator.process.log_end());
            let text = format!("{} of {count} workers were seen at rest, {away} hypervisors were not read", seen.0);
            return Err(format!("{text}; the operator's log ends with\n{log}").into());
        }
        unread.retain(|(lab, count)| lab.reads() < *count);
        if let Some(now) = reconciles(operator).await.filter(|now| *now != seen || !unread.is_empty()) {
            (last, seen) = (begun.elapsed(), now);
        }
        sleep(Duration::from_millis(50)).await;
    }
    say(&format!(
        "{} reconciles of {count} workers, {} of them at rest, in {:.1} s",
        seen.1,
        seen.0,
        last.as_secs_f64()
    ));
    Ok(last)
}

/// How many reconciles of workers came to rest, and how many there were in all.
async fn reconciles(operator: &Replica) -> Option<(usize, usize)> {
    let (_, text) = operator.get("/metrics").await?;
    let of_workers = text.lines().filter(|line| {
        line.starts_with("controller_runtime_reconcile_total{") && line.contains("controller=\"worker\"")
    });
    let counted = of_workers.filter_map(|line| Some((line, line.rsplit_once(' ')?.1.parse::<usize>().ok()?)));
    Some(counted.fold((0, 0), |(rested, all), (line, count)| {
        (rested + if line.contains("result=\"success\"") { count } else { 0 }, all + count)
    }))
}

/// Whether the operator takes the workers for what they are meant to be: otherwise all figures are void.
async fn check(stage: &Stage, labs: &[Lab], counts: &[usize], changes: &[AuditEvent]) -> Outcome<()> {
    let corrected: Vec<&AuditEvent> = changes.iter().filter(|event| event.resource == "workers").collect();
    if !corrected.is_empty() {
        return Err(format!("{} workers were not at rest: {:?} …", corrected.len(), corrected[0]).into());
    }
    for (lab, count) in labs.iter().zip(counts) {
        let all = Some(i32::try_from(*count)?);
        let is_known = || async {
            let status = stage.hypervisors().get(&lab.name).await?.status.unwrap_or_default();
            Ok(status.workers == all && status.orphan_count == Some(0))
        };
        until("a Hypervisor's status knows its workers and no other VM of ours", PATIENCE, is_known).await?;
    }
    Ok(())
}

fn restarted(sizes: &str, comparable: bool, took: Duration, operator: &Replica, report: &mut Report) -> Outcome<()> {
    let processor = machine::processor_seconds(operator.process.id())?;
    report.add(Figure {
        what: format!("Restart with {sizes} until all are reconciled"),
        bound: Bound { most: 10.0, unit: "s", digits: 1 },
        measured: took.as_secs_f64(),
        comparable,
        how: format!(
            "From the start of the process, whose predecessor had been asked to end, to its last reconcile of a Worker. In \
             that time it reads all Workers, asks each hypervisor who it is and what it has, and reads each VM. It took \
             {processor:.1} s of processor time."
        ),
    });
    Ok(())
}

/// Watches the rest.
#[allow(clippy::cast_precision_loss, reason = "far fewer than a float can count")]
async fn rest(stage: &Stage, labs: &[Lab], counts: &[usize], report: &mut Report) -> Outcome<()> {
    for lab in labs {
        lab.simulator.faults().forget();
    }
    let before = stage.changes()?.len();
    sleep(WATCHED).await;
    let written = stage.changes()?.split_off(before);
    for (lab, count) in labs.iter().zip(counts).take(2) {
        let (calls, polls) = (lab.simulator.faults().log().len(), lab.polls());
        if polls < 2 {
            return Err(format!("{} was polled {polls} times in {} s", lab.name, WATCHED.as_secs()).into());
        }
        let workers = if *count == 1 { "worker" } else { "workers" };
        report.add(Figure {
            what: format!("Requests to a hypervisor for one idle poll, {count} {workers}"),
            bound: Bound { most: 2.0, unit: "", digits: 2 },
            measured: calls as f64 / polls as f64,
            comparable: *count == 1 || *count == MANY,
            how: format!("{calls} requests in {polls} polls, within {} s: {}.", WATCHED.as_secs(), asked(lab)),
        });
    }
    let kinds: BTreeSet<&str> = written.iter().map(|event| event.resource.as_str()).collect();
    report.add(Figure {
        what: format!("Writes to Kubernetes while nothing changes, {} workers", counts.iter().sum::<usize>()),
        bound: Bound { most: 0.0, unit: "", digits: 0 },
        measured: written.len() as f64,
        comparable: true,
        how: format!(
            "Within {} s, the Lease aside, by the API server's audit log{}.",
            WATCHED.as_secs(),
            if kinds.is_empty() { String::new() } else { format!("; written were {kinds:?}") }
        ),
    });
    Ok(())
}

/// What a hypervisor was asked, and how often.
fn asked(lab: &Lab) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for call in lab.simulator.faults().log() {
        *counts.entry(format!("`{} {}`", call.method, call.path)).or_default() += 1;
    }
    counts.iter().map(|(call, count)| format!("{count} {call}")).collect::<Vec<_>>().join(", ")
}

fn occupied(sizes: &str, comparable: bool, operator: &Replica, report: &mut Report) -> Outcome<()> {
    let (now, most) = machine::memory(operator.process.id())?;
    report.add(Figure {
        what: format!("Memory with {sizes} at rest"),
        bound: Bound { most: 100.0, unit: "MiB", digits: 0 },
        measured: now,
        comparable,
        how: format!("The resident set of the process after several polls; the most that it had was {most:.0} MiB."),
    });
    Ok(())
}
