//! The closer looks that a decision can ask for; each asks the hypervisor, or this process, one question.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;

use super::connection::Connection;
use super::context::Context;
use super::snapshot::{hypervisor_key, named_ids};
use super::{budget, gone, snapshot};
use crate::api::Worker;
use crate::api::reasons::WorkerReason;
use crate::domain::allowed;
use crate::domain::declare;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::identity::{Mark, judge};
use crate::domain::observation::{
    Budget, Declared, ImageSight, Inside, Live, LiveVm, Looks, NewId, Problem, UpdateLook,
};
use crate::domain::operation::{Operation, Step};
use crate::domain::plan::Look;
use crate::guest::{tasks, updates};
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::vm::image::ImageState;
use crate::hypervisor::vm::making::{MadeFrom, Making};
use crate::hypervisor::vm::{Obstacle, ObstacleKind, TaskHandle, TaskState, VmDetail, VmRef, VmWanted};

/// Who looks.
pub struct Looker<'a> {
    /// The process.
    pub context: &'a Context,
    /// The worker.
    pub worker: &'a Worker,
    /// What is declared.
    pub declared: &'a Declared,
    /// The hypervisor's connection.
    pub connection: &'a Arc<Connection>,
    /// The hypervisor's client.
    pub client: &'a SharedHypervisor,
}

