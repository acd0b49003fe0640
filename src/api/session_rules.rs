//! The rules of sessions and tasks, and what they say.
//!
//! What cannot be changed is compared on the parent: a rule on a field itself would not see it being taken away.

/// The tasks are called like their session, with a dash and up to three digits after it. The rule runs on every write,
/// and passes for what is there already.
pub(super) const NAME: &str = "oldSelf.hasValue() || self.metadata.name.size() <= 57 \
     && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')";
pub(super) const NAME_MESSAGE: &str = "a WorkerSession's name has at most 57 of a-z, 0-9 and -";

pub(super) const HEAD_KEPT: &str =
    "self.type == oldSelf.type && self.hypervisorRef == oldSelf.hypervisorRef && self.placement == oldSelf.placement";
pub(super) const HEAD_KEPT_MESSAGE: &str =
    "type, hypervisorRef and placement cannot be changed; create another session";

pub(super) const VMS_KEPT: &str = "self.virtualMachines == oldSelf.virtualMachines";
pub(super) const VMS_KEPT_MESSAGE: &str = "virtualMachines cannot be changed; create another session";

macro_rules! kept {
    ($field:literal) => {
        concat!(
            "has(self.",
            $field,
            ") == has(oldSelf.",
            $field,
            ") && (!has(self.",
            $field,
            ") || self.",
            $field,
            " == oldSelf.",
            $field,
            ")"
        )
    };
}

pub(super) const SELECTOR_KEPT: &str = kept!("workerSelector");
pub(super) const SELECTOR_KEPT_MESSAGE: &str = "workerSelector cannot be changed; create another session";

pub(super) const PARALLELISM_KEPT: &str = kept!("parallelism");
pub(super) const PARALLELISM_KEPT_MESSAGE: &str = "parallelism cannot be changed; create another session";

pub(super) const RUN_KEPT: &str = kept!("run");
pub(super) const RUN_KEPT_MESSAGE: &str = "run cannot be changed; create another session";

pub(super) const FORWARD: &str = "self.state == oldSelf.state || oldSelf.state == 'Active'";
pub(super) const FORWARD_MESSAGE: &str = "state goes from Active to Completed or Cancelled and never back";

pub(super) const ENDS_ITSELF: &str = "self.state != 'Completed' || !has(self.run)";
pub(super) const ENDS_ITSELF_MESSAGE: &str = "a session with run ends by itself; Completed is for sessions without it. \
     Use Cancelled to stop it";

pub(super) const NEW_VM: &str = "self.type == 'Restore' || self.virtualMachines.all(v, !has(v.host))";
pub(super) const NEW_VM_MESSAGE: &str = "host is for a Restore to a new VM; a Backup names each VM by id or name";

/// Of each VM of a session. The VM of a task has both id and name, once they are known.
pub(super) const ONE_NAME: &str = "(has(self.id) ? 1 : 0) + (has(self.name) ? 1 : 0) + (has(self.host) ? 1 : 0) == 1";
pub(super) const ONE_NAME_MESSAGE: &str = "give exactly one of id, name and host";

/// In bytes: that is what has to be carried into the guest.
pub(super) const COMMAND_SIZE: &str = "self.command.map(word, bytes(word).size()).sum() \
     + (has(self.env) ? self.env.map(e, bytes(e.name).size() + bytes(e.value).size()).sum() : 0) <= 131072";
pub(super) const COMMAND_SIZE_MESSAGE: &str = "command and env together have at most 128 KiB; \
     put more into a file in the image, or let the command fetch it";

pub(super) const VALUES: &str =
    "(self.operator == 'In' || self.operator == 'NotIn') == (has(self.values) && self.values.size() > 0)";
pub(super) const VALUES_MESSAGE: &str = "In and NotIn need values; Exists and DoesNotExist take none";

pub(super) const TASK_KEPT: &str = "self.sessionRef == oldSelf.sessionRef && self.index == oldSelf.index \
     && self.mode == oldSelf.mode && self.virtualMachine == oldSelf.virtualMachine";
pub(super) const TASK_KEPT_MESSAGE: &str = "only result can be set on a WorkerTask";

pub(super) const RESULT_KEPT: &str = "!has(oldSelf.result) || has(self.result) && self.result == oldSelf.result";
pub(super) const RESULT_KEPT_MESSAGE: &str = "result has been reported and cannot be changed";

pub(super) const RESULT_OF_LEASE: &str = "self.mode == 'Lease' || !has(self.result)";
pub(super) const RESULT_OF_LEASE_MESSAGE: &str =
    "the result of a command is its exit code; result is for sessions without run";
