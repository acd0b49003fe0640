//! The command line: `run`, `crds`, `check`, `simulate`, `demo`, or the kubectl plugin by its name; flags and environment become settings.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use uuid::Uuid;

use crate::api::common::Span;
use crate::api::crdgen;
use crate::app::{self, Settings};
use crate::controller::context::Patience;
use crate::docs;
use crate::domain::allowed::AllowedEndpoints;
use crate::plugin;
use crate::runtime::lease;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::telemetry::{self, LogFormat};

/// Manages backup workers on hypervisors, as declared in Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "stevedore", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the operator.
    Run(Box<RunArgs>),
    /// Prints the custom resource definitions as YAML, or writes one file for each.
    Crds {
        /// Writes the files into this folder instead of printing.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Writes the parts of the documentation that follow from the code.
    #[command(hide = true)]
    Docs {
        /// The folder.
        #[arg(long, default_value = "docs", value_name = "DIR")]
        dir: PathBuf,
    },
    /// Shows the operator at work: a real Kubernetes control plane, a simulated hypervisor, and example workers.
    #[cfg(feature = "simulator")]
    Demo(crate::demo::Args),
    /// Looks whether something is fit for its purpose.
    #[cfg(feature = "simulator")]
    Check {
        #[command(subcommand)]
        what: Check,
    },
    /// Serves a simulated hypervisor, to try things out.
    #[cfg(feature = "simulator")]
    Simulate {
        #[command(subcommand)]
        what: Simulate,
    },
}

/// What is looked at.
#[cfg(feature = "simulator")]
#[derive(Debug, Subcommand)]
enum Check {
    /// Boots an image in QEMU and says whether it can be a worker, and what to install if not.
    Image(crate::check::Args),
}

/// What is simulated.
#[cfg(feature = "simulator")]
#[derive(Debug, Subcommand)]
enum Simulate {
    /// A Proxmox VE cluster.
    Proxmox(crate::simulator::cli::Args),
}

/// How the operator runs. The last one counts of a flag that is given twice, so that what a chart sets can be set anew.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct RunArgs {
    /// Where probes and metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    admin_address: SocketAddr,
    /// How the log looks.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: a level, or a list such as info,stevedore=debug.
    #[arg(long, default_value = "info", env = "STEVEDORE_LOG", value_name = "FILTER")]
    log: String,
    /// Works without leader election: only where no second process can run.
    #[arg(long)]
    no_leader_election: bool,
    /// Name of the Lease.
    #[arg(long, default_value = "stevedore", value_name = "NAME")]
    lease_name: String,
    /// Namespace of the Lease.
    #[arg(long, default_value = "default", env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: String,
    /// How long a leader that is not heard of keeps the others out; longer than --call-deadline.
    #[arg(long, default_value = "60s", value_parser = Span::typed)]
    lease_duration: Duration,
    /// How often the leader says that it is there.
    #[arg(long, default_value = "10s", value_parser = Span::typed)]
    lease_renew_interval: Duration,
    /// Name of this process.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// What makes this installation's marks on VMs its own; the UID of the namespace kube-system if not given.
    #[arg(long, value_name = "ID")]
    installation_id: Option<String>,
    /// What hypervisors may be reached at, and what images may be downloaded from: host names, *.domains, addresses and
    /// networks, separated by commas; everything if not given. Names are not resolved.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::builder::NonEmptyStringValueParser::new())]
    allowed_endpoints: Vec<String>,
    /// How long one call to a hypervisor may take. Proxmox VE answers up to 30 s late.
    #[arg(long, default_value = "35s", value_parser = Span::typed)]
    call_deadline: Duration,
    /// How long a guest may take from power-on until its agent answers.
    #[arg(long, default_value = "5m", value_parser = Span::typed)]
    guest_timeout: Duration,
    /// How long after power-on a check that fails is tried again before it counts.
    #[arg(long, default_value = "1m", value_parser = Span::typed)]
    settle_time: Duration,
}

impl RunArgs {
    fn settings(&self) -> Result<Settings, String> {
        if !self.no_leader_election && self.lease_duration <= self.call_deadline {
            return Err(format!(
                "--lease-duration ({:?}) must be longer than --call-deadline ({:?}): a call must end within the term",
                self.lease_duration, self.call_deadline
            ));
        }
        if !self.no_leader_election && self.lease_renew_interval * 2 > self.lease_duration {
            return Err("--lease-renew-interval must be at most half of --lease-duration".to_owned());
        }
        let unique = Uuid::new_v4();
        let pod = self.pod_name.clone().unwrap_or_else(|| "stevedore".to_owned());
        let holder = format!("{pod}_{unique}");
        let seed = unique.as_u64_pair().0;
        let election = lease::Settings {
            duration: self.lease_duration,
            renew: self.lease_renew_interval,
            retry: lease::Settings::new("", "", "", 0).retry.min(self.lease_renew_interval),
            deadline: lease::Settings::new("", "", "", 0).deadline.min(self.lease_renew_interval),
            ..lease::Settings::new(&self.lease_namespace, &self.lease_name, &holder, seed)
        };
        Ok(Settings {
            admin_address: self.admin_address,
            lease: (!self.no_leader_election).then_some(election),
            installation_id: self.installation_id.clone(),
            pod: Some(pod),
            allowed: AllowedEndpoints::parse(&self.allowed_endpoints)
                .map_err(|error| format!("--allowed-endpoints: {error}"))?,
            patience: Patience {
                guest: self.guest_timeout,
                settle: self.settle_time,
                call: self.call_deadline,
                ..Patience::default()
            },
        })
    }
}

