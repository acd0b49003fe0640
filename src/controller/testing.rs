//! Running a test's checks, and putting its result into the status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::context::Context;
use super::looks::{Looker, wanted_of};
use super::snapshot::whole_seconds;
use crate::api::Worker;
use crate::api::WorkerStatus;
use crate::api::common::Span;
use crate::api::worker_status::{CheckReport, MAX_CHECKS, TestReport, TestResult};
use crate::api::worker_updates::UpdateReport;
use crate::domain::fault::Fault;
use crate::domain::operation::Operation;
use crate::domain::update::UpdateRecord;
use crate::guest::checks::{self, AddressWanted, CheckPlan, CheckResult, ConnectTarget, ExpectedNetwork, Outcome};
use crate::guest::reach::Endpoint;
use crate::hypervisor::vm::{self, GuestAddress, VmDetail};

/// The most addresses that a status lists.
const MAX_ADDRESSES: usize = 32;

/// What a test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Every check, in order.
    pub results: Vec<CheckResult>,
    /// The guest's addresses, in the order of the networks.
    pub addresses: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.results.iter().all(|result| result.outcome == Outcome::Passed)
    }
}

/// Runs every check in the guest of a worker whose VM is on and answers. Nothing is changed in it.
pub async fn run(looker: &Looker<'_>, operation: &Operation) -> Result<Findings, Fault> {
    let context = looker.context;
    let at = operation.target.at();
    let begun = context.clock.boot();
    let detail = looker.client.vm(&at).await?;
    let differences = looker.client.differences(&wanted_of(&looker.declared.wanted, &detail), &detail);
    let named: Vec<String> =
        differences.iter().map(|one| format!("{} is {:?}, not {:?}", one.field, one.from, one.to)).collect();
    let deployed = CheckResult::deployed(context.clock.boot().since(begun), &named);
    let waited = context
        .tracks
        .with(&looker.declared.wanted.mark.worker_uid, |track| track.step_age(operation, context.clock.boot()));
    let seen = looker.client.guest_addresses(&at).await?;
    let plan = plan(looker, &detail);
    let channel = looker.client.guest(&at);
    let inside =
        checks::ask_checks(channel.as_ref(), &plan, &seen, context.clock.as_ref(), context.patience.script).await?;
    let outside = vec![deployed, CheckResult::guest(waited, Ok(()))];
    Ok(Findings { results: checks::merge(outside, inside), addresses: addresses(&detail, &seen) })
}

/// The addresses of a guest that is on and answers, in the order of its networks.
pub async fn addresses_now(looker: &Looker<'_>, operation: &Operation) -> Result<Vec<String>, Fault> {
    let at = operation.target.at();
    let detail = looker.client.vm(&at).await?;
    Ok(addresses(&detail, &looker.client.guest_addresses(&at).await?))
}

/// What the worker must have and reach.
fn plan(looker: &Looker<'_>, detail: &VmDetail) -> CheckPlan {
    let spec = &looker.worker.spec;
    let networks = looker.declared.wanted.networks.iter().enumerate().map(|(index, network)| ExpectedNetwork {
        name: network.name.clone(),
        mac: detail.macs.get(index).cloned().unwrap_or_default(),
        ipv4: address(&network.ipv4),
        ipv6: address(&network.ipv6),
    });
    let connect = spec.checks.connect.iter().map(|target| ConnectTarget {
        name: target.name.clone(),
        at: Endpoint::new(&target.host, u16::try_from(target.port).unwrap_or(0)),
    });
    let endpoints = looker.connection.state().endpoints;
    CheckPlan {
        networks: networks.collect(),
        endpoints: endpoints.iter().map(|(host, port)| Endpoint::new(host, *port)).collect(),
        connect: connect.collect(),
        unit: spec.service.as_ref().map(|service| service.unit.clone()),
        ..CheckPlan::default()
    }
}

/// A network without router announcements gives no address by itself: that is no fault of the worker.
fn address(wanted: &vm::AddressWanted) -> AddressWanted {
    match wanted {
        vm::AddressWanted::None | vm::AddressWanted::Auto => AddressWanted::Nothing,
        vm::AddressWanted::Dhcp => AddressWanted::Assigned,
        vm::AddressWanted::Static { address, prefix, .. } => AddressWanted::Static { ip: *address, prefix: *prefix },
    }
}

