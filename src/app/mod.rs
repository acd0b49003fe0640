//! The composition root: client, stores, controllers, admin server, lease, and their ordered shutdown.

pub mod connector;
mod gate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::mpsc::unbounded_channel;
use uuid::Uuid;

use self::connector::HttpsConnector;
use self::gate::AppGate;
use crate::api::crdgen;
use crate::clock::{SharedClock, SystemClock};
use crate::controller::connection::Connections;
use crate::controller::context::{Context, Gate, Patience};
use crate::controller::driver::{self, Objects, Wakes};
use crate::controller::events::Events;
use crate::controller::scheduling::disks::Disks;
use crate::controller::session::Runs;
use crate::controller::tracks::Tracks;
use crate::controller::watch::{watch, watch_tasks, watch_workers};
use crate::domain::allowed::AllowedEndpoints;
use crate::hypervisor::transport::CallObserver;
use crate::runtime::admin::{Admin, Facts};
use crate::runtime::client::{self, ClientError, Deadlines};
use crate::runtime::crd_check;
use crate::runtime::fence::Permission;
use crate::runtime::lease::{self, Ended, Leadership, Lease};
use crate::runtime::metrics::Metrics;
use crate::runtime::readiness::{Pulse, Readiness};
use crate::runtime::shutdown::Shutdown;

/// Gate names of `/readyz`.
const CRDS: &str = "crds";
const INSTALLATION: &str = "installation-id";
const STORES: &str = "stores";
/// Between two looks at the installed CRDs while they fit, and while they do not.
const CRDS_FIT: Duration = Duration::from_secs(60);
const CRDS_DO_NOT_FIT: Duration = Duration::from_secs(3);
/// The process counts as stuck if its clockwork did not turn for this long.
const STUCK: Duration = Duration::from_secs(60);

/// How the operator runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where probes and metrics are served.
    pub admin_address: SocketAddr,
    /// Leader election; none: this process works alone.
    pub lease: Option<lease::Settings>,
    /// What makes marks this installation's own; none: the UID of the namespace `kube-system`.
    pub installation_id: Option<String>,
    /// The name of this process in events.
    pub pod: Option<String>,
    /// What hypervisors and images may be reached at.
    pub allowed: AllowedEndpoints,
    /// How long things may take.
    pub patience: Patience,
}

/// The operator could not run, or had to end.
#[derive(Debug, Error)]
pub enum AppError {
    /// There is no way to the Kubernetes API.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A port or a signal handler could not be had.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Another process leads now.
    #[error(
        "the lease was lost: another process may lead now, so this one ends; it is started again by its Deployment"
    )]
    LeaseLost,
}

/// Runs the operator until `shutdown` is requested or the lease is lost.
pub async fn run(settings: Settings, shutdown: Shutdown) -> Result<(), AppError> {
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = Metrics::new();
    let client = client::connect(Deadlines::default(), &metrics, Permission::always()).await?;
    let readiness = Readiness::with_closed(&[
        (CRDS, "the custom resource definitions have not been looked at yet"),
        (INSTALLATION, "the installation's id is not known yet"),
        (STORES, "the first lists of Hypervisors and Workers have not come yet"),
    ]);
    let (election, leadership) = elect(&client, &settings, &clock);
    let gate = Arc::new(AppGate::new(leadership.clone()));
    let writer = client::connect(Deadlines::default(), &metrics, writing(&gate, &settings.patience)).await?;

    // Probes and metrics are served to the last.
    let admin_stop = Shutdown::new();
    let pulse = Pulse::new(clock.clone(), STUCK);
    let facts = Facts {
        pulse: pulse.clone(),
        readiness: readiness.clone(),
        leadership: leadership.clone(),
        metrics: metrics.clone(),
    };
    let admin = Admin::bind(settings.admin_address).await?;
    tracing::info!(address = %admin.address()?, "serving probes and metrics");
    let admin = tokio::spawn(admin.serve(facts, admin_stop.clone()));
    let beating = tokio::spawn(beat(pulse));

    let outcome = tokio::select! {
        () = shutdown.requested() => Ok(()),
        prepared = prepare(&client, &settings, &readiness, &gate) => {
            let election = election.map(|lease| {
                let stop = Shutdown::new();
                Election { running: tokio::spawn(lease.run(stop.clone())), stop }
            });
            let parts = Parts { client, writer, clock, metrics, readiness, gate, leadership, installation: prepared };
            control(&settings, parts, election, shutdown.clone()).await
        }
    };
    beating.abort();
    admin_stop.request();
    // The admin server has nothing to say about its end.
    let _ = admin.await;
    tracing::info!("ended");
    outcome
}

