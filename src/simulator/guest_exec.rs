//! What runs inside a simulated guest: the seam between the hypervisor's simulator and the guest's inside.
//!
//! The simulator knows *that* a guest agent was asked to run a program; a [`GuestExec`] knows what the program says.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Runs programs in simulated guests. One instance serves every guest of a world; state is kept by [`GuestFacts::life`].
#[async_trait]
pub trait GuestExec: Debug + Send + Sync {
    /// Runs `call` to its end.
    ///
    /// A canned guest answers at once and says in [`ExecOutcome::took`] how long the program would have run; the
    /// simulator shows the program as running until that much (virtual) time has passed.
    async fn exec(&self, call: ExecCall) -> ExecOutcome;

    /// A guest went down: powered off, cut off, or on its way to its next boot. What ran in it is gone, what is on its disk
    /// stays.
    fn went_down(&self, _end: &GuestEnd) {}
}

/// A guest's inside that a world and its tests share.
pub type SharedGuestExec = Arc<dyn GuestExec>;

/// The end of one boot of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestEnd {
    /// The guest, see [`GuestFacts::life`].
    pub life: String,
    /// Its boot, see [`GuestFacts::boots`].
    pub boots: u64,
    /// How long it had been up.
    pub uptime: Duration,
}

/// One program to run.
#[derive(Clone, Debug)]
pub struct ExecCall {
    /// Program path and its arguments; never empty.
    pub argv: Vec<String>,
    /// What the program reads on standard input.
    pub input: Vec<u8>,
    /// The guest as it is at the moment of the call.
    pub facts: GuestFacts,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Exit code, or the signal that ended it.
    pub end: ExecEnd,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, whole.
    pub stderr: Vec<u8>,
    /// How long the program ran; added to the simulator's clock, not waited for by the guest.
    pub took: Duration,
    /// What the program did to the machine around it.
    pub effect: GuestEffect,
    /// How long after its end the program does that.
    pub effect_after: Duration,
}

impl ExecOutcome {
    /// A program that printed `stdout`, ended with `code` and took no time.
    pub fn exited(code: i32, stdout: impl Into<Vec<u8>>) -> Self {
        Self {
            end: ExecEnd::Exited(code),
            stdout: stdout.into(),
            stderr: Vec::new(),
            took: Duration::ZERO,
            effect: GuestEffect::None,
            effect_after: Duration::ZERO,
        }
    }

    /// A program that the agent could not start, as with a path that does not exist.
    pub fn not_started() -> Self {
        Self { end: ExecEnd::NotStarted, ..Self::exited(0, Vec::new()) }
    }
}

/// The end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// There is no such program; Proxmox then breaks the connection between its daemons (596, recorded 269).
    NotStarted,
}

/// What a program did to its machine when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuestEffect {
    /// Nothing that the hypervisor sees.
    #[default]
    None,
    /// The guest powers off.
    PowerOff,
    /// The guest reboots; the virtual machine's process stays, so pending changes are not applied.
    Reboot,
    /// The guest agent stops answering until the guest boots again.
    AgentGone,
}

/// The guest as the outside knows it, at one moment.
#[derive(Clone, Debug)]
pub struct GuestFacts {
    /// Names one life of one virtual machine: unique in the world, new for every create and clone.
    pub life: String,
    /// How many times this machine has booted, the first boot is 1. What lives in `/run` is lost when it changes.
    pub boots: u64,
    /// The node that runs it.
    pub node: String,
    /// Its VMID.
    pub vmid: u32,
    /// The virtual machine's name, as the hypervisor shows it.
    pub vm_name: String,
    /// The hostname that cloud-init set at the last boot.
    pub hostname: String,
    /// Network interfaces besides `lo`, in order (`eth0`, `eth1`, …).
    pub interfaces: Vec<GuestInterface>,
    /// Name servers in use.
    pub nameservers: Vec<IpAddr>,
    /// Search domains in use.
    pub search_domains: Vec<String>,
    /// Names that resolve, with their addresses. Empty when the scenario says that name service is dead.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// TCP targets that accept a connection; everything else refuses it.
    pub reachable: Vec<ReachableTarget>,
    /// systemd units that the guest has; one that is not listed does not exist.
    pub units: BTreeMap<String, UnitState>,
    /// The guest's wall clock, which the scenario may put off.
    pub clock: Timestamp,
    /// When the guest last booted, by the true clock.
    pub booted_at: Timestamp,
    /// How long ago that was, by the guest's clock that does not jump.
    pub uptime: Duration,
    /// Virtual processors in use.
    pub cores: u32,
    /// Memory in use by the machine, in bytes.
    pub memory_bytes: u64,
    /// Size of the root file system, in bytes: the boot disk as it was at the last boot.
    pub disk_total_bytes: u64,
    /// Free bytes on the root file system.
    pub disk_free_bytes: u64,
    /// Cloud-init settings of the last boot, by their name in the VM's configuration (`ciuser`, `sshkeys`, …).
    pub cloud_init: BTreeMap<String, String>,
    /// What else the scenario says about this guest, by name; free-form.
    pub behaviours: BTreeMap<String, serde_json::Value>,
    /// A folder of this guest's own on the machine that runs the simulator, if the scenario gives one. It may not
    /// exist yet.
    pub root: Option<PathBuf>,
}