impl Looker<'_> {
    /// Looks closer, and puts what is seen into `looks`.
    pub async fn look(&self, look: &Look, operation: Option<&Operation>, looks: &mut Looks) -> Result<(), Fault> {
        match look {
            Look::Vm(at) => looks.live = Some(self.vm(at).await?),
            Look::Image => looks.image = Some(self.image(operation).await?),
            Look::BeingMade => looks.being_made = Some(self.being_made(operation).await?),
            Look::Obstacles(of) => looks.obstacles = Some(self.obstacles(of.as_ref()).await?),
            Look::Strangers => looks.strangers = Some(self.strangers().await?),
            Look::NewId => looks.new_id = Some(self.new_id()),
            Look::Permit => looks.permit = Some(self.permit()),
            Look::Budget(operation) => looks.budget = Some(self.budget(operation).await?),
            Look::Guest(at) => looks.guest = Some(self.client.guest_answers(at).await?),
            Look::Inside(at) => looks.inside = Some(self.inside(at).await?),
            Look::Update(at) => looks.update = Some(self.update(at, operation).await?),
            Look::Gone(tasks) => looks.gone = Some(gone::of(self.context, self.worker, tasks).await),
        }
        Ok(())
    }

    /// The state of the task that the operation's present step started, if one is known.
    pub async fn task(&self, operation: &Operation) -> Result<Option<TaskState>, Fault> {
        match self.known_task(operation) {
            Some(task) => match self.client.task(&task).await {
                // Started under another token: what it did is observed instead.
                Err(Fault { kind: FaultKind::Forbidden { .. }, .. }) => Ok(Some(TaskState::Lost)),
                state => Ok(Some(state?)),
            },
            None => Ok(None),
        }
    }

    fn known_task(&self, operation: &Operation) -> Option<TaskHandle> {
        let uid = self.worker.uid().unwrap_or_default();
        let remembered = self.context.tracks.with(&uid, |track| track.task(operation).cloned());
        remembered.or_else(|| operation.task.clone())
    }

    async fn vm(&self, at: &VmRef) -> Result<Live, Fault> {
        let detail = match self.client.vm(at).await {
            Ok(detail) => detail,
            Err(fault) if fault.kind == FaultKind::NotFound => return Ok(Live::NotThere),
            Err(fault) => return Err(fault),
        };
        let now = self.context.clock.boot();
        let uid = self.worker.uid().unwrap_or_default();
        self.context.tracks.with(&uid, |track| track.power = Some((detail.power, now)));
        Ok(Live::Found(self.judged(&detail)))
    }

    /// What the guest tells of the tasks in it.
    async fn inside(&self, at: &VmRef) -> Result<Inside, Fault> {
        let channel = self.client.guest(at);
        match tasks::look(channel.as_ref(), self.context.patience.script).await {
            Ok(sight) => {
                self.heard();
                Ok(Inside::Told(sight))
            }
            Err(fault) if matches!(fault.kind, FaultKind::GuestAway | FaultKind::UnknownOutcome) => {
                Ok(Inside::Silent(self.silent_for()))
            }
            Err(fault) => Err(fault),
        }
    }

    /// What the guest tells of the operation's update. One that cannot tell is as good as silent: its package manager may
    /// just be replacing what it would tell with.
    async fn update(&self, at: &VmRef, operation: Option<&Operation>) -> Result<UpdateLook, Fault> {
        let Some(operation) = operation else {
            return Err(Fault::new(FaultKind::Other, "no operation is open that could have an update"));
        };
        let channel = self.client.guest(at);
        match updates::look(channel.as_ref(), &operation.id, self.context.patience.script).await {
            Ok(sight) => {
                self.heard();
                Ok(UpdateLook::Told(sight))
            }
            Err(fault) if fault.is_away() => Err(fault),
            Err(_) => Ok(UpdateLook::Silent(self.silent_for())),
        }
    }

    /// The guest has answered.
    fn heard(&self) {
        let uid = self.worker.uid().unwrap_or_default();
        self.context.tracks.with(&uid, |track| track.silent_since = None);
    }

    /// How long the guest has not answered, this time included.
    fn silent_for(&self) -> Duration {
        let (uid, now) = (self.worker.uid().unwrap_or_default(), self.context.clock.boot());
        self.context.tracks.with(&uid, |track| now.since(*track.silent_since.get_or_insert(now)))
    }

    fn judged(&self, detail: &VmDetail) -> LiveVm {
        let mark = &self.declared.wanted.mark;
        LiveVm {
            at: detail.at.clone(),
            ownership: judge(&detail.shown, &mark.installation, &mark.worker_uid),
            power: detail.power,
            lock: detail.lock.clone(),
            template: detail.template,
            protected: detail.protected,
            differences: self.client.differences(&wanted_of(&self.declared.wanted, detail), detail),
            uuid: detail.shown.uuid.clone().unwrap_or_default(),
            disk_bytes: detail.disk_bytes,
        }
    }

    /// Where the image is. Of several workers that find it nowhere one is told so, and has it downloaded; to the others it
    /// is on its way, and they do not ask the hypervisor.
    async fn image(&self, operation: Option<&Operation>) -> Result<ImageSight, Fault> {
        let wanted = &self.declared.wanted;
        let Some(image) = wanted.image.file() else { return Ok(ImageSight::Present) };
        let (uid, now) = (self.worker.uid().unwrap_or_default(), self.context.clock.boot());
        let place = self.connection.place_of(&wanted.host, image);
        if self.connection.is_downloaded_by_another(&uid, &place, now) {
            return Ok(ImageSight::Downloading);
        }
        let task = operation.filter(|operation| operation.step == Step::Download).and_then(|own| self.known_task(own));
        match self.client.image(&wanted.host, image, task.as_ref()).await? {
            ImageState::Present => {
                self.connection.has_downloaded(&uid, &place);
                Ok(ImageSight::Present)
            }
            ImageState::Downloading => Ok(ImageSight::Downloading),
            ImageState::Absent => Ok(self.connection.may_download(&uid, &place, &image.url, now)),
        }
    }

    async fn being_made(&self, operation: Option<&Operation>) -> Result<bool, Fault> {
        let Some(operation) = operation else { return Ok(false) };
        // What was ordered, not what is declared by now.
        let from = declare::made_from(&operation.made_as);
        let making = Making { at: operation.target.at(), from, since: operation.since };
        self.client.is_being_made(&making).await
    }

    /// `own`: this worker's VM, where it is, if there is one.
    async fn obstacles(&self, own: Option<&VmRef>) -> Result<Vec<Problem>, Fault> {
        if own.is_none()
            && let Some(problem) = not_allowed(self.context, &self.declared.wanted)
        {
            return Ok(vec![problem]);
        }
        let host = own.map_or(&self.declared.wanted.host, |own| &own.host).clone();
        let wanted = VmWanted { host, ..self.declared.wanted.clone() };
        let mut problems: Vec<Problem> = self.client.obstacles(&wanted).await?.iter().map(problem).collect();
        problems.extend(self.name_in_use(own));
        Ok(problems)
    }

    /// Another VM has the name that this worker's is to get.
    fn name_in_use(&self, own: Option<&VmRef>) -> Option<Problem> {
        let name = &self.declared.wanted.name;
        self.connection.view(|view| {
            let taken =
                |vm_name: &Option<String>| vm_name.as_ref().is_some_and(|taken| taken.eq_ignore_ascii_case(name));
            let (id, vm) =
                view.inventory().vms.iter().find(|(id, vm)| own.is_none_or(|own| own.id != **id) && taken(&vm.name))?;
            Some(Problem::new(
                WorkerReason::VmNameInUse,
                format!(
                    "VM {id} on {} has the name {name} already: set another spec.vmName, or rename that VM",
                    vm.host
                ),
            ))
        })
    }

    /// VMs that are being made by nobody we know. One that no task works on, and that a later poll still shows locked,
    /// is an orphan of somebody's crash, and holds nobody up.
    async fn strangers(&self) -> Result<Vec<String>, Fault> {
        let range = self.connection.state().vm_ids;
        let named = named_ids(self.context, &self.connection.sharers(), None);
        let (strangers, latest) = self.connection.view(|view| (view.strangers(range, &named), view.latest()));
        let mut in_the_way = Vec::new();
        for at in strangers {
            if self.connection.untasked_since(&at.id).is_some_and(|since| latest.is_some_and(|poll| poll > since)) {
                continue;
            }
            let since = jiff::Timestamp::UNIX_EPOCH;
            let making = Making { at: at.clone(), from: MadeFrom::Anything, since };
            if self.client.is_being_made(&making).await? {
                self.connection.note_tasked(&at.id);
            } else {
                self.connection.note_untasked(&at.id, self.context.clock.boot());
            }
            in_the_way.push(at.id);
        }
        Ok(in_the_way)
    }

    fn new_id(&self) -> NewId {
        let uid = self.worker.uid();
        let named = named_ids(self.context, &self.connection.sharers(), uid.as_deref());
        let mut named: std::collections::BTreeSet<u32> = named.iter().filter_map(|id| id.parse().ok()).collect();
        // An id that this very operation was refused is not tried again.
        if let Some(Ok(operation)) = snapshot::operation(self.worker) {
            named.extend(operation.target.vm_id.parse::<u32>());
        }
        let uid = uid.unwrap_or_default();
        if let Some(id) = self.connection.reserve_id(&uid, &named) {
            return NewId::Reserved(id.to_string());
        }
        let (min, max) = self.connection.state().vm_ids;
        NewId::Exhausted(format!(
            "no VM id is free between {min} and {max}: widen proxmox.vmIdRange of the Hypervisor, or delete VMs"
        ))
    }

    fn permit(&self) -> bool {
        let most = self.connection.state().parallel_launches;
        self.connection.permit(&self.worker.uid().unwrap_or_default(), most, self.context.clock.boot())
    }

    async fn budget(&self, operation: &Operation) -> Result<Budget, Fault> {
        budget::ask(self.context, &hypervisor_key(self.worker), operation)
            .await
            .map_err(|error| Fault::new(FaultKind::Other, format!("the deletion could not be entered: {error}")))
    }
}