/// Addresses by which others reach the guest, in the order of its cards.
fn addresses(detail: &VmDetail, seen: &[GuestAddress]) -> Vec<String> {
    let usable = |address: &std::net::IpAddr| match address {
        std::net::IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        std::net::IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let mut all = Vec::new();
    for mac in &detail.macs {
        let of_card = seen.iter().filter(|one| one.mac.eq_ignore_ascii_case(mac) && usable(&one.address));
        all.extend(of_card.map(|one| one.address.to_string()));
    }
    all.truncate(MAX_ADDRESSES);
    all
}

/// A test that ended, as it goes into a status.
pub struct Ended<'a> {
    /// The operation that made it.
    pub operation: &'a Operation,
    /// Its checks.
    pub results: &'a [CheckResult],
    /// The guest's addresses, if they were seen.
    pub addresses: Option<&'a [String]>,
    /// The update of its packages, if one was made.
    pub update: Option<&'a UpdateRecord>,
}

/// Puts a test's result into a status.
pub fn record(mut status: WorkerStatus, ended: &Ended<'_>, now: Timestamp) -> WorkerStatus {
    let passed = ended.results.iter().all(|result| result.outcome == Outcome::Passed);
    let hash = &ended.operation.spec_hash;
    let same_spec = status.last_test.as_ref().is_some_and(|test| test.config_hash.as_ref() == Some(hash));
    let failures = if same_spec { status.test_failures.unwrap_or(0) } else { 0 };
    status.test_failures = (!passed).then(|| failures.saturating_add(1));
    if let (Some(vm), Some(addresses)) = (&mut status.vm, ended.addresses) {
        vm.addresses = addresses.to_vec();
    }
    if let Some(request) = &ended.operation.request {
        status.last_handled_test_request = Some(request.clone());
    }
    status.last_test = Some(TestReport {
        result: if passed { TestResult::Passed } else { TestResult::Failed }.to_string(),
        started_at: Time(whole_seconds(ended.operation.since)),
        finished_at: Time(whole_seconds(now)),
        config_hash: Some(hash.clone()),
        operation: Some(ended.operation.id.clone()),
        checks: ended.results.iter().take(MAX_CHECKS).map(check).collect(),
    });
    with_update(status, ended.update)
}

/// Puts the result of an update into a status, if there is one.
pub fn with_update(status: WorkerStatus, update: Option<&UpdateRecord>) -> WorkerStatus {
    let Some(update) = update else { return status };
    let report = UpdateReport {
        operation: update.operation.clone(),
        result: update.outcome.to_string(),
        finished_at: Time(whole_seconds(update.finished)),
        packages: i32::try_from(update.packages).unwrap_or(i32::MAX),
        pending: i32::try_from(update.pending).unwrap_or(i32::MAX),
        rebooted: update.rebooted,
        message: Some(update.message.chars().take(1000).collect()),
    };
    WorkerStatus { last_update: Some(report), ..status }
}

fn check(result: &CheckResult) -> CheckReport {
    let outcome = match result.outcome {
        Outcome::Passed => TestResult::Passed,
        Outcome::Failed => TestResult::Failed,
        Outcome::Skipped => TestResult::Skipped,
    };
    CheckReport {
        name: result.name.clone(),
        result: outcome.to_string(),
        duration: Some(Span::from_duration(result.duration)),
        message: Some(result.message.chars().take(1000).collect::<String>()).filter(|text| !text.is_empty()),
    }
}

/// Why a worker that lost a task is tested again.
pub const LOST: &str = "a task was lost with it: its VM was powered off, rebooted or deleted, or its guest died";

/// The status of a worker of which it must be shown anew that it can work: its last test counts no more.
pub fn doubted(status: WorkerStatus, hash: &str, now: Timestamp) -> WorkerStatus {
    let now = Time(whole_seconds(now));
    let check = CheckReport {
        name: "work".to_owned(),
        result: TestResult::Failed.to_string(),
        duration: None,
        message: Some(LOST.to_owned()),
    };
    let report = TestReport {
        result: TestResult::Failed.to_string(),
        started_at: now.clone(),
        finished_at: now,
        config_hash: Some(hash.to_owned()),
        operation: None,
        checks: vec![check],
    };
    let failures = status.test_failures.unwrap_or(0).saturating_add(1);
    WorkerStatus { last_test: Some(report), test_failures: Some(failures), ..status }
}

/// The failed checks of a test, for an event.
pub fn failures(results: &[CheckResult]) -> String {
    let failed = results.iter().filter(|result| result.outcome == Outcome::Failed);
    failed.map(|result| format!("{}: {}", result.name, result.message)).collect::<Vec<_>>().join("; ")
}

/// The reference by which events name a worker.
pub fn reference(worker: &Worker) -> k8s_openapi::api::core::v1::ObjectReference {
    kube::Resource::object_ref(worker, &())
}

/// Settings of this process that a test's look needs, for the settling time after a boot.
pub fn settles(context: &Context, operation: &Operation, uid: &str) -> bool {
    let age = context.tracks.with(uid, |track| track.step_age(operation, context.clock.boot()));
    age >= context.patience.settle
}
