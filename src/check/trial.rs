//! A simulated Proxmox VE with real machines that boot one image, and the operator's client to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use thiserror::Error;
use tokio::time::sleep;

use crate::clock::{BootTime, Clock as _, SystemClock};
use crate::domain::fault::{CALL_DEADLINE, Fault, FaultKind};
use crate::domain::identity::Mark;
use crate::guest::channel::GuestChannel;
use crate::hypervisor::proxmox::{Credential, Proxmox, ProxmoxSettings};
use crate::hypervisor::registry::ConnectionLimits;
use crate::hypervisor::transport::Unobserved;
use crate::hypervisor::vm::image::ImageWanted;
use crate::hypervisor::vm::{AddressWanted, CreateOrder, NetworkWanted, Started, TaskState, VmRef, VmWanted};
use crate::hypervisor::window::Window;
use crate::hypervisor::{Changes, Hypervisor as _};
use crate::secret::Secret;
use crate::simulator::guest_exec::EchoGuest;
use crate::simulator::proxmox::Simulator;
use crate::simulator::qemu::QemuError;
use crate::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Release, Scenario};

/// The SSH key that nobody has the private half of.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA nobody";

/// A trial could not be made, or came to no end.
#[derive(Debug, Error)]
pub enum TrialError {
    /// Machines cannot be real here.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A call to the simulated cluster failed.
    #[error("{what}: {fault}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        fault: Fault,
    },
    /// A task on the simulated cluster failed.
    #[error("{what}: {text}")]
    Task {
        /// What was tried.
        what: &'static str,
        /// What the task says.
        text: String,
    },
}

/// The machine that is wanted.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Its one network's IPv4 settings.
    pub ipv4: AddressWanted,
    /// Its one network's IPv6 settings.
    pub ipv6: AddressWanted,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Boots by UEFI.
    pub uefi: bool,
    /// The least size of its disk, GiB.
    pub disk_gib: u64,
    /// What it is made from.
    pub image: ImageWanted,
}

impl Wish {
    /// A small machine with an address from DHCP, made from the template.
    pub fn of(name: &str, id: u32) -> Self {
        let (ipv4, ipv6) = (AddressWanted::Dhcp, AddressWanted::None);
        let image = ImageWanted::Template("debian-worker".to_owned());
        Self { name: name.to_owned(), id, ipv4, ipv6, memory_mib: 1024, uefi: false, disk_gib: 10, image }
    }

    /// Where it is.
    pub fn at(&self) -> VmRef {
        VmRef { host: "pve1".to_owned(), id: self.id.to_string() }
    }

    /// The user that it gets.
    pub fn user() -> &'static str {
        "stevedore"
    }

    fn wanted(&self) -> VmWanted {
        VmWanted {
            host: self.at().host,
            storage: "local-lvm".to_owned(),
            image: self.image.clone(),
            name: self.name.clone(),
            description: String::new(),
            mark: Mark {
                installation: "trial".to_owned(),
                worker_uid: self.name.clone(),
                worker: format!("trial/{}", self.name),
                operation: "trial".to_owned(),
                vm_id: self.id.to_string(),
            },
            cpus: 1,
            memory_mib: self.memory_mib,
            disk_gib: self.disk_gib,
            networks: vec![NetworkWanted {
                name: "lan".to_owned(),
                bridge: "vmbr0".to_owned(),
                vlan: None,
                mtu: None,
                ipv4: self.ipv4.clone(),
                ipv6: self.ipv6.clone(),
            }],
            dns_servers: vec![[10, 77, 0, 1].into()],
            search_domains: vec!["lab".to_owned()],
            user: Self::user().to_owned(),
            authorized_keys: vec![KEY.to_owned()],
        }
    }
}

/// A cluster whose machines are real. What it made goes when it is dropped.
#[derive(Debug)]
pub struct Trial {
    /// The cluster.
    pub simulator: Simulator,
    /// The operator's client to it.
    pub client: Proxmox,
}

impl Trial {
    /// A cluster whose template holds `image`; `furnish` has the last word on its world.
    pub fn open(image: &Path, furnish: impl FnOnce(&mut Scenario)) -> Result<Self, TrialError> {
        let mut world = Scenario::with_real_guests(Release::V9, Some(image));
        let names = [("pve1.lab", [10, 77, 0, 11]), ("repo.lab", [10, 77, 0, 20])];
        world.network.hosts = names.map(|(name, address)| (name.to_owned(), vec![address.into()])).into();
        world.network.open = ["pve1.lab:8006", "repo.lab:2049"].map(String::from).to_vec();
        furnish(&mut world);
        let simulator = Simulator::open(world, Arc::new(EchoGuest))?;
        let settings = ProxmoxSettings {
            endpoints: vec!["https://pve1:8006".to_owned()],
            credential: Credential::Token { id: DEMO_TOKEN.to_owned(), secret: Secret::new(DEMO_SECRET.to_owned()) },
            pool: None,
            limits: ConnectionLimits::unshared(),
            deadline: CALL_DEADLINE,
            clock: Arc::new(SystemClock),
            observer: Arc::new(Unobserved),
        };
        let client = Proxmox::new(settings, Arc::new(simulator.clone()))
            .map_err(|fault| TrialError::Call { what: "reaching the simulated cluster", fault })?;
        Ok(Self { simulator, client })
    }

