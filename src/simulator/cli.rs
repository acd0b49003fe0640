//! `stevedore simulate proxmox`: a simulated cluster on sockets, until it is interrupted.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::guest_exec::SharedGuestExec;
use super::proxmox::Simulator;
use super::qemu::{Qemu, QemuError};
use super::scenario::{DEMO_SECRET, DEMO_TOKEN, Release, Scenario, ScenarioError};
use super::server::{Server, ServerError};

/// What to simulate, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address and port of the first node.
    #[arg(long, default_value = "127.0.0.1:8006")]
    pub listen: SocketAddr,

    /// A scenario in YAML or JSON, such as --print-scenario prints; a cluster of three nodes if none is given.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// Release of the cluster that is simulated if no scenario is given: 8.4 or 9.2.
    #[arg(long, default_value = "9.2", value_parser = release, conflicts_with = "scenario")]
    pub release: Release,

    /// What runs in the machines.
    #[command(flatten)]
    pub guests: GuestArgs,

    /// Writes the certificate authority here, as PEM.
    #[arg(long, value_name = "FILE")]
    pub write_ca: Option<PathBuf>,

    /// Serves the other nodes, too, on the ports that follow.
    #[arg(long)]
    pub every_node: bool,

    /// Prints the scenario as YAML, to be edited and given with --scenario, and serves nothing.
    #[arg(long)]
    pub print_scenario: bool,
}

impl Args {
    /// The world to simulate.
    pub fn world(&self) -> Result<Scenario, ScenarioError> {
        let wanted = &self.guests;
        let mut scenario = match &self.scenario {
            Some(file) => Scenario::from_file(file)?,
            None if wanted.guests == Some(Guests::Qemu) => {
                Scenario::with_real_guests(self.release, wanted.image.as_deref())
            }
            None => Scenario::demo_of(self.release),
        };
        match wanted.guests {
            None => {}
            Some(Guests::Simulated) => scenario.qemu = None,
            Some(Guests::Qemu) => drop(scenario.qemu.get_or_insert_default()),
        }
        if let Some(qemu) = &mut scenario.qemu {
            qemu.max_memory_mib = wanted.max_memory.or(qemu.max_memory_mib);
            qemu.max_cores = wanted.max_cores.or(qemu.max_cores);
            qemu.keep |= wanted.keep.is_some();
            qemu.folder = wanted.keep.clone().or(qemu.folder.take());
        }
        Ok(scenario)
    }
}

/// What runs in the virtual machines, and how.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GuestArgs {
    /// What runs in the virtual machines: simulated guests, or real ones in processes of QEMU. Real ones need root or a
    /// user namespace.
    #[arg(long, value_enum)]
    pub guests: Option<Guests>,

    /// The image (qcow2, raw or vmdk) that real guests boot from if no scenario is given: what
    /// local:import/worker.qcow2 and the debian-worker templates hold.
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    pub image: Option<PathBuf>,

    /// Most memory of one real guest, in MiB, whatever its configuration says.
    #[arg(long, value_name = "MIB")]
    pub max_memory: Option<u64>,

    /// Most processors of one real guest, whatever its configuration says.
    #[arg(long, value_name = "N")]
    pub max_cores: Option<u64>,

    /// Folder in which disks and console logs of real guests are kept when the simulator ends; otherwise they go.
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

/// What runs in the virtual machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Guests {
    /// What the scenario says, played.
    Simulated,
    /// Processes of QEMU.
    Qemu,
}

fn release(text: &str) -> Result<Release, String> {
    match text {
        "8.4" => Ok(Release::V8),
        "9.2" => Ok(Release::V9),
        other => Err(format!("{other} is not simulated; 8.4 and 9.2 are")),
    }
}

/// The simulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The scenario is not readable.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Machines cannot be real.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A node cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificate authority could not be written.
    #[error("the certificate authority could not be written to {path}: {source}")]
    WriteCa {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The scenario could not be printed.
    #[error("the scenario could not be printed: {0}")]
    Print(std::io::Error),
    /// There is no port after the last.
    #[error("there are not enough ports after {0} for every node; choose a lower port")]
    Ports(SocketAddr),
}

/// Starts the nodes and gives them back with their cluster; they run until they are dropped.
pub async fn start(args: &Args, guest: SharedGuestExec) -> Result<(Simulator, Vec<Server>), CliError> {
    let simulator = Simulator::open(args.world()?, guest)?;
    let nodes = simulator.nodes();
    let count = if args.every_node { nodes.len() } else { 1 };
    let mut servers = Vec::new();
    for (place, node) in nodes.iter().take(count).enumerate() {
        let mut listen = args.listen;
        if listen.port() != 0 {
            let step = u16::try_from(place).unwrap_or(u16::MAX);
            listen.set_port(listen.port().checked_add(step).ok_or(CliError::Ports(args.listen))?);
        }
        servers.push(Server::start_node(&simulator, node, listen).await?);
    }
    if let (Some(path), Some(server)) = (&args.write_ca, servers.first()) {
        let written = tokio::fs::write(path, &server.ca_pem).await;
        written.map_err(|source| CliError::WriteCa { path: path.clone(), source })?;
    }
    Ok((simulator, servers))
}

/// Serves until the process is interrupted.
pub async fn run(args: Args, guest: SharedGuestExec) -> Result<(), CliError> {
    if args.print_scenario {
        return print(&args.world()?.to_yaml()?);
    }
    let (simulator, servers) = start(&args, guest).await?;
    let nodes = servers.iter().map(|server| format!("{} https://{}/api2/json\n", server.node, server.addr));
    let token = args.scenario.is_none().then(|| format!("token {DEMO_TOKEN}={DEMO_SECRET}\n"));
    let text: String = nodes.chain(token).chain(simulator.qemu().map(about_guests)).collect();
    // A closed output is no reason to stop serving.
    let _ = print(&text);
    let _ = tokio::signal::ctrl_c().await;
    Ok(())
}

/// How real guests are run, and where.
fn about_guests(qemu: &Qemu) -> String {
    let how = qemu.acceleration();
    let how = how.unwrap_or_else(|| "KVM if the first machine boots with it, else software emulation".to_owned());
    format!("guests QEMU, by {how}\nfolder {}\n", qemu.folder().display())
}

fn print(text: &str) -> Result<(), CliError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(CliError::Print)
}
