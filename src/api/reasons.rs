//! The reasons that conditions give: one CamelCase word each, a documented list.
//!
//! The text of each reason stands once, here, and the documentation is rendered from it. Later versions may add
//! reasons; clients must accept ones that they do not know.

use std::fmt;

/// Declares an enum of reasons whose doc comments are also there for the program to print.
macro_rules! reasons {
    ($(#[$about:meta])* $kind:ident { $($(#[doc = $doc:literal])+ $name:ident,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl $kind {
            /// All reasons, in the order in which the documentation lists them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word in a condition.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it means and what there is to do, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim(),)+
                }
            }

            /// Each word with its meaning, in the same order.
            pub fn explained() -> impl Iterator<Item = (&'static str, &'static str)> {
                Self::ALL.iter().map(|reason| (reason.as_str(), reason.meaning()))
            }
        }

        impl AsRef<str> for $kind {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<$kind> for String {
            fn from(reason: $kind) -> Self {
                reason.as_str().to_owned()
            }
        }
    };
}

mod sessions;

pub use sessions::{SessionReason, TaskReason};

reasons! {
    /// Why a condition of a `Worker` is what it is.
    WorkerReason {
        /// The worker is declared and nothing is asked of it; it has no VM yet.
        Configured,
        /// The VM is there.
        Deployed,
        /// There is no VM.
        NotDeployed,
        /// The last test passed with this configuration.
        TestPassed,
        /// The last test of this configuration failed; the message names the check.
        TestFailed,
        /// This configuration has not been tested.
        NotTested,
        /// The image that the VM is made from is being downloaded by its host; the message names the storage.
        Downloading,
        /// The VM is being made.
        Deploying,
        /// The configuration is being applied to the VM.
        Applying,
        /// The worker is being tested.
        Testing,
        /// The VM is being deleted.
        Deleting,
        /// It is given tasks.
        Schedulable,
        /// `enabled` is false on the Worker: it gets no new task.
        Disabled,
        /// It gets no new task, because something waits until those that run have ended; the message says what.
        Draining,
        /// Its host is in `unschedulableHosts` of the Hypervisor: it gets no new task and is not launched.
        HostUnschedulable,
        /// The guest does not answer, so that nobody can say whether a task runs in it. Its VM is powered off only when it
        /// has been silent for five minutes.
        GuestSilent,
        /// Its declaration cannot be met; the condition `Stalled` says why.
        Stalled,
        /// Something of ours runs in the guest, and no task accounts for it. The VM is neither shut down nor deleted before
        /// that has ended; the message names it.
        UnknownTask,
        /// There is work to do, which waits for its turn; the message says for what.
        Waiting,
        /// A step did not succeed and is tried again; the message says which one and why.
        OperationFailed,
        /// `paused` is set on the Worker: nothing is changed until it is taken away.
        Paused,
        /// `paused` is set on the Hypervisor: nothing is changed until it is taken away.
        HypervisorPaused,
        /// There is no Hypervisor of this name in the namespace. The Worker goes on when there is one.
        HypervisorMissing,
        /// The Hypervisor is there but not ready; its own conditions say why.
        HypervisorNotReady,
        /// No endpoint of the Hypervisor answers, so that nothing is known of the VM.
        HypervisorUnreachable,
        /// The Hypervisor's identity changed: another cluster answers behind its endpoints. Nothing is touched there.
        IdentityChanged,
        /// The VM does not carry all the marks of this Worker, so it is not touched. The message names the marks that
        /// differ and what to put back.
        IdentityMismatch,
        /// The Secret with the Hypervisor's credential is gone.
        CredentialsMissing,
        /// The hypervisor refuses a call for want of a privilege; the message names it.
        Forbidden,
        /// The cluster is not quorate. Nothing is created or deleted until it is.
        NoQuorum,
        /// The VM or its id is locked by a task that no longer runs. The message names the command that unlocks it.
        OrphanLock,
        /// The VM is locked by a task of somebody else, such as a backup. The work goes on when that has ended.
        VmLocked,
        /// The record of the work in progress cannot be read; the message says what to do.
        OperationUnreadable,
        /// The object does not fit the types of this version of the operator, so that nothing is done for it; the message
        /// says why. Edit it, or run the version that it was made for.
        Unreadable,
        /// The VM is protected from removal on the hypervisor. Take the protection away to let the delete go on.
        VmProtected,
        /// The VM was turned into a template. It is not deleted; the message says what to do.
        IsTemplate,
        /// Tasks run on the worker; what was asked for waits until they have ended.
        TasksRunning,
        /// The hour's budget of deletions is used up; `deletionsPerHour` of the Hypervisor sets it.
        DeletionBudget,
        /// An annotation has a value that means nothing, and acting on a guess could destroy what it was to keep: nothing
        /// is deleted until the annotation is corrected or removed.
        AnnotationUnclear,
        /// A VM that another Worker made, before this one or in another installation, carries this Worker's name. It is
        /// left alone, and no second one is made: delete that VM, or take the block out of its notes, or give this Worker
        /// another name. Renaming the VM changes nothing.
        ClaimedElsewhere,
        /// The cluster already has a VM of this name. Set another `vmName`, or rename the VM.
        VmNameInUse,
        /// Another worker has the same static address.
        AddressInUse,
        /// There is no such host in the cluster.
        HostMissing,
        /// The host is not online.
        HostOffline,
        /// The host has fewer CPUs, or less memory, than the VM is to have: it would never start there. Ask for less in
        /// `resources`, or for fewer `maxConcurrentTasks`, or choose a larger host.
        HostTooSmall,
        /// There is no such storage on the host, or it takes no disks.
        StorageMissing,
        /// Disks on this storage cannot have snapshots. Choose another storage.
        StorageSnapshotsUnsupported,
        /// It is not known whether disks on a storage of this type can have snapshots. Choose another storage.
        StorageSnapshotsUnknown,
        /// There is no such template, or not on this host.
        TemplateMissing,
        /// Several templates have this name. Give the id instead.
        TemplateAmbiguous,
        /// There is no such storage for images on the host, or it is not active.
        ImageStorageMissing,
        /// The storage for images cannot hold them: it lacks the content type `import`, or is not made of files. Add the
        /// content type, or name another storage in `proxmox.imageStorage`.
        ImageStorageUnsuitable,
        /// `image.url` lies outside of what the operator's flag `--allowed-endpoints` allows. Nothing was sent. Serve the
        /// image from an allowed host, or have the operator's administrator allow this one.
        ImageUrlNotAllowed,
        /// There is no such bridge on the host.
        BridgeMissing,
        /// Every id of the Hypervisor's `vmIdRange` is in use or rests. Widen the range, or wait.
        VmIdRangeExhausted,
        /// The edit needs another VM, such as one on another storage, which is not made by itself. Delete the Worker and
        /// create it again.
        RedeployNeeded,
        /// The last update of its packages went through, and left none behind that has a newer version.
        PackagesCurrent,
        /// The last update of its packages went through, but packages are left that have a newer version, because something
        /// in the worker holds them back: a hold, a lock on their version, or an update that is given out step by step.
        PackagesHeldBack,
        /// The last update of its packages failed; the message says why. Where there is no way to a package repository, set
        /// `updates.proxy`, or `updates.policy` to `Never`.
        UpdateFailed,
        /// Its packages have not been updated yet: that comes with its next launch or test.
        NotUpdated,
        /// The Worker's provider block does not fit the provider of its Hypervisor.
        ProviderMismatch,
    }
}

