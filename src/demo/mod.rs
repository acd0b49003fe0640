//! `stevedore demo`: a real Kubernetes control plane, a simulated Proxmox VE cluster, the operator as its chart installs
//! it, and the workers of `examples/`, from `kubectl apply` over their tests and a session to `ShutDown`.

mod audience;
mod goal;
mod invitation;
mod real;
mod table;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use self::audience::Audience;
use self::goal::Goal;
use self::invitation::Invitation;
use crate::controlplane::{self, ControlPlane, Installed, Options, Replica};
use crate::simulator::guest_exec::SharedGuestExec;
use crate::simulator::proxmox::Simulator;
use crate::simulator::qemu::QemuError;
use crate::simulator::scenario::{Scenario, Seconds, Timings};
use crate::simulator::server::{Server, ServerError};

/// Where the operator is installed.
const NAMESPACE: &str = "stevedore-system";
/// Where the examples live.
const EXAMPLES: &str = "backup";
/// The session of the examples that runs a command for VMs on two hosts.
const SESSION: &str = "files-and-mail";
/// Its manifest.
const SESSION_FILE: &str = "examples/sessions/10-commands.yaml";
/// The endpoint that the examples name.
const ENDPOINT: &str = "127.0.0.1:8006";
/// Longer than everything can take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same with guests that software emulation runs.
const PATIENCE_WITH_REAL_GUESTS: Duration = Duration::from_secs(2400);

/// How the demo runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Leaves everything running until it is interrupted, and says how to use it.
    #[arg(long)]
    keep: bool,
    /// Boots this image in real guests, processes of QEMU, in place of simulated ones; needs root or a user namespace.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The project's folder, with `examples` and `charts`.
    #[arg(long, default_value = ".", value_name = "DIR")]
    project: PathBuf,
}

/// The demo did not come to its end.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The control plane, or a command on it.
    #[error(transparent)]
    Plane(#[from] controlplane::Error),
    /// The simulated cluster.
    #[error(transparent)]
    Simulator(#[from] ServerError),
    /// Guests cannot be real here.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// Something of this machine.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The operator ended by itself.
    #[error("the operator ended ({status}); its log ends with\n{log}")]
    OperatorEnded {
        /// How.
        status: String,
        /// The last lines.
        log: String,
    },
    /// It took too long.
    #[error("not all came to where it should within {} s: {missing}", patience.as_secs())]
    TooLong {
        /// How long was waited.
        patience: Duration,
        /// What is missing.
        missing: String,
    },
    /// The session ended, and not well.
    #[error("{missing}:\n{why}")]
    Lost {
        /// What is missing.
        missing: String,
        /// What session and tasks say.
        why: String,
    },
    /// Workers were never seen in some phases.
    #[error("no worker was seen in {phases}: the demo shows less than it should")]
    Unseen {
        /// Those phases.
        phases: String,
    },
}

/// Runs the demo to its end.
pub async fn run(args: &Args, guests: SharedGuestExec) -> Result<(), DemoError> {
    let begun = Instant::now();
    say("starting a Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager)");
    let plane = ControlPlane::start(Options::default()).await?;
    let world = if args.image.is_some() { real::scenario() } else { scenario() };
    let simulator = Simulator::open(world, guests)?;
    let server = serve(&simulator).await?;
    say(&format!("a simulated Proxmox VE cluster answers on https://{}", server.addr));
    let mut replica = install(&plane, args).await?;
    match &args.image {
        None => with_examples(&plane, &mut replica, &args.project, server.addr).await?,
        Some(image) => with_real_guests(&plane, &mut replica, args, image, server.addr).await?,
    }
    summary(&plane, &simulator, begun.elapsed()).await?;
    if args.keep {
        keep(&plane, &replica).await;
    }
    replica.process.terminate();
    replica.process.wait().await;
    plane.stop().await;
    Ok(())
}

/// The workers of the examples, whose guests are simulated.
async fn with_examples(
    plane: &ControlPlane,
    replica: &mut Replica,
    project: &Path,
    at: SocketAddr,
) -> Result<(), DemoError> {
    let mut audience = Audience::new(plane, &mut replica.process);
    say("$ kubectl apply -f examples/proxmox/");
    apply(plane, &examples(project, "")?.replace(ENDPOINT, &at.to_string())).await?;
    audience.follow(Goal::tested(), PATIENCE).await?;
    say("a Manual worker stays without a VM until a test is asked for:");
    let request = "stevedore.dev/test-requested-at=now";
    say(&format!("$ kubectl -n {EXAMPLES} annotate worker worker-on-demand {request}"));
    kubectl(plane, &["-n", EXAMPLES, "annotate", "worker", "worker-on-demand", request]).await?;
    audience.follow(Goal::on_demand(), PATIENCE).await?;
    say("the worker whose check fails says why:");
    let message = "jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
    let text = kubectl(plane, &["-n", EXAMPLES, "get", "worker", "worker-failing", "-o", message]).await?;
    say(&format!("  worker-failing: {text}"));
    session(plane, project, &mut audience, Goal::worked(), PATIENCE).await
}

/// A session with a command for each of two VMs, on the workers of their hosts.
async fn session(
    plane: &ControlPlane,
    project: &Path,
    audience: &mut Audience<'_>,
    goal: Goal,
    patience: Duration,
) -> Result<(), DemoError> {
    say("a backup run of two VMs: the workers on their hosts are launched for it, and shut down after it:");
    say(&format!("$ kubectl apply -f {SESSION_FILE}"));
    apply(plane, &read(&project.join(SESSION_FILE))?).await?;
    audience.follow(goal, patience).await?;
    say("what its commands have printed:");
    let output =
        "jsonpath={range .items[*]}{\"  \"}{.metadata.name}{\" on \"}{.status.worker}{\": \"}{.status.output}{end}";
    say(kubectl(plane, &["-n", EXAMPLES, "get", "workertasks", "-o", output]).await?.trim_end());
    audience.has_seen_all()
}

/// Two workers whose guests are real.
async fn with_real_guests(
    plane: &ControlPlane,
    replica: &mut Replica,
    args: &Args,
    image: &Path,
    at: SocketAddr,
) -> Result<(), DemoError> {
    let image = real::Image::serve(image).await?;
    let workers = image.workers();
    say(&format!(
        "$ kubectl apply -f examples/proxmox/00-namespace.yaml -f examples/proxmox/10-hypervisor.yaml -f -\n{workers}"
    ));
    let hypervisor = examples(&args.project, "hypervisor")?.replace(ENDPOINT, &real::endpoints(&at.to_string()));
    apply(plane, &[examples(&args.project, "namespace")?, hypervisor, workers].concat()).await?;
    let mut audience = Audience::new(plane, &mut replica.process);
    audience.follow(Goal::real(), PATIENCE_WITH_REAL_GUESTS).await?;
    session(plane, &args.project, &mut audience, Goal::real_worked(), PATIENCE_WITH_REAL_GUESTS).await?;
    let checks = "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{range .status.lastTest.checks[*]}\
                  {\"  \"}{.name}{\": \"}{.result}{\", \"}{.message}{\"\\n\"}{end}{end}";
    say("what their tests have seen inside of the guests:");
    say(kubectl(plane, &["-n", EXAMPLES, "get", "workers", "-o", checks]).await?.trim_end());
    Ok(())
}

/// The world of the examples, at a pace that is pleasant to watch.
fn scenario() -> Scenario {
    let timings = Timings {
        download: Seconds(3.0),
        import: Seconds(3.0),
        full_clone: Seconds(3.0),
        boot: Seconds(5.0),
        shutdown: Seconds(2.0),
        ..Timings::default()
    };
    Scenario { timings, ..Scenario::default_demo() }
}

/// Serves the simulated cluster where the examples look for it, or on a free port if that one is taken.
async fn serve(simulator: &Simulator) -> Result<Server, DemoError> {
    let wanted: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8006));
    match Server::start(simulator, wanted).await {
        Ok(server) => Ok(server),
        Err(_) => Ok(Server::start(simulator, SocketAddr::from(([127, 0, 0, 1], 0))).await?),
    }
}

