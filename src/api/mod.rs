//! Floor 1. The custom resources of `stevedore.dev/v1alpha1`: what people write and read.
//!
//! - [`hypervisor`] and [`worker`]: the spec of each kind; [`hypervisor_status`] and [`worker_status`]: what the
//!   operator writes back; [`network`] and [`worker_updates`]: a worker's networks and the updates of its packages.
//! - [`session`] and [`task`]: the spec of a run and of the processing of one VM in it; [`session_status`] and
//!   [`task_status`]: what the operator writes back; [`selector`]: which Workers a session may use.
//! - [`common`]: durations and quantities as people write them; [`names`]: finalizers, annotations and the like.
//! - [`conditions`] and [`reasons`]: how a status says what is the matter.
//! - [`crdgen`]: the `CustomResourceDefinition`s, which are generated from the types here and nowhere else.
//!
//! What a manifest alone shows to be wrong is refused at admission, by rules that stand beside the types.

pub mod common;
pub mod conditions;
pub mod crdgen;
pub mod hypervisor;
pub mod hypervisor_status;
pub mod names;
pub mod network;
mod phases;
pub mod reasons;
pub mod selector;
pub mod session;
mod session_rules;
mod session_shapes;
pub mod session_status;
mod shapes;
pub mod task;
pub mod task_status;
pub(crate) mod variables;
pub mod worker;
mod worker_rules;
pub mod worker_status;
pub mod worker_updates;

pub use hypervisor::{Hypervisor, HypervisorSpec};
pub use hypervisor_status::HypervisorStatus;
pub use session::{WorkerSession, WorkerSessionSpec};
pub use session_status::WorkerSessionStatus;
pub use task::{WorkerTask, WorkerTaskSpec};
pub use task_status::WorkerTaskStatus;
pub use worker::{Worker, WorkerSpec};
pub use worker_status::WorkerStatus;
