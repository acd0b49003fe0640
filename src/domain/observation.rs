//! What is known when a decision is made: what people declared, what the status remembers, what the world shows.

use crate::api::reasons::WorkerReason;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::Sight;
use super::availability::Unavailable;
use super::claims::Held;
use super::effect::Effect;
use super::fault::Fault;
use super::identity::Ownership;
use super::operation::{Operation, RecordError};
use super::update::{UpdateRecord, UpdateSight};
use crate::hypervisor::vm::{Difference, Power, TaskState, VmRef, VmWanted};

/// Everything that one decision is made from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What people declared.
    pub declared: Declared,
    /// What the status remembers.
    pub remembered: Remembered,
    /// What the world shows.
    pub observed: Observed,
    /// What was looked at more closely.
    pub looks: Looks,
    /// The wall clock.
    pub now: Timestamp,
}

/// A worker as people declared it, resolved.
#[allow(clippy::struct_excessive_bools, reason = "each is a wish of its own, and they go in every combination")]
#[derive(Debug, Clone)]
pub struct Declared {
    /// The VM that it asks for. Its mark carries operation and VM id only once these are known.
    pub wanted: VmWanted,
    /// Hash of everything that a test result speaks of.
    pub spec_hash: String,
    /// Tested whenever it changes, without being asked.
    pub test_on_change: bool,
    /// The value of the annotation that asks for a test.
    pub test_request: Option<String>,
    /// How long the guest gets to shut down.
    pub grace: Duration,
    /// It takes tasks.
    pub enabled: bool,
    /// How many at a time.
    pub slots: usize,
    /// How old a passed test may be for a launch to go without checks.
    pub max_age: Duration,
    /// How long it stays powered on after its last task.
    pub delay: Duration,
    /// How its packages are updated after power-on; `None` if they are not.
    pub updates: Option<UpdatesWanted>,
    /// Nothing is changed for this worker.
    pub paused: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries our finalizer.
    pub has_finalizer: bool,
    /// Whether its finalizer is to be released without a call to the hypervisor.
    pub abandon: Abandon,
}

/// How a worker's packages are to be updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatesWanted {
    /// A failure fails the test, or the launch.
    pub failure_fails: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// Whether a VM is to be left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Abandon {
    /// It is not.
    #[default]
    No,
    /// It is.
    Yes,
    /// The annotation has this value, and nobody can tell what was meant.
    Unclear(String),
}

/// What the status remembers.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The operation in flight.
    pub operation: Option<Result<Operation, RecordError>>,
    /// The VM as it was known last.
    pub vm: Option<VmRef>,
    /// Its uuid.
    pub uuid: Option<String>,
    /// Hash of the declaration that the VM's configuration has.
    pub applied: Option<String>,
    /// The settings that the VM's configuration has, by field, as far as they are written down.
    pub made_as: BTreeMap<String, String>,
    /// What the hypervisor showed last of the present declaration is that it cannot be met until somebody changes
    /// something.
    pub stalled: bool,
    /// The last test.
    pub last_test: Option<TestRecord>,
    /// Failed tests in a row.
    pub failures: u32,
    /// The value of the annotation whose test was the last one handled.
    pub handled_request: Option<String>,
    /// The slots that are held, or that tasks say they hold.
    pub claims: Vec<Held>,
    /// The launch after which the VM takes tasks.
    pub launch: Option<LaunchRecord>,
    /// The last update of its packages.
    pub last_update: Option<UpdateRecord>,
}

/// A launch that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchRecord {
    /// The operation that made it.
    pub operation: String,
    /// The guest's boot that was launched; after another boot nothing is known of the guest.
    pub boot_id: String,
}

/// A test that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRecord {
    /// Whether it passed.
    pub passed: bool,
    /// Hash of the declaration that was tested.
    pub spec_hash: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// The operation that made it.
    pub operation: String,
    /// Why it failed.
    pub message: String,
}

/// What the world shows without being asked for it.
#[allow(clippy::struct_excessive_bools, reason = "each is a sight of its own, and they come in every combination")]
#[derive(Debug, Clone)]
pub struct Observed {
    /// The hypervisor as a whole.
    pub hypervisor: HypervisorState,
    /// How long it has been away; zero if it is not.
    pub away_for: Duration,
    /// Whether the hypervisor's owner paused it.
    pub hypervisor_paused: bool,
    /// Where the inventory sees this worker's VM.
    pub presence: Presence,
    /// How long the VM has been seen powered on with nothing to do; zero if it is not.
    pub idle_for: Duration,
    /// A session's task waits for this worker to pass a test.
    pub needed: bool,
    /// The scheduler has not decided yet whether the worker, which has just become idle, gets another task.
    pub undecided: bool,
    /// Why nothing is launched on the worker's host.
    pub host_refuses: Option<Unavailable>,
    /// How long it has not been known where the VM is, or whether it is powered on, although the hypervisor is there;
    /// zero if it is.
    pub dark_for: Duration,
    /// Something that the declaration names and that cannot be had: the same address in two workers, for instance.
    pub conflict: Option<Problem>,
    /// How long this process has known the operation's present step.
    pub step_age: Duration,
    /// How long ago this process last sent a changing call for the operation's present step, or came to know the step.
    pub quiet_for: Duration,
    /// Changing calls that this process has sent for the operation's present step.
    pub calls: u32,
    /// How long to hold back before the next changing call, after failures.
    pub hold: Duration,
    /// The effect that was accepted a moment ago, and how long not to repeat it: what it did must show first.
    pub settling: Option<(Effect, Duration)>,
    /// The checks that the open operation makes have passed, as this process saw; their result waits for the update.
    pub checked: bool,
    /// What came back from the last changing call of this step, if it failed.
    pub last_call: Option<Fault>,
    /// An id for a new operation.
    pub fresh_operation_id: String,
    /// How long a guest may take to answer after power-on.
    pub guest_timeout: Duration,
    /// How long a call to the hypervisor may take.
    pub call_deadline: Duration,
}