/// The controllers write while this process leads, and will lead for as long as a request may take; but no longer than a
/// call to a hypervisor may, for which every term has room.
fn writing(gate: &Arc<AppGate>, patience: &Patience) -> Permission {
    let (gate, enough) = (Arc::clone(gate), patience.call);
    Permission::new(move |longest| gate.may_change(longest.min(enough)))
}

/// What the controllers are made of.
struct Parts {
    /// Writes the Lease, and reads.
    client: Client,
    /// Writes everything else, as the leader only.
    writer: Client,
    clock: SharedClock,
    metrics: Metrics,
    readiness: Readiness,
    gate: Arc<AppGate>,
    leadership: Leadership,
    installation: String,
}

/// The election in which this process takes part.
struct Election {
    running: tokio::task::JoinHandle<Ended>,
    stop: Shutdown,
}

fn elect(client: &Client, settings: &Settings, clock: &SharedClock) -> (Option<Lease>, Leadership) {
    match &settings.lease {
        None => (None, Leadership::without_election(clock.clone())),
        Some(lease) => {
            let (lease, leadership) = Lease::new(client.clone(), lease.clone(), clock.clone());
            (Some(lease), leadership)
        }
    }
}

async fn beat(pulse: Pulse) {
    loop {
        pulse.beat();
        tokio::time::sleep(STUCK / 6).await;
    }
}

/// Waits until the installed CRDs fit and the installation's id is known. Nothing is changed before.
async fn prepare(client: &Client, settings: &Settings, readiness: &Readiness, gate: &AppGate) -> String {
    while !look_at_crds(client, readiness, gate).await {
        tokio::time::sleep(CRDS_DO_NOT_FIT).await;
    }
    if let Some(id) = settings.installation_id.clone() {
        readiness.open(INSTALLATION);
        return id;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        match namespaces.get("kube-system").await.map(|namespace| namespace.metadata.uid) {
            Ok(Some(uid)) => {
                readiness.open(INSTALLATION);
                return uid;
            }
            Ok(None) => readiness.close(INSTALLATION, "the namespace kube-system has no UID; set --installation-id"),
            Err(error) => readiness.close(
                INSTALLATION,
                format!(
                    "the UID of the namespace kube-system cannot be read ({error}); allow it, or set --installation-id"
                ),
            ),
        }
        tokio::time::sleep(CRDS_DO_NOT_FIT).await;
    }
}

/// Whether the installed CRDs have every field of ours; opens or closes the gates accordingly.
async fn look_at_crds(client: &Client, readiness: &Readiness, gate: &AppGate) -> bool {
    let problem = match crd_check::check(client, &crdgen::all()).await {
        Ok(problems) if problems.is_empty() => None,
        Ok(problems) => Some(crd_check::summary(&problems)),
        // What could not be looked at has not become worse.
        Err(error) if gate.crds_fit() => {
            tracing::warn!(%error, "the installed CRDs could not be read");
            return true;
        }
        Err(error) => Some(format!("the installed CRDs could not be read: {error}")),
    };
    gate.set_crds_fit(problem.is_none());
    match problem {
        None => readiness.open(CRDS),
        Some(text) => readiness.close(CRDS, text),
    }
    gate.crds_fit()
}

async fn watch_crds(client: Client, readiness: Readiness, gate: Arc<AppGate>) {
    loop {
        tokio::time::sleep(if gate.crds_fit() { CRDS_FIT } else { CRDS_DO_NOT_FIT }).await;
        look_at_crds(&client, &readiness, &gate).await;
    }
}

/// Runs the controllers; ends them first, then gives the lease back: no call may be under way when another process
/// begins.
async fn control(
    settings: &Settings,
    parts: Parts,
    election: Option<Election>,
    shutdown: Shutdown,
) -> Result<(), AppError> {
    let stop = Shutdown::new();
    let crds = tokio::spawn(watch_crds(parts.client.clone(), parts.readiness.clone(), Arc::clone(&parts.gate)));
    let controllers = tokio::spawn(run_controllers(settings.clone(), parts, stop.clone()));
    let Some(Election { mut running, stop: stop_election }) = election else {
        shutdown.requested().await;
        end(stop, controllers).await;
        crds.abort();
        return Ok(());
    };
    let lost = tokio::select! {
        _ = &mut running => true,
        () = shutdown.requested() => false,
    };
    end(stop, controllers).await;
    crds.abort();
    if lost {
        return Err(AppError::LeaseLost);
    }
    stop_election.request();
    // Released or not: this process ends, and the term with it.
    let _ = running.await;
    Ok(())
}

