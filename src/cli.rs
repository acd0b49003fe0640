//! The command line: `run`, `crds`, `simulate`, `demo`; flags and environment become settings.

use std::process::ExitCode;

/// Parses the command line and runs the command; the exit code is what the process ends with.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