/// Parses the command line and runs the command; the exit code is what the process ends with. Under the name of the
/// kubectl plugin the program is that.
pub fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|program| plugin::is_meant(Path::new(&program))) {
        return ended(plugin::NAME, block_on(plugin::main()));
    }
    let result = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Crds { dir } => crds(dir.as_deref()),
        Command::Docs { dir } => documentation(&dir),
        #[cfg(feature = "simulator")]
        Command::Demo(args) => demo(&args),
        #[cfg(feature = "simulator")]
        Command::Check { what: Check::Image(args) } => check_image(args),
        #[cfg(feature = "simulator")]
        Command::Simulate { what: Simulate::Proxmox(args) } => simulate(args),
    };
    ended("stevedore", result)
}

fn ended(program: &str, result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // The one line that is for the terminal whatever the log's settings are.
            let _ = writeln!(std::io::stderr(), "{program}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs asynchronous work to its end.
fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| format!("the process cannot start its threads: {error}"))?.block_on(work)
}

fn run(args: &RunArgs) -> Result<(), String> {
    let settings = args.settings()?;
    telemetry::init(args.log_format, &args.log).map_err(|error| error.to_string())?;
    block_on(async {
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| format!("signals cannot be received: {error}"))?;
        app::run(settings, shutdown).await.map_err(|error| error.to_string())
    })
}

#[cfg(feature = "simulator")]
fn demo(args: &crate::demo::Args) -> Result<(), String> {
    let guests = shell_guests();
    block_on(async { crate::demo::run(args, guests).await.map_err(|error| error.to_string()) })
}

#[cfg(feature = "simulator")]
fn check_image(args: crate::check::Args) -> Result<(), String> {
    block_on(async { crate::check::run(args).await.map_err(|error| error.to_string()) })
}

#[cfg(feature = "simulator")]
fn simulate(args: crate::simulator::cli::Args) -> Result<(), String> {
    let guests = shell_guests();
    block_on(async { crate::simulator::cli::run(args, guests).await.map_err(|error| error.to_string()) })
}

/// Guests that run the operator's own scripts in a real shell.
#[cfg(feature = "simulator")]
fn shell_guests() -> crate::simulator::guest_exec::SharedGuestExec {
    let root = std::env::temp_dir().join(format!("stevedore-guests-{}", std::process::id()));
    std::sync::Arc::new(crate::simulator::guest::ShellGuest::new(root))
}

fn documentation(dir: &Path) -> Result<(), String> {
    for (name, text) in docs::files() {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn crds(dir: Option<&Path>) -> Result<(), String> {
    for crd in crdgen::all() {
        let yaml = crdgen::to_yaml(&crd).map_err(|error| format!("cannot write the CRDs as YAML: {error}"))?;
        match dir {
            None => {
                let document = format!("---\n{yaml}");
                std::io::stdout().write_all(document.as_bytes()).map_err(|error| format!("cannot print: {error}"))?;
            }
            Some(dir) => {
                let path = dir.join(crdgen::file_name(&crd));
                std::fs::write(&path, yaml).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_args(args: &[&str]) -> Box<RunArgs> {
        match Cli::try_parse_from(["stevedore", "run"].iter().chain(args)).unwrap().command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_one_counts_of_a_flag_that_is_given_twice() {
        let args =
            run_args(&["--lease-duration=60s", "--no-leader-election", "--lease-duration=2m", "--no-leader-election"]);
        assert_eq!(args.lease_duration, Duration::from_secs(120));
        assert!(args.no_leader_election);
    }

    #[test]
    fn what_may_be_reached_is_a_list_of_names_and_networks() {
        let settings = |list: &str| run_args(&["--no-leader-election", list]).settings();
        let allowed = settings("--allowed-endpoints=pve1.lab,10.0.0.0/8").unwrap().allowed;
        assert!(allowed.allows("https://10.1.2.3:8006") && !allowed.allows("https://pve2.lab:8006"));
        assert!(settings("--allowed-endpoints=pve1.lab,http://x").unwrap_err().contains("--allowed-endpoints"));
        assert!(run_args(&[]).settings().unwrap().allowed.allows("https://anywhere"));
        assert!(
            Cli::try_parse_from(["stevedore", "run", "--allowed-endpoints="]).is_err(),
            "an empty list is a mistake"
        );
    }

    #[test]
    fn a_lease_that_ends_before_a_call_may_is_refused() {
        let settings = |duration| run_args(&[duration, "--lease-renew-interval=1s"]).settings();
        let error = settings("--lease-duration=35s").unwrap_err();
        assert!(error.contains("must be longer than --call-deadline (35s)"), "{error}");
        assert!(settings("--lease-duration=36s").is_ok());
    }
}