reasons! {
    /// Why a condition of a `Hypervisor` is what it is.
    HypervisorReason {
        /// It answers, the credential has every privilege, and the cluster is the one that it was.
        Connected,
        /// It has not been looked at yet.
        Connecting,
        /// An endpoint answers.
        Reachable,
        /// No endpoint answers.
        Unreachable,
        /// The credential is accepted and has every privilege that is needed.
        Authorized,
        /// The hypervisor does not accept the credential.
        CredentialsRejected,
        /// There is no such Secret, or it lacks a key; the message names it. What was read before is used on.
        CredentialsMissing,
        /// The credential lacks privileges; the message names them and the paths.
        PrivilegesMissing,
        /// The certificate is trusted.
        Trusted,
        /// The certificate is trusted but expires within 14 days.
        ExpiresSoon,
        /// The certificate has expired, or is not valid yet.
        Expired,
        /// The certificate is signed by an authority that is not trusted. Give `tls.caRef` or `tls.fingerprints`.
        Untrusted,
        /// The certificate has none of the fingerprints that are accepted.
        FingerprintMismatch,
        /// The certificate is not for this host name.
        HostNameMismatch,
        /// `insecureSkipVerify` is set: the certificate is not checked.
        NotVerified,
        /// An endpoint lies outside of what the operator's flag `--allowed-endpoints` allows. Nothing is sent to any of them.
        EndpointNotAllowed,
        /// There is no such object with the authority's certificate, or it lacks the key, or it holds no certificate.
        CaMissing,
        /// The cluster is not quorate. Nothing is created or deleted until it is.
        NoQuorum,
        /// Another cluster answers behind the endpoints. Nothing is touched there. The annotation
        /// `stevedore.dev/accept-identity` takes it over.
        IdentityChanged,
        /// The version of the hypervisor is older than those that are supported.
        VersionUnsupported,
        /// `paused` is set: nothing is changed until it is taken away.
        Paused,
        /// Deletions go on as asked.
        WithinBudget,
        /// Deletions wait: the hour's budget, `deletionsPerHour`, is used up.
        DeletionBudget,
        /// Another Hypervisor reaches the same cluster; the lower limits count.
        SharedCluster,
        /// No other Hypervisor is known to reach this cluster.
        OwnCluster,
        /// It is being deleted and waits for the Workers that need it.
        WorkersRemain,
        /// The operator's access to Kubernetes does not suffice; the message names the call.
        Forbidden,
        /// It was released on request.
        Abandoned,
        /// The object does not fit the types of this version of the operator, so that nothing is done for it; the message
        /// says why. Edit it, or run the version that it was made for.
        Unreadable,
        /// A step did not succeed and is tried again; the message says which one and why.
        OperationFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained() {
        let workers = WorkerReason::explained().chain(HypervisorReason::explained());
        let sessions = SessionReason::explained().chain(TaskReason::explained());
        for (word, meaning) in workers.chain(sessions) {
            assert!(word.chars().all(char::is_alphanumeric) && word.starts_with(char::is_uppercase), "{word}");
            assert!(meaning.len() > 10 && meaning.ends_with('.') && !meaning.contains("  "), "{word}: {meaning}");
        }
    }
}
