//! KVM or software? A machine that really boots decides.
//!
//! `/dev/kvm` can be there, open, run firmware, and still hang a Linux kernel, as where the hypervisor around is one of
//! those that nest badly. So the first machine that is started is tried with KVM, on a disk that is thrown away, until
//! something is heard that only a running system says. The answer is kept for this kernel and this QEMU; but silence is
//! kept only if the same disk is heard of in software, because an image that boots nowhere says nothing about KVM.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::machine::Folder;
use super::network::Network;
use super::process::Process;
use super::tools::{Tools, run};
use super::{disks, machine};
use crate::clock::{Clock as _, SystemClock};
use crate::simulator::scenario::{Acceleration, QemuSpec};
use crate::simulator::world::config::Config;
use crate::simulator::world::vmm::{AgentChannel as _, PowerOn};
use crate::watchdog::Watchdog;

/// The argument for software.
const SOFTWARE: &str = "tcg,thread=multi";
/// How long a machine may take to give a sign of life; it needs a tenth of that where KVM works.
const PATIENCE: Duration = Duration::from_secs(40);
const STEP: Duration = Duration::from_millis(250);
/// How often it is looked whether a machine lives in software, and how long.
const CONFIRM_STEP: Duration = Duration::from_secs(1);
const CONFIRM: Duration = Duration::from_secs(900);
/// What the kept file says.
const WORKS: &str = "kvm";
const REFUSED: &str = "refused";
const SILENT: &str = "silent";
/// What only a kernel that has come as far as its first programs says on the console.
const SIGNS: [&str; 6] =
    ["Run /init as init process", "Run /sbin/init", "Begin: Running /scripts/", "systemd[1]", "Welcome to ", " login:"];

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The argument for QEMU.
    pub(super) argument: &'static str,
    /// For people.
    pub(super) why: String,
    /// It may be the machine's own disk that does not boot.
    pub(super) doubtful: bool,
}

impl Verdict {
    fn kvm(why: impl Into<String>) -> Self {
        Self { argument: "kvm", why: format!("KVM, because {}", why.into()), doubtful: false }
    }

    fn software(why: impl Into<String>) -> Self {
        Self { argument: SOFTWARE, why: format!("software emulation, because {}", why.into()), doubtful: false }
    }
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A machine lived.
    Life,
    /// QEMU ended at once, for want of KVM; what it wrote.
    Refusal(String),
    /// QEMU did not get as far as KVM; what it wrote.
    Failure(String),
    /// Nothing was heard: KVM hangs, or the image does not boot.
    Silence,
}

impl Found {
    /// Of the lines of a QEMU that did not come up. Each may begin with the name of the program, `kvm`.
    fn of_failure(lines: &[String]) -> Self {
        let said = lines.join("; ");
        let mut plain = lines.iter().map(|line| line.strip_prefix("kvm: ").unwrap_or(line).to_lowercase());
        if plain.any(|line| line.contains("kvm")) { Self::Refusal(said) } else { Self::Failure(said) }
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Life => Verdict::kvm("a machine booted with it"),
            Self::Refusal(said) => Verdict::software(format!("QEMU refused KVM: {said}")),
            Self::Failure(said) => Verdict::software(format!("QEMU did not start with KVM: {said}")),
            Self::Silence => {
                let why = format!("a machine gave no sign of life with KVM in {} s", PATIENCE.as_secs());
                Verdict { doubtful: true, ..Verdict::software(why) }
            }
        }
    }

    /// Whether it holds for the machines that come after.
    pub(super) fn is_answer(&self) -> bool {
        !matches!(self, Self::Failure(_))
    }

    /// Keeps what is certain.
    pub(super) fn keep(&self, cache: &Path) -> std::io::Result<()> {
        match self {
            Self::Life => fs::write(cache, WORKS),
            Self::Refusal(_) => fs::write(cache, REFUSED),
            Self::Failure(_) | Self::Silence => Ok(()),
        }
    }
}

/// What is known without trying.
pub(super) fn known(spec: &QemuSpec, cache: &Path) -> Option<Verdict> {
    match spec.acceleration {
        Acceleration::Kvm => return Some(Verdict::kvm("it was asked for")),
        Acceleration::Tcg => return Some(Verdict::software("it was asked for")),
        Acceleration::Auto => {}
    }
    if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
        return Some(Verdict::software(format!("/dev/kvm cannot be opened ({error})")));
    }
    kept(cache)
}

/// What is known from before.
fn kept(cache: &Path) -> Option<Verdict> {
    let again = format!("to try again, remove {}", cache.display());
    match fs::read_to_string(cache).ok()?.trim() {
        WORKS => Some(Verdict::kvm(format!("a machine booted with it before ({})", cache.display()))),
        REFUSED => Some(Verdict::software(format!("QEMU refused KVM before; {again}"))),
        SILENT => Some(Verdict::software(format!("a machine booted only so before, not with KVM; {again}"))),
        _ => None,
    }
}