async fn end(stop: Shutdown, controllers: tokio::task::JoinHandle<()>) {
    stop.request();
    if let Err(error) = controllers.await {
        tracing::error!(%error, "the controllers did not end in order");
    }
}

async fn run_controllers(settings: Settings, parts: Parts, stop: Shutdown) {
    let Parts { client, writer, clock, metrics, readiness, gate, leadership, installation } = parts;
    let (bell, hurried) = unbounded_channel();
    let (changed_sender, changed) = unbounded_channel();
    let (session_bell, changed_sessions) = unbounded_channel();
    let (task_bell, changed_tasks) = unbounded_channel();
    let (scheduler_bell, schedule) = unbounded_channel();
    let (workers, roster) = watch_workers(client.clone());
    let (tasks, task_view) = watch_tasks(client.clone());
    let objects = Objects { workers, hypervisors: watch(client.clone()), sessions: watch(client), tasks };
    let observer: Arc<dyn CallObserver> = Arc::new(Observer(metrics.clone()));
    let name = settings.lease.as_ref().map_or_else(|| "none".to_owned(), |lease| lease.name.clone());
    let following = tokio::spawn({
        let (metrics, leadership) = (metrics.clone(), leadership.clone());
        async move { metrics.follow(&name, leadership).await }
    });
    let (workers_listed, hypervisors_listed) = (objects.workers.listed.clone(), objects.hypervisors.listed.clone());
    let sessions_listed = objects.sessions.listed.clone().and(objects.tasks.listed.clone());
    let context = Arc::new(Context {
        client: writer.clone(),
        clock: clock.clone(),
        installation,
        connections: Connections::ringing(bell),
        connector: Arc::new(HttpsConnector { deadline: settings.patience.call, clock, observer }),
        gate,
        workers: roster,
        workers_listed: objects.workers.listed.clone(),
        unreadable_workers: objects.workers.unreadable.clone(),
        hypervisors: objects.hypervisors.store.clone(),
        unreadable_hypervisors: objects.hypervisors.unreadable.clone(),
        tasks: task_view,
        sessions: objects.sessions.store.clone(),
        unreadable_sessions: objects.sessions.unreadable.clone(),
        unreadable_tasks: objects.tasks.unreadable.clone(),
        sessions_listed: sessions_listed.clone(),
        disks: Disks::default(),
        runs: Runs::default(),
        changed_sessions: session_bell,
        changed_tasks: task_bell,
        schedule: scheduler_bell,
        tracks: Tracks::default(),
        events: Events::start(writer, settings.pod.clone()),
        operation_ids: Arc::new(|| Uuid::new_v4().to_string()),
        allowed: settings.allowed.clone(),
        patience: settings.patience,
        changed: changed_sender,
        metrics,
    });
    let listed = tokio::spawn(async move {
        workers_listed.come().await;
        hypervisors_listed.come().await;
        sessions_listed.come().await;
        readiness.open(STORES);
    });
    let led = leading(leadership).boxed();
    let wakes = Wakes { hurried, changed, changed_sessions, changed_tasks, schedule, led };
    driver::run(context, objects, wakes, stop).await;
    listed.abort();
    following.abort();
}

/// Rings each time this process comes to lead.
fn leading(leadership: Leadership) -> impl futures::Stream<Item = ()> + Send + 'static {
    stream::unfold((leadership, false), |(mut leadership, led)| async move {
        if led {
            while leadership.is_leader() {
                leadership.changed().await;
            }
        }
        leadership.wait_until_leader().await;
        tracing::info!("leading");
        Some(((), (leadership, true)))
    })
}

/// Counts what is asked of hypervisors.
#[derive(Debug)]
struct Observer(Metrics);

impl CallObserver for Observer {
    fn observed(&self, method: &str, _route: &'static str, code: &str, took: Duration) {
        let method = match method {
            "GET" => "GET",
            "POST" => "POST",
            "PUT" => "PUT",
            "DELETE" => "DELETE",
            _ => "other",
        };
        self.0.hypervisor_request("Proxmox", method, code, took);
    }
}
