//! The command line: `run`, `crds`, `simulate`, `demo`; flags and environment become settings.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::crdgen;

/// Manages backup workers on hypervisors, as declared in Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "stevedore", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the custom resource definitions as YAML, or writes one file for each.
    Crds {
        /// Writes the files into this folder instead of printing.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Parses the command line and runs the command; the exit code is what the process ends with.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crds { dir } => crds(dir.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // The one line that is for the terminal whatever the log's settings are.
            let _ = writeln!(std::io::stderr(), "stevedore: {message}");
            ExitCode::FAILURE
        }
    }
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
