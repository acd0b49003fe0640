//! Workers at rest, made in bulk: one is deployed and tested by the operator itself, the others are copies of it, each
//! with a VM whose marks fit and with the status that the operator would have written.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use stevedore::api::worker_status::Applied;
use stevedore::api::{Worker, WorkerStatus, names};
use stevedore::domain::declare;
use stevedore::domain::identity::Mark;
use stevedore::hypervisor::vm::VmRef;
use stevedore::simulator::declared::is_tested;
use stevedore::simulator::scenario::MachineSpec;

use crate::stage::{HOSTS, Lab, Outcome, Stage, end, watched};

/// The first worker, which the others are made like.
const FIRST: &str = "worker-0";
/// Writes under way at a time.
const AT_A_TIME: usize = 16;
/// The lowest id in the range of every cluster.
const LOWEST_ID: usize = 5000;

/// The worker that the operator has made, with its VM.
struct Pattern {
    worker: Worker,
    status: WorkerStatus,
    at: VmRef,
    settings: BTreeMap<String, String>,
    installation: String,
}

/// Has the operator make the first worker, on the first cluster, and ends the operator.
async fn pattern(stage: &Stage, lab: &Lab) -> Outcome<Pattern> {
    let operator = stage.operator().await?;
    stage.apply(&lab.cluster("{}", "{}").manifests()).await?;
    stage.apply(&lab.cluster("{}", "{}").worker(FIRST, HOSTS[0], "OnChange")).await?;
    watched(stage, 1, Duration::from_secs(180), is_tested).await?;
    end(operator).await?;
    let worker = stage.workers().get(FIRST).await?;
    let status = worker.status.clone().unwrap_or_default();
    let vm = status.vm.clone().unwrap_or_default();
    let at = VmRef { host: vm.host.ok_or("the VM has no host")?, id: vm.id.ok_or("the VM has no id")? };
    let vmid = at.id.parse()?;
    let settings = lab.simulator.world(|world| world.settings(vmid));
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let installation = namespaces.get("kube-system").await?.uid().ok_or("kube-system has no UID")?;
    Ok(Pattern { worker, status, at, settings, installation })
}

/// Brings about workers at rest: as many on each cluster as `counts` says, one on the first. No operator runs then.
pub(crate) async fn settle(stage: &Stage, labs: &[Lab], counts: &[usize]) -> Outcome<()> {
    let [first, others @ ..] = labs else { return Err("there is no cluster".into()) };
    let pattern = pattern(stage, first).await?;
    stage.apply(&others.iter().map(|lab| lab.cluster("{}", "{}").manifests()).collect::<String>()).await?;
    let places = others.iter().zip(&counts[1..]).flat_map(|(lab, count)| (0..*count).map(move |index| (lab, index)));
    let places = places.enumerate().map(|(number, (lab, index))| Place { number: number + 1, lab, index });
    let (api, pattern) = (&stage.workers(), &pattern);
    futures::stream::iter(places)
        .map(|place| async move { place.settle(api, pattern).await })
        .buffer_unordered(AT_A_TIME)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// Where one more worker comes to rest.
struct Place<'a> {
    number: usize,
    lab: &'a Lab,
    index: usize,
}

impl Place<'_> {
    async fn settle(&self, api: &Api<Worker>, pattern: &Pattern) -> Outcome<()> {
        let at = VmRef { host: HOSTS[self.index % HOSTS.len()].into(), id: (LOWEST_ID + self.index).to_string() };
        let name = format!("worker-{}", self.number);
        let mut worker = Worker::new(&name, pattern.worker.spec.clone());
        worker.metadata.finalizers = Some(vec![names::WORKER_FINALIZER.to_owned()]);
        self.lab.name.clone_into(&mut worker.spec.hypervisor_ref.name);
        if let Some(proxmox) = &mut worker.spec.proxmox {
            at.host.clone_into(&mut proxmox.host);
        }
        let worker = api.create(&PostParams::default(), &worker).await?;
        let mark = Mark {
            installation: pattern.installation.clone(),
            worker_uid: worker.uid().unwrap_or_default(),
            worker: declare::qualified_name(&worker),
            operation: format!("operation-{}", self.number),
            vm_id: at.id.clone(),
        };
        let machine = machine(pattern, &worker, &mark, &at)?;
        self.lab.simulator.world(|world| world.add_machine(&machine));
        let status = status(pattern, &worker, &mark, &at)?;
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(
            &name,
            &PatchParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PatchParams::default() },
            &patch,
        )
        .await?;
        Ok(())
    }
}

/// The VM: as that of the first worker, with a name, an id and marks of its own.
fn machine(pattern: &Pattern, worker: &Worker, mark: &Mark, at: &VmRef) -> Outcome<MachineSpec> {
    let mut config = pattern.settings.clone();
    let (from, to) = (format!("vm-{}-", pattern.at.id), format!("vm-{}-", at.id));
    for value in config.values_mut() {
        *value = value.replace(&from, &to);
    }
    config.retain(|key, _| !matches!(key.as_str(), "vmgenid" | "meta"));
    let net = config.get("net0").ok_or("the VM has no network card")?;
    let (card, rest) = net.split_once(',').ok_or("the network card has no bridge")?;
    // A hardware address of its own is drawn.
    let net = format!("{},{rest}", card.split('=').next().unwrap_or(card));
    config.extend([
        ("name".to_owned(), worker.vm_name()),
        ("net0".to_owned(), net),
        ("description".to_owned(), mark.describe("")),
        ("smbios1".to_owned(), format!("uuid={}", mark.uuid())),
    ]);
    Ok(MachineSpec { vmid: at.id.parse()?, node: at.host.clone(), running: false, config })
}

/// The status: as that of the first worker, told of this one.
fn status(pattern: &Pattern, worker: &Worker, mark: &Mark, at: &VmRef) -> Outcome<WorkerStatus> {
    let declared = declare::declared(worker, &pattern.installation).map_err(|problem| problem.message)?;
    let mut status = pattern.status.clone();
    status.observed_generation = worker.metadata.generation;
    for condition in &mut status.conditions {
        condition.message = condition.message.replace(&pattern.at.to_string(), &at.to_string());
        condition.observed_generation = worker.metadata.generation;
    }
    if let Some(vm) = &mut status.vm {
        vm.id = Some(at.id.clone());
        vm.host = Some(at.host.clone());
        vm.uuid = Some(mark.uuid().to_string());
    }
    if let Some(test) = &mut status.last_test {
        test.config_hash = Some(declared.spec_hash.clone());
        test.operation = Some(mark.operation.clone());
    }
    let summary = declare::summary(&declared.wanted);
    status.applied = Some(Applied { hash: declared.spec_hash, summary });
    Ok(status)
}