/// What was looked at so far, for one decision: `None` has not been, and a decision asks for it. An effect makes all of it
/// void.
#[derive(Debug, Clone, Default)]
pub struct Looks {
    /// The VM, read live.
    pub live: Option<Live>,
    /// The task of the operation's present step, if one is known.
    pub task: Option<TaskState>,
    /// Whether a task runs that may be making the VM.
    pub being_made: Option<bool>,
    /// Where the image is that the VM is made from.
    pub image: Option<ImageSight>,
    /// What stands in the way of making or changing the VM.
    pub obstacles: Option<Vec<Problem>>,
    /// VMs in the id range that are just being made by nobody we know of: one may be this worker's.
    pub strangers: Option<Vec<String>>,
    /// An id for a new VM.
    pub new_id: Option<NewId>,
    /// Whether one more launch is allowed on this hypervisor.
    pub permit: Option<bool>,
    /// Whether the deletion budget allows this operation's deletion.
    pub budget: Option<Budget>,
    /// Whether the guest answers.
    pub guest: Option<bool>,
    /// What the guest tells of the tasks in it.
    pub inside: Option<Inside>,
    /// What the guest tells of the update that the operation wants.
    pub update: Option<UpdateLook>,
    /// Tasks (UIDs) that were asked after, and do not exist any more.
    pub gone: Option<BTreeSet<String>>,
}

/// What a guest tells of the tasks in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// It does not answer, and has not for so long.
    Silent(Duration),
    /// This.
    Told(Sight),
}

/// What a guest tells of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateLook {
    /// It does not answer, and has not for so long.
    Silent(Duration),
    /// This.
    Told(UpdateSight),
}

/// Something that a person must know and put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The reason, as it stands in a condition.
    pub reason: WorkerReason,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with its reason and text.
    pub fn new(reason: WorkerReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A VM's host does not tell whether the VM is powered on.
    pub fn silent_host(at: &VmRef) -> Self {
        let text = format!(
            "it is not known whether {at} is powered on: its host does not tell; see whether that is online and well"
        );
        Self::new(WorkerReason::HostOffline, text)
    }
}

/// The hypervisor as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HypervisorState {
    /// It answers, and is the one that was pinned.
    Ready,
    /// It cannot be used for a reason that people see; nothing is known about its VMs.
    Away(Problem),
    /// What the worker refers to does not exist (yet).
    Missing(Problem),
}

/// Where the inventory sees a worker's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Present {
        /// Where.
        at: VmRef,
        /// Power, some seconds old.
        power: Power,
        /// Whom its marks speak of.
        ownership: Ownership,
        /// Its uuid.
        uuid: String,
    },
    /// Complete polls in a row, all after this worker's last change, do not have it.
    Absent {
        /// How many.
        polls: u32,
    },
    /// It is not known, and why: no complete poll yet, say.
    Unknown(Problem),
    /// They do not have it, but one that another installation, or an earlier worker of that name, made for a worker of
    /// this namespace and name.
    Elsewhere {
        /// Which VM that is, and what to do.
        text: String,
        /// How many polls do not have this worker's own.
        polls: u32,
    },
}

/// Absence is believed after this many complete polls.
pub const POLLS_TO_BE_GONE: u32 = 2;

impl Presence {
    /// Whether it is certain that this worker has no VM.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Absent { polls } | Self::Elsewhere { polls, .. } => *polls >= POLLS_TO_BE_GONE,
            Self::Present { .. } | Self::Unknown(_) => false,
        }
    }
}

/// A VM read live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// It is not on that host.
    NotThere,
    /// It is.
    Found(LiveVm),
}

/// A VM that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveVm {
    /// Where.
    pub at: VmRef,
    /// Whom its marks speak of.
    pub ownership: Ownership,
    /// Power.
    pub power: Power,
    /// Its configuration lock.
    pub lock: Option<String>,
    /// Whether it is a template.
    pub template: bool,
    /// Whether it is protected against removal.
    pub protected: bool,
    /// How it differs from the declaration.
    pub differences: Vec<Difference>,
    /// Its uuid.
    pub uuid: String,
    /// Size of its boot disk, bytes; `None` if that is not given.
    pub disk_bytes: Option<u64>,
}

/// Where the image is that a VM is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSight {
    /// On the storage, whole and checked.
    Present,
    /// On its way there, whoever has it downloaded.
    Downloading,
    /// Nowhere, and it is this worker's turn to have it downloaded.
    Absent,
    /// Nowhere: it was downloaded from there for another worker a short while ago, which failed so.
    Refused(String),
}

/// An id for a new VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewId {
    /// This one is reserved for the worker.
    Reserved(String),
    /// None is left in the range.
    Exhausted(String),
}

/// The deletion budget's word on an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Budget {
    /// Its deletion is, or can be, entered.
    Granted,
    /// Not now; the text says until when.
    Held(String),
}
