//! Many workers at once, on clusters that take no time: how long the operator and Kubernetes take, and what they write.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use stevedore::api::Worker;
use stevedore::controlplane::AuditEvent;
use stevedore::simulator::declared::is_tested;
use tokio::time::Instant;

use crate::machine;
use crate::report::{Bound, Figure, Report, say};
use crate::stage::{HOSTS, Lab, Outcome, Stage, end, no_time, watched};

/// The clusters that the workers are on.
const CLUSTERS: usize = 10;
/// What the bound speaks of.
const WORKERS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(600);
/// Creations under way at a time.
const AT_A_TIME: usize = 16;

/// Measures `count` new workers.
pub(crate) async fn measure(count: usize, report: &mut Report) -> Outcome<()> {
    say(&format!("{count} new workers on {CLUSTERS} clusters that take no time"));
    let stage = Stage::set().await?;
    let mut labs = Vec::new();
    for number in 0..CLUSTERS {
        labs.push(Lab::serve(number, no_time()).await?);
    }
    let operator = stage.operator().await?;
    let limits = "{parallelLaunches: 64}";
    stage.apply(&labs.iter().map(|lab| lab.cluster(limits, "{idle: 10s}").manifests()).collect::<String>()).await?;
    for lab in &labs {
        lab.until_known().await?;
    }
    let before = stage.changes()?.len();
    let begun = Instant::now();
    let made = create(&stage, workers(&labs, count)?);
    let tested = watched(&stage, count, PATIENCE, is_tested);
    tokio::try_join!(made, tested)?;
    let took = begun.elapsed();
    let processor = machine::processor_seconds(operator.process.id())?;
    end(operator).await?;
    let changes = stage.changes()?.split_off(before);
    let vms: usize = labs.iter().map(|lab| lab.simulator.world(|world| world.machines().len()) - FURNITURE).sum();
    if vms != count {
        return Err(format!("there are {vms} VMs for {count} workers").into());
    }
    add(count, took, processor, &changes, report);
    stage.clear().await;
    Ok(())
}

/// VMs and templates that the demo world has by itself.
const FURNITURE: usize = 6;

fn workers(labs: &[Lab], count: usize) -> Outcome<Vec<Worker>> {
    let manifest = |number: usize| {
        let lab = &labs[number % labs.len()];
        let host = HOSTS[number / labs.len() % HOSTS.len()];
        let text = lab.cluster("{}", "{}").worker(&format!("worker-{number}"), host, "OnChange");
        Ok(serde_yaml::from_str(text.trim_end_matches("---\n"))?)
    };
    (0..count).map(manifest).collect()
}

async fn create(stage: &Stage, workers: Vec<Worker>) -> Outcome<()> {
    let api = stage.workers();
    let create = |worker: Worker| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &worker).await }
    };
    futures::stream::iter(workers).map(create).buffer_unordered(AT_A_TIME).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than a float can count")]
fn add(count: usize, took: Duration, processor: f64, changes: &[AuditEvent], report: &mut Report) {
    let of_workers: Vec<&AuditEvent> = changes.iter().filter(|event| event.resource == "workers").collect();
    let refused = of_workers.iter().filter(|event| event.code != Some(200)).count();
    let events = changes.iter().filter(|event| event.resource == "events").count();
    let others = changes.len() - of_workers.len() - events;
    report.add(Figure {
        what: format!("{count} new workers to `ShutDown` after their test, on hypervisors that take no time"),
        bound: Bound { most: 100.0, unit: "s", digits: 1 },
        measured: took.as_secs_f64(),
        comparable: count == WORKERS,
        how: format!(
            "From the creation of the first Worker until the last one was tested and off, on {CLUSTERS} clusters with \
             `parallelLaunches: 64`. The operator took {processor:.1} s of processor time."
        ),
    });
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for event in &of_workers {
        let part = if event.subresource.is_empty() { "object" } else { event.subresource.as_str() };
        *kinds.entry(format!("{} of the {part}", event.verb)).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
    report.add(Figure {
        what: "Writes to Kubernetes for the deploy, test and shutdown of one worker".into(),
        bound: Bound { most: 10.0, unit: "", digits: 1 },
        measured: of_workers.len() as f64 / count as f64,
        comparable: count > 0,
        how: format!(
            "The mean of these {count} workers, by the API server's audit log: {}; {refused} of them were refused, because \
             somebody else had written. Besides there were {events} events and {others} writes to Hypervisors and what \
             they use.",
            kinds.join(", ")
        ),
    });
}
