//! What the process counts. Every label has few values; no object's name is ever one.
//!
//! Names that controller-runtime and client-go established are used where they fit, so that existing dashboards work.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::lease::Leadership;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// Done; it comes again when something changes.
    Success,
    /// Done for now; it comes again after a time.
    Requeued,
    /// It failed and comes again after a back-off.
    Failed,
    /// It panicked; the panic was contained.
    Panicked,
}

impl Reconciled {
    const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Requeued => "requeue_after",
            Self::Failed | Self::Panicked => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClientLabels {
    code: String,
    method: String,
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabels {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HypervisorLabels {
    provider: &'static str,
    method: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    provider: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    kind: &'static str,
    result: &'static str,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The process's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_errors: Family<ControllerLabels, Counter>,
    reconcile_panics: Family<ControllerLabels, Counter>,
    reconcile_time: Durations<ControllerLabels>,
    client_requests: Family<ClientLabels, Counter>,
    leads: Family<LeaseLabels, Gauge>,
    hypervisor_requests: Family<HypervisorLabels, Counter>,
    hypervisor_time: Durations<DurationLabels>,
    operations: Family<OperationLabels, Counter>,
    abandoned: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, registered, at zero.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_panics: Family::default(),
            reconcile_time: Family::new_with_constructor(reconcile_buckets),
            client_requests: Family::default(),
            leads: Family::default(),
            hypervisor_requests: Family::default(),
            hypervisor_time: Family::new_with_constructor(request_buckets),
            operations: Family::default(),
            abandoned: Counter::default(),
        };
        metrics.register_reconciles();
        metrics.register_requests();
        metrics
    }

    // A counter's name gets its `_total` when it is written.
    fn register_reconciles(&self) {
        let name = |last: &str| format!("controller_runtime_reconcile_{last}");
        self.register("controller_runtime_reconcile", "Reconciles, by result", self.reconciles.clone());
        self.register(&name("errors"), "Reconciles that failed", self.reconcile_errors.clone());
        self.register(&name("panics"), "Reconciles that panicked", self.reconcile_panics.clone());
        self.register(&name("time_seconds"), "How long reconciles took", self.reconcile_time.clone());
        self.register("leader_election_master_status", "1 if this process leads, else 0", self.leads.clone());
        let help = "Operations on workers' VMs that ended, by kind and result";
        self.register("stevedore_operations", help, self.operations.clone());
        let help = "Objects whose finalizers were released without a call to the hypervisor, because a person asked";
        self.register("stevedore_abandoned", help, self.abandoned.clone());
    }

    fn register_requests(&self) {
        self.register("rest_client_requests", "Requests to the Kubernetes API", self.client_requests.clone());
        let help = "Requests to hypervisors; code is the HTTP status, or the kind of failure";
        self.register("stevedore_hypervisor_requests", help, self.hypervisor_requests.clone());
        let help = "How long requests to hypervisors took";
        self.register("stevedore_hypervisor_request_duration_seconds", help, self.hypervisor_time.clone());
    }

    /// Adds a metric of another part. A counter's name is given without `_total`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry().register(name, help, metric);
    }

    /// Enters a reconcile that ended.
    pub fn reconciled(&self, controller: &'static str, result: Reconciled, took: Duration) {
        let labels = ControllerLabels { controller };
        self.reconciles.get_or_create(&ReconcileLabels { controller, result: result.label() }).inc();
        self.reconcile_time.get_or_create(&labels).observe(took.as_secs_f64());
        if matches!(result, Reconciled::Failed | Reconciled::Panicked) {
            self.reconcile_errors.get_or_create(&labels).inc();
        }
        if result == Reconciled::Panicked {
            self.reconcile_panics.get_or_create(&labels).inc();
        }
    }

    /// Enters a request to the Kubernetes API; no code if it got no answer.
    pub fn kubernetes_request(&self, method: &http::Method, code: Option<u16>, host: &str) {
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        let labels = ClientLabels { code, method: method.to_string(), host: host.to_owned() };
        self.client_requests.get_or_create(&labels).inc();
    }

    /// Says whether this process leads by the Lease of this name.
    pub fn leads(&self, lease: &str, leads: bool) {
        self.leads.get_or_create(&LeaseLabels { name: lease.to_owned() }).set(i64::from(leads));
    }

    /// Keeps [`Metrics::leads`] true to the election; never ends.
    pub async fn follow(&self, lease: &str, mut leadership: Leadership) {
        loop {
            self.leads(lease, leadership.is_leader());
            leadership.changed().await;
        }
    }

    /// Enters a request to a hypervisor. `code` is the HTTP status, or one of a few words such as `timeout`.
    pub fn hypervisor_request(&self, provider: &'static str, method: &'static str, code: &str, took: Duration) {
        let labels = HypervisorLabels { provider, method, code: code.to_owned() };
        self.hypervisor_requests.get_or_create(&labels).inc();
        self.hypervisor_time.get_or_create(&DurationLabels { provider, method }).observe(took.as_secs_f64());
    }

    /// Enters an operation on a worker's VM that ended: a test `passed`, `failed`, or was `superseded` before it had a
    /// result; any other is `done`.
    pub fn operation_ended(&self, kind: &'static str, result: &'static str) {
        self.operations.get_or_create(&OperationLabels { kind, result }).inc();
    }

    /// Enters an object that was released without a call to the hypervisor.
    pub fn abandoned(&self) {
        self.abandoned.inc();
    }

    /// All metrics in the text format of `OpenMetrics`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry());
        text
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reconcile_buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

fn request_buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_dashboards_know() {
        let metrics = Metrics::new();
        metrics.reconciled("worker", Reconciled::Requeued, Duration::from_millis(20));
        metrics.reconciled("worker", Reconciled::Panicked, Duration::from_millis(20));
        metrics.kubernetes_request(&http::Method::PATCH, Some(409), "10.0.0.1:443");
        metrics.kubernetes_request(&http::Method::GET, None, "10.0.0.1:443");
        metrics.leads("stevedore", true);
        metrics.hypervisor_request("Proxmox", "GET", "200", Duration::from_millis(3));
        metrics.operation_ended("Test", "passed");
        metrics.clone().abandoned();
        let text = metrics.text();
        for line in [
            "controller_runtime_reconcile_total{controller=\"worker\",result=\"requeue_after\"} 1",
            "controller_runtime_reconcile_total{controller=\"worker\",result=\"error\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"worker\"} 1",
            "controller_runtime_reconcile_panics_total{controller=\"worker\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"worker\"} 2",
            "rest_client_requests_total{code=\"409\",method=\"PATCH\",host=\"10.0.0.1:443\"} 1",
            "rest_client_requests_total{code=\"<error>\",method=\"GET\",host=\"10.0.0.1:443\"} 1",
            "leader_election_master_status{name=\"stevedore\"} 1",
            "stevedore_hypervisor_requests_total{provider=\"Proxmox\",method=\"GET\",code=\"200\"} 1",
            "stevedore_hypervisor_request_duration_seconds_count{provider=\"Proxmox\",method=\"GET\"} 1",
            "stevedore_operations_total{kind=\"Test\",result=\"passed\"} 1",
            "stevedore_abandoned_total 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