/// What a VM that was read must look like: its mark names the operation that made it.
pub fn wanted_of(wanted: &VmWanted, detail: &VmDetail) -> VmWanted {
    let made_by = Mark::parse(&detail.shown.description).map(|mark| mark.operation).unwrap_or_default();
    declare::wanted_of(wanted, &made_by, &detail.at)
}

/// That the image may not be downloaded from where it lies.
pub fn not_allowed(context: &Context, wanted: &VmWanted) -> Option<Problem> {
    let url = &wanted.image.file()?.url;
    if context.allowed.allows(url) {
        return None;
    }
    let text = format!(
        "image.url names {}, which this operator may not have anything downloaded from: it was started with \
         --allowed-endpoints={}; serve the image from there, or have this host added",
        allowed::host_of(url).unwrap_or_else(|| "no host".to_owned()),
        context.allowed
    );
    Some(Problem::new(WorkerReason::ImageUrlNotAllowed, text))
}

fn problem(obstacle: &Obstacle) -> Problem {
    let reason = match obstacle.kind {
        ObstacleKind::HostMissing => WorkerReason::HostMissing,
        ObstacleKind::HostOffline => WorkerReason::HostOffline,
        ObstacleKind::HostTooSmall => WorkerReason::HostTooSmall,
        ObstacleKind::StorageMissing => WorkerReason::StorageMissing,
        ObstacleKind::StorageSnapshotsUnsupported => WorkerReason::StorageSnapshotsUnsupported,
        ObstacleKind::StorageSnapshotsUnknown => WorkerReason::StorageSnapshotsUnknown,
        ObstacleKind::TemplateMissing => WorkerReason::TemplateMissing,
        ObstacleKind::TemplateAmbiguous => WorkerReason::TemplateAmbiguous,
        ObstacleKind::ImageStorageMissing => WorkerReason::ImageStorageMissing,
        ObstacleKind::ImageStorageUnsuitable => WorkerReason::ImageStorageUnsuitable,
        ObstacleKind::BridgeMissing => WorkerReason::BridgeMissing,
    };
    Problem::new(reason, obstacle.message.clone())
}
