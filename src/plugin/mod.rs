//! `kubectl stevedore`: what people ask, with their own rights. The program is this plugin when it is started as
//! `kubectl-stevedore`.
//!
//! Everything is read from the API server anew, and from the hypervisor as far as the person may read the Secret with its
//! credential. Nothing is written anywhere.

mod access;
mod error;
pub mod explain;
pub mod logs;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use kube::Client;

use self::access::Access;
pub use self::error::PluginError;
use crate::app::connector::HttpsConnector;
use crate::clock::{SharedClock, SystemClock};
use crate::controller::context::Connect;
use crate::domain::fault::CALL_DEADLINE;
use crate::hypervisor::transport::Unobserved;

/// What people call the plugin.
pub const NAME: &str = "kubectl stevedore";
/// The name under which kubectl finds it.
const PROGRAM: &str = "kubectl-stevedore";

/// Tells about backup sessions: why tasks wait, and what their commands print.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, bin_name = NAME, version)]
struct Plugin {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells where each task of a session is, why those that wait do, and what stands against each worker.
    Explain(explain::Args),
    /// Prints what the command of a task has printed, all of it, from inside the worker.
    Logs(logs::Args),
}

/// Who asks, and how Kubernetes and hypervisors are reached.
#[derive(Debug, Clone)]
pub struct Person {
    /// The Kubernetes API, with the person's own rights.
    pub client: PersonalClient,
    /// The namespace that is asked about.
    pub namespace: String,
    /// Makes clients of hypervisors.
    pub connector: Arc<dyn Connect>,
    /// The source of time.
    pub clock: SharedClock,
}

/// A client of the Kubernetes API.
#[derive(Clone)]
pub struct PersonalClient(pub Client);

impl std::fmt::Debug for PersonalClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PersonalClient").finish_non_exhaustive()
    }
}

/// Whether the program that was started under this name is meant to be the plugin.
pub fn is_meant(program: &Path) -> bool {
    program.file_stem().is_some_and(|name| name == PROGRAM)
}

/// Parses the command line and does what it asks.
///
/// # Errors
///
/// What is wrong, where, and what to do.
pub async fn main() -> Result<(), String> {
    let Plugin { access, command } = Plugin::parse();
    run(&access, command).await.map_err(|error| error.to_string())
}

async fn run(access: &Access, command: Command) -> Result<(), PluginError> {
    let (client, namespace) = access.connect().await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let connector = HttpsConnector { deadline: CALL_DEADLINE, clock: clock.clone(), observer: Arc::new(Unobserved) };
    let person = Person { client: PersonalClient(client), namespace, connector: Arc::new(connector), clock };
    let (mut out, mut notes) = (std::io::stdout(), std::io::stderr());
    let done = match command {
        Command::Explain(args) => {
            let text = explain::explain(&person, &args).await?;
            out.write_all(text.as_bytes()).map_err(PluginError::Output)
        }
        Command::Logs(args) => logs::logs(&person, &args, &mut out, &mut notes).await,
    };
    let done = done.and_then(|()| out.flush().map_err(PluginError::Output));
    match done {
        // Whoever read it wants no more.
        Err(PluginError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_plugin_by_its_name_alone() {
        for name in ["kubectl-stevedore", "/usr/local/bin/kubectl-stevedore", "kubectl-stevedore.exe"] {
            assert!(is_meant(Path::new(name)), "{name}");
        }
        for name in ["stevedore", "/opt/kubectl-stevedore/stevedore", "kubectl", ""] {
            assert!(!is_meant(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn flags_of_kubectl_stand_before_or_after_the_command() {
        for line in ["-n backup explain nightly", "explain nightly -n backup", "explain --namespace=backup nightly"] {
            let plugin = Plugin::try_parse_from(["kubectl-stevedore"].into_iter().chain(line.split(' '))).unwrap();
            assert_eq!(plugin.access.namespace.as_deref(), Some("backup"), "{line}");
        }
        assert!(Plugin::try_parse_from(["kubectl-stevedore", "logs", "t", "--attempt", "0"]).is_err());
        assert!(Plugin::try_parse_from(["kubectl-stevedore", "logs", "t", "--attempt", "1", "--previous"]).is_err());
    }
}