/// One network interface in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestInterface {
    /// Name in the guest.
    pub name: String,
    /// Hardware address, lower case.
    pub mac: String,
    /// The bridge it hangs on.
    pub bridge: String,
    /// Addresses with their prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default gateway learned or set here.
    pub gateway: Option<IpAddr>,
}

/// A TCP target that accepts connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReachableTarget {
    /// Host name or address, as the scenario writes it.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// State of a systemd unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    /// Running.
    Active,
    /// Known and not running.
    Inactive,
    /// Ended with an error.
    Failed,
}

/// The simplest guest: `/bin/echo` prints, `/bin/true` and `/bin/false` end, every other program ends with 0 and is
/// silent, a program named `nosuch` or with a blank in its name does not exist.
#[derive(Clone, Copy, Debug, Default)]
pub struct EchoGuest;

#[async_trait]
impl GuestExec for EchoGuest {
    async fn exec(&self, call: ExecCall) -> ExecOutcome {
        let program = call.argv.first().map_or("", |path| path.rsplit('/').next().unwrap_or(path));
        match program {
            "echo" => ExecOutcome::exited(0, format!("{}\n", call.argv[1..].join(" "))),
            "cat" => ExecOutcome::exited(0, call.input),
            "false" => ExecOutcome::exited(1, Vec::new()),
            "poweroff" => ExecOutcome { effect: GuestEffect::PowerOff, ..ExecOutcome::exited(0, Vec::new()) },
            "reboot" => ExecOutcome { effect: GuestEffect::Reboot, ..ExecOutcome::exited(0, Vec::new()) },
            "sleep" => {
                let seconds = call.argv.get(1).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
                let took = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
                ExecOutcome { took, ..ExecOutcome::exited(0, Vec::new()) }
            }
            // A command line in place of a program is one (recorded 273).
            name if name == "nosuch" || name.contains(' ') => ExecOutcome::not_started(),
            _ => ExecOutcome::exited(0, Vec::new()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Facts of a guest that has one interface and nothing special.
    pub(crate) fn plain_facts() -> GuestFacts {
        GuestFacts {
            life: "lab-100-1".into(),
            boots: 1,
            node: "pve1".into(),
            vmid: 100,
            vm_name: "alpha".into(),
            hostname: "alpha".into(),
            interfaces: Vec::new(),
            nameservers: Vec::new(),
            search_domains: Vec::new(),
            hosts: BTreeMap::new(),
            reachable: Vec::new(),
            units: BTreeMap::new(),
            clock: Timestamp::UNIX_EPOCH,
            booted_at: Timestamp::UNIX_EPOCH,
            uptime: Duration::ZERO,
            cores: 1,
            memory_bytes: 512 << 20,
            disk_total_bytes: 4 << 30,
            disk_free_bytes: 3 << 30,
            cloud_init: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            root: None,
        }
    }

    #[tokio::test]
    async fn the_echo_guest_prints_its_arguments() {
        let argv = ["/bin/echo", "hello", "there"].map(String::from).to_vec();
        let outcome = EchoGuest.exec(ExecCall { argv, input: Vec::new(), facts: plain_facts() }).await;
        assert_eq!(outcome, ExecOutcome::exited(0, "hello there\n"));
    }
}
