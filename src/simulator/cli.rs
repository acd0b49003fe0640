//! `stevedore simulate proxmox`: a simulated cluster on sockets, until it is interrupted.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::guest_exec::SharedGuestExec;
use super::proxmox::Simulator;
use super::scenario::{DEMO_SECRET, DEMO_TOKEN, Release, Scenario, ScenarioError};
use super::server::{Server, ServerError};
use crate::clock::SystemClock;

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
        self.scenario.as_deref().map_or_else(|| Ok(Scenario::demo_of(self.release)), Scenario::from_file)
    }
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
    let simulator = Simulator::with_guests(args.world()?, Arc::new(SystemClock), guest);
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
    let (_simulator, servers) = start(&args, guest).await?;
    let nodes = servers.iter().map(|server| format!("{} https://{}/api2/json\n", server.node, server.addr));
    let token = args.scenario.is_none().then(|| format!("token {DEMO_TOKEN}={DEMO_SECRET}\n"));
    let text: String = nodes.chain(token).collect();
    // A closed output is no reason to stop serving.
    let _ = print(&text);
    let _ = tokio::signal::ctrl_c().await;
    Ok(())
}

fn print(text: &str) -> Result<(), CliError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(CliError::Print)
}