/// Installs the chart, and runs what its Deployment says as a process: there is no kubelet here.
async fn install(plane: &ControlPlane, args: &Args) -> Result<Replica, DemoError> {
    say("$ helm install stevedore charts/stevedore");
    let flags = match args.image {
        None => "extraArgs={--settle-time=5s}",
        // Software emulation is slow.
        Some(_) => "extraArgs={--settle-time=5m,--guest-timeout=20m}",
    };
    let chart = args.project.join("charts/stevedore");
    let installed = Installed::from_chart(plane, &chart, "stevedore", NAMESPACE, &[flags]).await?;
    let program =
        std::env::current_exe().map_err(|source| DemoError::Io { what: "finding this program".into(), source })?;
    let replica = installed.start(plane, &program, 0).await?;
    say("the operator runs, with the rights that its chart gives it");
    Ok(replica)
}

/// The examples whose name has `part` in it, one after the other.
fn examples(project: &Path, part: &str) -> Result<String, DemoError> {
    let folder = project.join("examples/proxmox");
    let failed = |source| DemoError::Io { what: format!("reading {}", folder.display()), source };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).map_err(failed)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let fits = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(part));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml") && fits(path));
    files.sort();
    let mut manifests = String::new();
    for file in files {
        manifests.push_str(&read(&file)?);
        manifests.push_str("\n---\n");
    }
    Ok(manifests)
}

fn read(file: &Path) -> Result<String, DemoError> {
    std::fs::read_to_string(file)
        .map_err(|source| DemoError::Io { what: format!("reading {}", file.display()), source })
}

async fn apply(plane: &ControlPlane, manifests: &str) -> Result<(), DemoError> {
    let output = plane.kubectl_with_input(&["apply", "-f", "-"], manifests).await?.success()?;
    say(output.trim_end());
    Ok(())
}

async fn summary(plane: &ControlPlane, simulator: &Simulator, took: Duration) -> Result<(), DemoError> {
    let kinds = "hypervisors,workers,workersessions,workertasks";
    say(&format!("$ kubectl get {kinds} -A -o wide"));
    say(kubectl(plane, &["get", kinds, "-A", "-o", "wide"]).await?.trim_end());
    let vms = simulator
        .world(|world| world.machines().iter().filter(|(vmid, _)| world.is_running(*vmid).unwrap_or(false)).count());
    say(&format!("done in {} s; VMs that run on the simulated cluster now: {vms} (people's own)", took.as_secs()));
    Ok(())
}

async fn keep(plane: &ControlPlane, replica: &Replica) {
    say(&Invitation { plane, replica }.to_string());
    // Without signals there is nothing to wait for.
    let _ = tokio::signal::ctrl_c().await;
}

async fn kubectl(plane: &ControlPlane, args: &[&str]) -> Result<String, DemoError> {
    Ok(plane.kubectl(args).await?.success()?)
}

/// Prints for the person who watches.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    // A closed output is no reason to stop.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