/// Where the answer for this kernel and this QEMU is kept.
pub(super) fn cache(tools: &Tools) -> PathBuf {
    let kernel = rustix::system::uname();
    let version = run(std::process::Command::new(&tools.qemu).arg("--version"));
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let key = format!("{} {} {version}", kernel.release().to_string_lossy(), kernel.version().to_string_lossy());
    let key = sha1_smol::Sha1::from(key).digest().to_string();
    std::env::temp_dir().join(format!("stevedore-kvm-{}-{}", rustix::process::getuid().as_raw(), &key[..12]))
}

/// What a machine is run by that has nothing to boot from, so that it tells nothing about KVM.
pub(super) fn without_a_try() -> Verdict {
    Verdict::software("this machine has nothing to boot from that KVM could be tried with")
}

/// Whether a machine has a disk that something was written to.
pub(super) fn can_be_tried(order: &PowerOn) -> bool {
    let disks = order.config.drives().filter(|(key, drive)| !drive.is_cdrom() && !key.starts_with("efidisk"));
    disks.filter_map(|(key, _)| order.files.get(key)).any(|file| disks::has_content(file))
}

/// Boots the machine with KVM, from a disk over its own, and listens for a sign of life.
pub(super) fn probe(
    order: &PowerOn,
    tools: &Tools,
    folder: &Path,
    network: &Network,
    watchdog: &Arc<Watchdog>,
) -> Result<Found, String> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let (order, spec) = (stand_in(order, tools, folder)?, QemuSpec { max_cores: Some(1), ..QemuSpec::default() });
    let own = Folder { run: folder.to_owned(), console: folder.join("console.log") };
    let line = machine::command_line(&order, &spec, "kvm", &own)?;
    let process = Process::start(&tools.qemu, &line.arguments, own, network, watchdog)?;
    Ok(match process.wait_until_it_runs() {
        Err((lines, _)) => Found::of_failure(&lines),
        Ok(()) if lives(&process) => Found::Life,
        Ok(()) => Found::Silence,
    })
}

/// Keeps that KVM hangs, if a machine that was silent with it is heard in software.
pub(super) fn confirm(console: PathBuf, process: &Arc<Process>, cache: PathBuf) {
    let process = Arc::downgrade(process);
    // Without a thread, or a file, the answer is found again.
    let _ = std::thread::Builder::new().name("guest-sign".to_owned()).spawn(move || {
        if is_heard(&console, &process) {
            let _ = fs::write(cache, SILENT);
        }
    });
}

/// Whether a machine is heard before its process is dropped. It must not be held: whoever drops it waits for its end.
fn is_heard(console: &Path, process: &Weak<Process>) -> bool {
    let deadline = SystemClock.boot().plus(CONFIRM);
    while SystemClock.boot() < deadline && process.strong_count() > 0 {
        if fs::read(console).is_ok_and(|bytes| has_sign(&String::from_utf8_lossy(&bytes))) {
            return true;
        }
        sleep(CONFIRM_STEP);
    }
    false
}

fn has_sign(console: &str) -> bool {
    SIGNS.iter().any(|sign| console.contains(sign))
}

/// The same machine on disks that are thrown away, with no cards, a console and a channel for the agent.
fn stand_in(order: &PowerOn, tools: &Tools, folder: &Path) -> Result<PowerOn, String> {
    let mut config = Config { values: order.config.values.clone(), ..Config::default() };
    config.values.retain(|key, _| !key.starts_with("net"));
    config.set("serial0", "socket");
    config.set("agent", "1");
    let mut files = order.files.clone();
    for (key, _) in order.config.drives().filter(|(_, drive)| !drive.is_cdrom()) {
        let Some(file) = files.get_mut(key) else { continue };
        let own = folder.join(key);
        if key.starts_with("efidisk") {
            disks::make_firmware_variables(&own)?;
        } else {
            disks::link(tools, file, &own)?;
        }
        *file = own;
    }
    Ok(PowerOn {
        vmid: order.vmid,
        config,
        files,
        seed: None,
        clock: None,
        behaviour: crate::simulator::scenario::GuestBehaviour::default(),
        leases: order.leases.clone(),
        addresses: order.addresses.clone(),
    })
}

fn lives(process: &Process) -> bool {
    let deadline = SystemClock.boot().plus(PATIENCE);
    while SystemClock.boot() < deadline && process.ended().is_none() {
        if has_sign(&process.console()) {
            return true;
        }
        let agent = process.agent();
        if agent.is_some_and(|agent| agent.call("guest-ping", &json!({}), STEP, STEP).is_ok()) {
            return true;
        }
        sleep(STEP);
    }
    false
}

#[cfg(test)]
#[path = "acceleration_tests.rs"]
mod tests;
