//! A simulated guest that really runs programs, in a folder that looks like a machine.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use self::process1::Process1;
use super::root;
use crate::simulator::guest_exec::{ExecCall, ExecEnd, ExecOutcome, GuestEffect, GuestEnd, GuestExec, GuestFacts};

mod order;
mod process1;
mod signals;
mod unit;

/// Plays all guests of a world with real processes, each guest in a folder of its own.
///
/// The environment is empty but for `PATH` and `STEVEDORE_ROOT`; by name a program reaches only the guest's stand-ins
/// and a few harmless programs of this machine. It is a stage, not a prison: a program may name files of this machine.
/// Needs real time, see the module.
///
/// Of systemd it plays what units of ours need: they go on when the program ends that started them, and end with the guest.
#[derive(Debug, Clone)]
pub struct ShellGuest {
    base: PathBuf,
    /// One for each guest, by its life.
    systems: Arc<Mutex<BTreeMap<String, Process1>>>,
    /// Held while a folder is prepared: two programs that begin at once must not both make the same guest.
    preparing: Arc<Mutex<()>>,
}

impl ShellGuest {
    /// Guests whose facts give them no folder get one below `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into(), systems: Arc::default(), preparing: Arc::default() }
    }

    /// The folder of the guest with these facts.
    pub fn root_of(&self, facts: &GuestFacts) -> PathBuf {
        facts.root.clone().unwrap_or_else(|| self.base.join(&facts.life))
    }

    fn systems(&self) -> MutexGuard<'_, BTreeMap<String, Process1>> {
        self.systems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what ran in an earlier boot of this guest.
    fn boot(&self, facts: &GuestFacts) {
        let root = self.root_of(facts);
        let mut systems = self.systems();
        if systems.get(&facts.life).is_none_or(|system| !system.is_of(facts.boots)) {
            systems.insert(facts.life.clone(), Process1::new(root, facts.boots));
        }
    }

    /// Lets process 1 do what the programs of a guest asked of it.
    fn attend(&self, life: &str) -> io::Result<()> {
        self.systems().get_mut(life).map_or(Ok(()), Process1::attend)
    }

    async fn run(&self, call: ExecCall) -> io::Result<ExecOutcome> {
        let root = self.root_of(&call.facts);
        let ExecCall { argv, input, facts } = call;
        let (folder, life, turn) = (root.clone(), facts.life.clone(), Arc::clone(&self.preparing));
        self.boot(&facts);
        let prepared = tokio::task::spawn_blocking(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            root::prepare(&folder, &facts)
        });
        prepared.await.map_err(io::Error::other)??;
        let Some((program, args)) = argv.split_first() else { return Ok(ExecOutcome::not_started()) };
        let program = root.join("bin").join(program.rsplit('/').next().unwrap_or(program));
        if !program.exists() {
            return Ok(ExecOutcome::not_started());
        }
        let ended = ended(&program, args, &root, &input).await?;
        self.attend(&life)?;
        let (effect, effect_after) = effect(&root);
        Ok(ExecOutcome {
            end: match (ended.status.code(), ended.status.signal()) {
                (Some(code), _) => ExecEnd::Exited(code),
                (None, signal) => ExecEnd::Signalled(signal.unwrap_or(9)),
            },
            stdout: ended.stdout,
            stderr: ended.stderr,
            // It has passed already.
            took: Duration::ZERO,
            effect,
            effect_after,
        })
    }
}

#[async_trait]
impl GuestExec for ShellGuest {
    async fn exec(&self, call: ExecCall) -> ExecOutcome {
        let life = call.facts.life.clone();
        self.run(call).await.unwrap_or_else(|error| {
            let text = format!("the simulated guest {life} is broken: {error}\n");
            ExecOutcome { stderr: text.into_bytes(), ..ExecOutcome::exited(127, Vec::new()) }
        })
    }

    fn went_down(&self, end: &GuestEnd) {
        let mut systems = self.systems();
        if systems.get(&end.life).is_some_and(|system| system.is_of(end.boots)) {
            systems.remove(&end.life);
        }
    }
}

async fn ended(program: &Path, args: &[String], folder: &Path, input: &[u8]) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(args).env_clear().env("STEVEDORE_ROOT", folder).env("PATH", folder.join("bin")).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input to the end is no failure.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    output
}

/// What the stand-ins for powering off and rebooting left behind, and how long after the program's end that happens.
fn effect(root: &Path) -> (GuestEffect, Duration) {
    let [word, after] = ["run/effect", "run/effect-after"].map(|note| {
        let note = root.join(note);
        let word = std::fs::read_to_string(&note).unwrap_or_default();
        // Gone already if two programs end at once; one of them has told it.
        let _ = std::fs::remove_file(&note);
        word
    });
    let effect = match word.trim() {
        "poweroff" => GuestEffect::PowerOff,
        "reboot" => GuestEffect::Reboot,
        _ => GuestEffect::None,
    };
    (effect, Duration::from_secs(after.trim().parse().unwrap_or(0)))
}
