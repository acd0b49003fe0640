//! A hypervisor that answers what the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use stevedore::controller::context::{Connect, ConnectionSettings, Credential};
use stevedore::domain::fault::{Fault, FaultKind};
use stevedore::domain::identity::{Mark, Shown, TAG};
use stevedore::guest::channel::GuestChannel;
use stevedore::hypervisor::inventory::{HostSummary, Inventory, VmSummary};
use stevedore::hypervisor::registry::ConnectionLimits;
use stevedore::hypervisor::vm::image::{ImageFile, ImageState};
use stevedore::hypervisor::vm::making::Making;
use stevedore::hypervisor::vm::{
    Capabilities, ClusterIdentity, Difference, GuestAddress, InUse, MissingPrivilege, Obstacle, Power, Probe,
    TaskHandle, TaskState, VmDetail, VmRef, VmWanted,
};
use stevedore::hypervisor::window::Window;
use stevedore::hypervisor::{Changes, Hypervisor, SharedHypervisor};
use tokio::sync::Notify;

pub(crate) const INSTALLATION: &str = "installation-1";

/// What the hypervisor answers, and how often it was asked.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) fault: Option<FaultKind>,
    pub(crate) token: String,
    pub(crate) probe: Probe,
    pub(crate) missing: Vec<MissingPrivilege>,
    pub(crate) inventory: Inventory,
    pub(crate) marks: BTreeMap<String, Mark>,
    /// VMs that the credential may not see.
    pub(crate) hidden: BTreeSet<String>,
    pub(crate) probes: usize,
    pub(crate) polls: usize,
    pub(crate) reads: usize,
    /// Clients that were made.
    pub(crate) clients: usize,
    /// By what limits each goes.
    pub(crate) limits: BTreeMap<usize, Arc<ConnectionLimits>>,
    /// What privileges were asked for last.
    pub(crate) in_use: InUse,
    /// The next probe rings the first bell and answers when the second one rings.
    pub(crate) bells: Option<[Arc<Notify>; 2]>,
}

/// The one hypervisor behind all endpoints.
#[derive(Debug, Clone)]
pub(crate) struct World(Arc<Mutex<Answers>>);

impl World {
    pub(crate) fn new() -> Self {
        let host = HostSummary { online: true, maintenance: false, cpus: 8, memory: 16 << 30 };
        let hosts = [("pve1".to_owned(), host)].into();
        Self(Arc::new(Mutex::new(Answers {
            fault: None,
            token: "s3cret".into(),
            probe: Probe {
                product: "Proxmox VE".into(),
                version: "9.0.3".into(),
                identity: cluster("prod", "AA"),
                quorate: true,
                certificate_ends: None,
            },
            missing: Vec::new(),
            inventory: Inventory { quorate: true, hosts, ..Inventory::default() },
            marks: BTreeMap::new(),
            hidden: BTreeSet::new(),
            probes: 0,
            polls: 0,
            reads: 0,
            clients: 0,
            limits: BTreeMap::new(),
            in_use: InUse::default(),
            bells: None,
        })))
    }

    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set_quorate(&self, quorate: bool) {
        let mut answers = self.answers();
        answers.inventory.quorate = quorate;
        answers.probe.quorate = quorate;
    }

    /// The credential loses sight of a VM, by an access rule on that VM alone.
    pub(crate) fn hide(&self, id: &str) {
        self.answers().hidden.insert(id.into());
    }

    /// Somebody deletes a VM.
    pub(crate) fn remove_vm(&self, id: &str) {
        let mut answers = self.answers();
        answers.inventory.vms.remove(id);
        answers.marks.remove(id);
        answers.hidden.remove(id);
    }

    /// From now on these nodes answer, as the cluster of this name.
    pub(crate) fn set_nodes(&self, name: &str, nodes: &[&str]) {
        let host = HostSummary { online: true, maintenance: false, cpus: 8, memory: 16 << 30 };
        let mut answers = self.answers();
        answers.inventory.hosts = nodes.iter().map(|node| ((*node).to_owned(), host.clone())).collect();
        answers.probe.identity.name = name.into();
        answers.probe.identity.nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    }

    /// Puts the VM of a worker there.
    pub(crate) fn add_vm(&self, id: &str, worker: &str, uid: &str, power: Power) {
        let mark = Mark {
            installation: INSTALLATION.into(),
            worker_uid: uid.into(),
            worker: format!("backup/{worker}"),
            operation: "op".into(),
            vm_id: id.into(),
        };
        let summary = VmSummary {
            host: "pve1".into(),
            name: Some(worker.into()),
            power,
            tags: vec![TAG.into()],
            lock: None,
            template: Some(false),
        };
        let mut answers = self.answers();
        answers.inventory.vms.insert(id.into(), summary);
        answers.marks.insert(id.into(), mark);
    }
}

