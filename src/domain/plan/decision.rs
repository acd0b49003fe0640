//! What a decision is: the next thing to do, and what to say meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use super::report::Report;
use crate::domain::attempt::AttemptId;
use crate::domain::attend::Step;
use crate::domain::effect::Effect;
use crate::domain::operation::Operation;
use crate::domain::update::UpdateRecord;
use crate::hypervisor::vm::VmRef;

/// What to do, and what to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The next thing to do.
    pub next: Next,
    /// What the status says meanwhile.
    pub report: Report,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Look closer and ask again.
    Look(Look),
    /// Write `record`, then carry out `effect`, then ask again.
    Act {
        /// The operation as it must stand in the status before the effect.
        record: Box<Operation>,
        /// What to change.
        effect: Effect,
    },
    /// Run the checks inside the guest (they change nothing), then do as [`AfterChecks`] says, and ask again.
    Check {
        /// The operation whose checks these are.
        operation: Box<Operation>,
        /// What is done with checks that pass. Of others the test's result is recorded in any case.
        after: AfterChecks,
    },
    /// Give every task that is with this worker what it needs next, then ask again.
    Attend(Vec<Step>),
    /// Remove the guards of these attempts from the guest, then ask again.
    Forget(Vec<AttemptId>),
    /// Record that this boot of the guest was launched and takes tasks, then ask again.
    Launched {
        /// The operation that launched it.
        operation: Box<Operation>,
        /// The boot.
        boot_id: String,
        /// The update that it came with, if that is not recorded yet.
        update: Option<Box<UpdateRecord>>,
    },
    /// Record that the test failed before its checks could run, then ask again.
    Conclude {
        /// The operation whose test this is.
        operation: Box<Operation>,
        /// The check that failed.
        check: &'static str,
        /// Why.
        message: String,
        /// The update that it came with.
        update: Option<Box<UpdateRecord>>,
    },
    /// The operation is over: clear it, then ask again.
    Close(Box<Operation>),
    /// Remove our finalizer.
    Release {
        /// A VM may be left behind: say so loudly.
        abandoned: bool,
    },
    /// Ask again after this time.
    Wait {
        /// How long.
        after: Duration,
        /// Whether a fresh poll of the inventory is wanted by then.
        poll: bool,
    },
    /// Nothing to do until something changes.
    Rest,
}

/// What is done when every check has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterChecks {
    /// Nothing is recorded: an update comes first.
    Update,
    /// The test's result is recorded, with the update that came before it.
    Record(Option<Box<UpdateRecord>>),
}

/// A closer look that a decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Read the VM live, at this place.
    Vm(VmRef),
    /// Ask where the image is that the VM is made from; if nowhere, be the one who has it downloaded.
    Image,
    /// Ask whether a task runs that makes the operation's VM.
    BeingMade,
    /// Ask what stands in the way of making the VM, or of changing the one that is there.
    Obstacles(Option<VmRef>),
    /// See whether a VM in the id range is being made by nobody we know of.
    Strangers,
    /// Reserve an id for a new VM.
    NewId,
    /// Ask for a launch permit.
    Permit,
    /// Ask the deletion budget about this operation.
    Budget(Box<Operation>),
    /// Ask whether the guest answers.
    Guest(VmRef),
    /// Ask the guest for the tasks in it.
    Inside(VmRef),
    /// Ask the guest for the operation's update.
    Update(VmRef),
    /// Ask which of these tasks (UIDs) do not exist any more.
    Gone(BTreeSet<String>),
}