    /// The cluster is this process's own, so nothing has to be proven before it is changed.
    fn changes(&self) -> Box<dyn Changes + '_> {
        self.client.within(Window::until(BootTime::from_start(Duration::MAX), Arc::new(SystemClock)))
    }

    /// Waits for the end of what was started.
    async fn done(&self, what: &'static str, started: Result<Started, Fault>) -> Result<(), TrialError> {
        let call = |fault| TrialError::Call { what, fault };
        let Started::Task(task) = started.map_err(call)? else { return Ok(()) };
        loop {
            match self.client.task(&task).await.map_err(call)? {
                TaskState::Running => sleep(Duration::from_millis(300)).await,
                TaskState::Succeeded { .. } => return Ok(()),
                other => return Err(TrialError::Task { what, text: format!("{other:?}") }),
            }
        }
    }

    /// Deploys a machine, powered off.
    pub async fn deploy(&self, wish: &Wish) -> Result<(), TrialError> {
        let (wanted, at) = (wish.wanted(), wish.at());
        let order = CreateOrder { wanted: wanted.clone(), at: at.clone(), since: SystemClock.wall() };
        let mut created = self.changes().create(&order).await;
        // Nodes publish every 10 s which of their VMs are templates.
        while created.as_ref().is_err_and(|fault| fault.kind == FaultKind::Busy) {
            sleep(Duration::from_secs(1)).await;
            created = self.changes().create(&order).await;
        }
        self.done("making the VM", created).await?;
        if wish.uefi {
            // The template's own cloud-init drive is on IDE, where it would not be seen.
            self.set(wish, "bios", "ovmf").await?;
            self.set(wish, "delete", "ide2").await?;
        }
        let look = |fault| TrialError::Call { what: "looking at the VM", fault };
        let seen = self.client.vm(&at).await.map_err(look)?;
        self.done("configuring the VM", self.changes().configure(&wanted, &seen).await).await?;
        let seen = self.client.vm(&at).await.map_err(look)?;
        self.done("growing the VM's disk", self.changes().grow_disk(&wanted, &seen).await).await
    }

    /// Changes an option of a machine's configuration, as a person would.
    pub async fn set(&self, wish: &Wish, option: &str, value: &str) -> Result<(), TrialError> {
        let at = wish.at();
        let what = "changing the VM's configuration";
        let lost = |text: String| TrialError::Call { what, fault: Fault::new(FaultKind::Other, text) };
        let form = form_urlencoded::Serializer::new(String::new()).append_pair(option, value).finish();
        let request = Request::put(format!("https://pve1:8006/api2/json/nodes/{}/qemu/{}/config", at.host, at.id))
            .header("Authorization", format!("PVEAPIToken={DEMO_TOKEN}={DEMO_SECRET}"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .map_err(|error| lost(error.to_string()))?;
        match self.simulator.call(request).await.answer() {
            Some(answer) if answer.status().is_success() => Ok(()),
            Some(answer) => Err(lost(String::from_utf8_lossy(answer.body()).into_owned())),
            None => Err(lost("the simulated node closed the connection".to_owned())),
        }
    }

    /// Powers a machine on.
    pub async fn start(&self, wish: &Wish) -> Result<(), TrialError> {
        self.done("powering on the VM", self.changes().start(&wish.at()).await).await
    }

    /// Waits for a guest's agent; whether it came within `patience`.
    pub async fn agent_comes(&self, wish: &Wish, patience: Duration) -> bool {
        let begun = SystemClock.boot();
        while SystemClock.boot().since(begun) < patience {
            // A call that fails is one that did not see an agent.
            if self.client.guest_answers(&wish.at()).await.unwrap_or(false) {
                return true;
            }
            sleep(Duration::from_secs(1)).await;
        }
        false
    }

    /// The way into a guest.
    pub fn guest(&self, wish: &Wish) -> Arc<dyn GuestChannel> {
        self.client.guest(&wish.at())
    }

    /// Asks a guest to shut down; whether it did by itself within `grace`.
    pub async fn shuts_down(&self, wish: &Wish, grace: Duration) -> Result<bool, TrialError> {
        let begun = SystemClock.boot();
        self.done("shutting down the VM", self.changes().shut_down(&wish.at(), grace).await).await?;
        Ok(SystemClock.boot().since(begun) < grace)
    }

    /// What a guest has written on its serial console.
    pub fn console(&self, wish: &Wish) -> String {
        self.simulator.qemu().and_then(|qemu| qemu.console(wish.id)).unwrap_or_default()
    }

    /// How machines are run; none until one was.
    pub fn acceleration(&self) -> Option<String> {
        self.simulator.qemu().and_then(crate::simulator::qemu::Qemu::acceleration)
    }
}
