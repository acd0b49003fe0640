//! Measures what `docs/benchmarks.md` tells: `make bench`.
//!
//! Everything is real but the hypervisors: the operator runs as a process, built as it is shipped, installed by its
//! chart on etcd, kube-apiserver and kube-controller-manager; the simulated Proxmox VE clusters answer over HTTPS.
//! What cannot be measured ends the run with an error: no figure is made up, and no table is written without all.

mod machine;
mod new_workers;
mod one_worker;
mod report;
mod scheduling;
mod settled;
mod settling;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::report::Report;
use crate::stage::Outcome;

/// How many of everything, and what to do with it.
#[derive(Debug, Parser)]
#[command(about)]
struct Args {
    /// Says that this is `cargo bench`, which gives it.
    #[arg(long, hide = true)]
    bench: bool,
    /// Workers at rest.
    #[arg(long, default_value_t = 10_000)]
    settled: usize,
    /// Hypervisors that they are on.
    #[arg(long, default_value_t = 100)]
    hypervisors: usize,
    /// Workers that are made, tested and shut down.
    #[arg(long, default_value_t = 1_000)]
    new: usize,
    /// Only this part; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Writes the table into this file.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// The parts of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Decisions on many tasks, without anything around them.
    Scheduling,
    /// One worker on a cluster that takes its time.
    One,
    /// Many new workers on clusters that take none.
    New,
    /// Many workers at rest.
    Settled,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` starts it, too.
        report::say("nothing is measured by tests: run `make bench`");
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    let measured = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(measure(&args)));
    match measured {
        Ok(()) => {
            report::say(&format!("done in {} s", begun.elapsed().as_secs()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::say(&format!("this could not be measured: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &Args) -> Outcome<()> {
    let is_whole = args.only.is_empty();
    if args.write.is_some() && !is_whole {
        return Err("a table with some of the figures only is not written: leave out --only".into());
    }
    let machine = machine::Machine::look()?;
    report::say(&format!("on {machine}; the load is {} now", machine::load()?));
    let mut report = Report::default();
    let wanted = |part| is_whole || args.only.contains(&part);
    if wanted(Part::Scheduling) {
        scheduling::measure(&mut report)?;
    }
    if wanted(Part::One) {
        one_worker::measure(&mut report).await?;
    }
    if wanted(Part::New) {
        new_workers::measure(args.new, &mut report).await?;
    }
    if wanted(Part::Settled) {
        settled::measure(args.settled, args.hypervisors, &mut report).await?;
    }
    if let Some(file) = &args.write {
        std::fs::write(file, report.document(&machine))?;
        report::say(&format!("written to {}", file.display()));
    }
    Ok(())
}
