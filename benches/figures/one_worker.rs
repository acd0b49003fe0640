//! How much longer than the hypervisor itself a worker takes from its creation to the result of its test.

use std::time::Duration;

use stevedore::api::Worker;
use stevedore::simulator::declared::is_tested;
use stevedore::simulator::scenario::Timings;
use tokio::time::Instant;

use crate::report::{Bound, Figure, Report, say};
use crate::stage::{HOSTS, Lab, Outcome, Stage, end, watched};

const PATIENCE: Duration = Duration::from_secs(300);
/// The default, but for the interval while nothing goes on, which would only have to be waited for.
const SOON: &str = "{idle: 10s}";

/// Whether the result of the test is there, whatever it is.
fn has_result(worker: &Worker) -> bool {
    worker.status.as_ref().is_some_and(|status| status.last_test.is_some())
}

/// Measures one worker on a cluster that takes as long as a real one.
pub(crate) async fn measure(report: &mut Report) -> Outcome<()> {
    say("one worker on a cluster that takes its time");
    let stage = Stage::set().await?;
    let lab = Lab::serve(0, Timings::default()).await?;
    let operator = stage.operator().await?;
    stage.apply(&lab.cluster("{}", SOON).manifests()).await?;
    lab.until_known().await?;

    let begun = Instant::now();
    stage.apply(&lab.cluster("{}", SOON).worker("worker", HOSTS[0], "OnChange")).await?;
    watched(&stage, 1, PATIENCE, has_result).await?;
    let took = begun.elapsed();
    let tasks = lab.simulator.world(|world| world.task_times());
    watched(&stage, 1, PATIENCE, is_tested).await?;

    let boot = Timings::default().boot.span();
    let own: Duration = tasks.iter().map(|(_, time)| *time).sum::<Duration>() + boot;
    let named: Vec<String> = tasks.iter().map(|(kind, time)| format!("{kind} {:.1} s", time.as_secs_f64())).collect();
    if !tasks.iter().any(|(kind, _)| kind == "qmstart") {
        return Err(format!("the VM's tasks are not what they should be: {named:?}").into());
    }
    report.add(Figure {
        what: "Deploy and test of one worker, over the time of the hypervisor's own tasks and of the guest's boot".into(),
        bound: Bound { most: 1.10, unit: "", digits: 2 },
        measured: took.as_secs_f64() / own.as_secs_f64(),
        comparable: true,
        how: format!(
            "From `kubectl create` of a Worker with `test.policy: OnChange` to the result of its test: {:.1} s. Of these the \
             hypervisor took {:.1} s: {}, boot {:.1} s.",
            took.as_secs_f64(),
            own.as_secs_f64(),
            named.join(", "),
            boot.as_secs_f64()
        ),
    });
    end(operator).await?;
    stage.clear().await;
    Ok(())
}
