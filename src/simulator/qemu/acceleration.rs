//! KVM or software? A machine that really boots decides.
//!
//! `/dev/kvm` can be there, open, run firmware, and still hang a Linux kernel, as where the hypervisor around is one of
//! those that nest badly. So the first machine that is started is tried with KVM, on a disk that is thrown away, until
//! something is heard that only a running system says. The answer is kept for this kernel and this QEMU.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
}

impl Verdict {
    fn kvm(why: impl Into<String>) -> Self {
        Self { argument: "kvm", why: format!("KVM, because {}", why.into()) }
    }

    fn software(why: impl Into<String>) -> Self {
        Self { argument: SOFTWARE, why: format!("software emulation, because {}", why.into()) }
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
    match fs::read_to_string(cache).ok()?.trim() {
        "kvm" => Some(Verdict::kvm(format!("a machine booted with it before ({})", cache.display()))),
        "tcg" => {
            let why = format!("no machine booted with KVM before; to try again, remove {}", cache.display());
            Some(Verdict::software(why))
        }
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
    cache: &Path,
) -> Result<Verdict, String> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let (order, spec) = (stand_in(order, tools, folder)?, QemuSpec { max_cores: Some(1), ..QemuSpec::default() });
    let own = Folder { run: folder.to_owned(), console: folder.join("console.log") };
    let line = machine::command_line(&order, &spec, "kvm", &own)?;
    let process = Process::start(&tools.qemu, &line.arguments, own, network, watchdog)?;
    let verdict = match process.wait_until_it_runs() {
        Err((lines, _)) => Verdict::software(format!("QEMU refused KVM: {}", lines.join("; "))),
        Ok(()) if lives(&process) => Verdict::kvm("a machine booted with it"),
        Ok(()) => Verdict::software(format!("a machine gave no sign of life with KVM in {} s", PATIENCE.as_secs())),
    };
    // An answer that cannot be kept is found again.
    let _ = fs::write(cache, verdict.argument.split(',').next().unwrap_or_default());
    Ok(verdict)
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
        let console = process.console();
        if SIGNS.iter().any(|sign| console.contains(sign)) {
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
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_not_tried() {
        let spec = |acceleration| QemuSpec { acceleration, ..QemuSpec::default() };
        let nowhere = Path::new("/nowhere");
        assert_eq!(known(&spec(Acceleration::Kvm), nowhere).unwrap().argument, "kvm");
        let software = known(&spec(Acceleration::Tcg), nowhere).unwrap();
        assert_eq!(
            (software.argument, software.why.as_str()),
            (SOFTWARE, "software emulation, because it was asked for")
        );
    }
}
