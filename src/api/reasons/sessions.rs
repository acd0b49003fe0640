//! The reasons of sessions and of their tasks.

use std::fmt;

reasons! {
    /// Why a condition of a `WorkerSession` is what it is.
    SessionReason {
        /// The VMs are looked for on the hypervisor, and the tasks are made.
        Preparing,
        /// No task has a worker yet; `status.waiting` says why.
        WaitingForWorkers,
        /// The first workers are launched.
        Starting,
        /// The first task has started, and not all have ended.
        Running,
        /// At least one task has a worker that is ready; the task's status has its address.
        WorkerReady,
        /// No task has a worker that is ready.
        NoWorkerReady,
        /// Every task succeeded.
        Succeeded,
        /// At least one task failed; `status.failed` names some of them.
        TasksFailed,
        /// It was cancelled.
        Cancelled,
        /// No task had started when `startDeadline` had passed.
        StartDeadlineExceeded,
        /// It had not ended when `activeDeadline` had passed.
        DeadlineExceeded,
        /// It is being deleted: what runs is stopped first.
        Deleting,
        /// There is no Hypervisor of this name in the namespace. The session goes on when there is one.
        HypervisorMissing,
        /// The Hypervisor is there but not ready; its own conditions say why.
        HypervisorNotReady,
        /// `paused` is set on the Hypervisor: nothing is started until it is taken away.
        HypervisorPaused,
        /// A step did not succeed and is tried again; the message says which one and why.
        OperationFailed,
        /// The object does not fit the types of this version of the operator, so that nothing is done for it; the message
        /// says why. Edit it, or run the version that it was made for.
        Unreadable,
    }
}

reasons! {
    /// Why a task waits, or why it ended: `status.reason` of a `WorkerTask`, and its conditions.
    TaskReason {
        /// It waits: every worker that could take it is full.
        Busy,
        /// It waits: `enabled` is false on the workers that could take it.
        Disabled,
        /// It waits: `paused` is set on the workers that could take it.
        Paused,
        /// It waits: the last test of the workers that could take it failed. It is repeated, the less often the more
        /// tests failed in a row.
        TestFailed,
        /// It waits: the workers that could take it get no new tasks, because their configuration is to be changed first.
        Draining,
        /// It waits: the workers that could take it are being shut down.
        ShuttingDown,
        /// It waits: the workers that could take it are being deleted.
        Deleting,
        /// It waits: the workers that could take it cannot be made as declared; their condition `Stalled` says why.
        Stalled,
        /// It waits: the hosts of the workers that could take it are in `unschedulableHosts` of the Hypervisor.
        HostUnschedulable,
        /// It waits: the hosts of the workers that could take it are not online.
        HostOffline,
        /// It waits: as many tasks as `tasksPerStorage` of the Hypervisor allows work on one of its storages.
        StorageLimit,
        /// It waits: the storages of the VM's disks could not be read, so that `tasksPerStorage` could not be kept; the
        /// message says why. They are read again.
        DisksUnknown,
        /// It waits: another task works on the same VM.
        VmBusy,
        /// It waits: as many tasks of its session run as `parallelism` allows.
        Parallelism,
        /// It waits: the session's `workerSelector` selects no Worker of this Hypervisor.
        NoWorker,
        /// It waits: there is no worker on the VM's host, and the session's `placement` wants one there.
        NoWorkerOnHost,
        /// It waits: no worker can take it, for several reasons; the message names them.
        Unavailable,
        /// It waits: the Hypervisor is missing, or not ready; its own conditions say why.
        HypervisorNotReady,
        /// It has a worker, which is being launched.
        Launching,
        /// It runs. With a lease: its worker is ready, and the client's word is awaited.
        Running,
        /// The object does not fit the types of this version of the operator, so that nothing is done for it; the message
        /// says why. Edit it, or run the version that it was made for.
        Unreadable,
        /// Several VMs on the hypervisor have this name. Give the id instead.
        AmbiguousName,
        /// There is no such VM on the hypervisor.
        NotFound,
        /// The VM is a worker. Workers are neither backed up nor restored.
        IsWorker,
        /// The session names the VM twice; the first task processes it.
        Duplicate,
        /// There is no such host in the cluster.
        HostMissing,
        /// The command ended with an exit code that is not 0, or by a signal, on the last attempt.
        CommandFailed,
        /// The command ran longer than `timeout` allows, and was stopped.
        TimedOut,
        /// The command could not be started: there is no such program, or no such user, in the worker.
        CouldNotStart,
        /// The Secret of `secretEnv` is not there, or holds a key that cannot be the name of an environment variable.
        SecretMissing,
        /// Its worker was lost while it ran: the host or the VM went down, or the guest did not answer for too long.
        WorkerLost,
        /// The lease was completed, and no result had been reported.
        NoResult,
        /// The client of the lease reported that it failed; the message is the client's.
        ResultReported,
        /// It did what it was to do.
        Succeeded,
        /// A deadline of the session passed.
        DeadlineExceeded,
        /// The session was cancelled.
        SessionCancelled,
        /// The lease was completed before the task had a worker.
        SessionCompleted,
        /// The task was deleted.
        TaskDeleted,
        /// The session was deleted.
        SessionDeleted,
        /// The operator did not make this task for the session that it names, so that nothing is done for it. Delete it:
        /// tasks are made by creating a session.
        NotOurs,
    }
}