pub(crate) fn cluster(name: &str, ca: &str) -> ClusterIdentity {
    ClusterIdentity { name: name.into(), nodes: vec!["pve1".into()], ca_fingerprint: ca.into() }
}

impl Connect for World {
    fn connect(&self, settings: &ConnectionSettings) -> Result<SharedHypervisor, Fault> {
        let mut answers = self.answers();
        answers.clients += 1;
        Ok(Arc::new(Client { world: self.clone(), number: answers.clients, credential: settings.credential.clone() }))
    }
}

#[derive(Debug)]
struct Client {
    world: World,
    number: usize,
    credential: Credential,
}

impl Client {
    fn admitted(&self) -> Result<MutexGuard<'_, Answers>, Fault> {
        let answers = self.world.answers();
        if let Some(kind) = answers.fault.clone() {
            return Err(Fault::new(kind, "no endpoint answers"));
        }
        match &self.credential {
            Credential::Token { secret, .. } if secret.expose() == answers.token => Ok(answers),
            _ => Err(Fault::new(FaultKind::Unauthorized, "the token is refused")),
        }
    }
}

fn never<T>() -> Result<T, Fault> {
    panic!("the controller of Hypervisors asks nothing about workers and enters no guest")
}

#[async_trait]
impl Hypervisor for Client {
    fn capabilities(&self) -> Capabilities {
        Capabilities { provider: "Proxmox", chooses_ids: true, requests_per_poll: 2 }
    }

    fn use_limits(&self, limits: Arc<ConnectionLimits>) {
        self.world.answers().limits.insert(self.number, limits);
    }

    async fn probe(&self) -> Result<Probe, Fault> {
        self.world.answers().probes += 1;
        let bells = self.world.answers().bells.take();
        if let Some([asked, answer]) = bells {
            asked.notify_one();
            answer.notified().await;
        }
        Ok(self.admitted()?.probe.clone())
    }

    async fn missing_privileges(&self, in_use: &InUse) -> Result<Vec<MissingPrivilege>, Fault> {
        let mut answers = self.admitted()?;
        answers.in_use = in_use.clone();
        Ok(answers.missing.clone())
    }

    async fn inventory(&self) -> Result<Inventory, Fault> {
        self.world.answers().polls += 1;
        let answers = self.admitted()?;
        let mut inventory = answers.inventory.clone();
        inventory.vms.retain(|id, _| !answers.hidden.contains(id));
        Ok(inventory)
    }

    async fn image(&self, _: &str, _: &ImageFile, _: Option<&TaskHandle>) -> Result<ImageState, Fault> {
        never()
    }

    async fn vm(&self, at: &VmRef) -> Result<VmDetail, Fault> {
        self.world.answers().reads += 1;
        let answers = self.admitted()?;
        if answers.hidden.contains(&at.id) {
            let kind = FaultKind::Forbidden { privilege: "VM.Audit".into(), path: format!("/vms/{}", at.id) };
            return Err(Fault::new(kind, "Permission check failed"));
        }
        let mark = answers.marks.get(&at.id).ok_or_else(|| Fault::new(FaultKind::NotFound, "no such VM"))?;
        let shown = Shown {
            vm_id: at.id.clone(),
            tagged: true,
            description: mark.describe(""),
            uuid: Some(mark.uuid().to_string()),
        };
        Ok(VmDetail { shown, ..VmDetail::bare(at.clone(), BTreeMap::new()) })
    }

    fn differences(&self, _: &VmWanted, _: &VmDetail) -> Vec<Difference> {
        Vec::new()
    }

    async fn obstacles(&self, _: &VmWanted) -> Result<Vec<Obstacle>, Fault> {
        never()
    }

    async fn task(&self, _: &TaskHandle) -> Result<TaskState, Fault> {
        never()
    }

    async fn is_being_made(&self, _: &Making) -> Result<bool, Fault> {
        never()
    }

    fn within(&self, _: Window) -> Box<dyn Changes + '_> {
        panic!("the controller of Hypervisors changes nothing")
    }

    async fn guest_addresses(&self, _: &VmRef) -> Result<Vec<GuestAddress>, Fault> {
        never()
    }

    async fn guest_answers(&self, _: &VmRef) -> Result<bool, Fault> {
        never()
    }

    async fn storages_of(&self, _: &VmRef) -> Result<BTreeSet<String>, Fault> {
        never()
    }

    fn guest(&self, _: &VmRef) -> Arc<dyn GuestChannel> {
        panic!("the controller of Hypervisors enters no guest")
    }

    fn guest_within(&self, _: &VmRef, _: Window) -> Arc<dyn GuestChannel> {
        panic!("the controller of Hypervisors enters no guest")
    }
}
