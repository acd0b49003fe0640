//! A pass runs the checks, and records what came of a test or a launch: with one write, that of its update included.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Error, Pass, Turn, kind, listed};
use crate::api::WorkerStatus;
use crate::api::worker_status::LaunchReport;
use crate::controller::connection::Connection;
use crate::controller::testing::{self, Ended, Findings};
use crate::controller::tracks::Track;
use crate::controller::{snapshot, status};
use crate::domain::observation::Facts;
use crate::domain::operation::{Kind, Operation};
use crate::domain::plan::{self, AfterChecks, Report};
use crate::domain::update::UpdateRecord;
use crate::guest::checks::CheckResult;
use crate::hypervisor::SharedHypervisor;

/// Between two looks for the addresses of a guest that has booted a moment ago.
const ADDRESSED: Duration = Duration::from_secs(5);

impl Pass<'_> {
    /// Runs the checks and records what they found, unless all passed and an update comes first; checks that fail right after
    /// the boot are run again.
    pub(super) async fn check(
        &mut self,
        facts: &Facts,
        report: &Report,
        (operation, after): (&Operation, &AfterChecks),
        connection: &Arc<Connection>,
        client: &SharedHypervisor,
    ) -> Result<Turn, Error> {
        let update = match after {
            AfterChecks::Record(update) => update.as_deref(),
            AfterChecks::Update => None,
        };
        let known = update.filter(|update| !update.changed_something()).and_then(|_| self.found_before(operation));
        let found = match known {
            Some(findings) => Ok(findings),
            None => testing::run(&self.looker(&facts.declared, connection, client), operation).await,
        };
        let findings = match found {
            Ok(findings) => findings,
            // A guest that answers and cannot be asked: that is the test's result, if it stays so.
            Err(fault) if facts.observed.step_age > facts.observed.guest_timeout && !fault.is_away() => {
                let results = [CheckResult::guest(facts.observed.step_age, Err(&fault))];
                return self
                    .conclude(facts, report, &Ended { operation, results: &results, addresses: None, update })
                    .await;
            }
            Err(fault) => return self.hindered(&facts.declared, &fault).await,
        };
        self.context.tracks.with(&self.uid, Track::looked);
        if !findings.passed() && !self.is_settled(operation, update) {
            let again = Duration::from_secs(5);
            return self.report(facts, report, Some(again)).await;
        }
        if findings.passed() && *after == AfterChecks::Update {
            self.context.tracks.with(&self.uid, |track| track.checks = Some((operation.id.clone(), findings)));
            return Ok(Turn::Again);
        }
        let Findings { results, addresses } = findings;
        self.conclude(facts, report, &Ended { operation, results: &results, addresses: Some(&addresses), update }).await
    }

    /// Whether a check that fails counts: neither did the guest boot a moment ago, nor was something in it replaced.
    fn is_settled(&self, operation: &Operation, update: Option<&UpdateRecord>) -> bool {
        let ago = |update: &UpdateRecord| snapshot::elapsed(update.finished, self.context.clock.wall());
        let replaced = update.filter(|update| update.changed_something());
        testing::settles(self.context, operation, &self.uid)
            && replaced.is_none_or(|update| ago(update) >= self.context.patience.settle)
    }

    /// What the checks of this operation found before its update.
    fn found_before(&self, operation: &Operation) -> Option<Findings> {
        let checks = self.context.tracks.with(&self.uid, |track| track.checks.clone());
        checks.filter(|(of, _)| *of == operation.id).map(|(_, findings)| findings)
    }

    /// Records that a test failed for another reason than a check that was made.
    pub(super) async fn conclude_failed(
        &mut self,
        facts: &Facts,
        report: &Report,
        operation: &Operation,
        failed: CheckResult,
        update: Option<&UpdateRecord>,
    ) -> Result<Turn, Error> {
        // That of an update comes after checks that passed.
        let before = update.and_then(|_| self.found_before(operation));
        let addresses = before.as_ref().map(|findings| findings.addresses.clone());
        let results: Vec<_> = before.into_iter().flat_map(|findings| findings.results).chain([failed]).collect();
        let ended = Ended { operation, results: &results, addresses: addresses.as_deref(), update };
        self.conclude(facts, report, &ended).await
    }

    /// Records a test's result.
    async fn conclude(&mut self, facts: &Facts, report: &Report, ended: &Ended<'_>) -> Result<Turn, Error> {
        let told = testing::record(self.rendered(facts, report), ended, self.context.clock.wall());
        self.write_whole(facts, told).await?;
        let failed = testing::failures(ended.results);
        let (reason, note) =
            if failed.is_empty() { ("TestPassed", "every check passed".to_owned()) } else { ("TestFailed", failed) };
        let result = if reason == "TestPassed" { "passed" } else { "failed" };
        self.context.metrics.operation_ended(kind(Kind::Test), result);
        self.happened(reason != "TestPassed", reason, "Test", note);
        self.tell_update(ended.update);
        self.looks.guest = None;
        Ok(Turn::Again)
    }

    /// Records that this boot of the guest takes tasks, and at which addresses; the checks have seen these if there were any.
    pub(super) async fn launched(
        &mut self,
        facts: &Facts,
        report: &Report,
        operation: &Operation,
        (boot_id, update): (String, Option<&UpdateRecord>),
        (connection, client): (&Arc<Connection>, &SharedHypervisor),
    ) -> Result<Turn, Error> {
        let at = Time(snapshot::whole_seconds(self.context.clock.wall()));
        let launch = LaunchReport { operation: operation.id.clone(), boot_id, at };
        let mut status = WorkerStatus { launch: Some(launch), ..self.rendered(facts, report) };
        let tested = facts.remembered.last_test.as_ref().is_some_and(|test| test.operation == operation.id);
        if let Some(vm) = status.vm.as_mut().filter(|_| !tested) {
            let looker = self.looker(&facts.declared, connection, client);
            vm.addresses = match testing::addresses_now(&looker, operation).await {
                // A lease without them is of no use.
                Ok(addresses) if addresses.is_empty() && facts.observed.step_age < facts.observed.guest_timeout => {
                    return self.report(facts, report, Some(ADDRESSED)).await;
                }
                Ok(addresses) => addresses,
                Err(fault) => return self.hindered(&facts.declared, &fault).await,
            };
        }
        self.write_whole(facts, testing::with_update(status, update)).await?;
        self.tell_update(update);
        Ok(Turn::Again)
    }

    /// Writes a status with news in it, and what these mean for the conditions: one write says both.
    async fn write_whole(&mut self, facts: &Facts, status: WorkerStatus) -> Result<(), Error> {
        let mut worker = self.worker.clone();
        worker.status = Some(status);
        let known = self.facts(&worker, facts.declared.clone());
        let report = plan::plan(&known).report;
        let now = self.context.clock.wall();
        let told = status::render(&worker, Some(&known.declared), &report, listed(&known), now);
        self.worker = status::write(&self.api, &self.worker, told).await?;
        Ok(())
    }

    fn tell_update(&self, update: Option<&UpdateRecord>) {
        match update {
            Some(update) if !update.succeeded() => {
                self.happened(true, "UpdateFailed", "Update", update.message.clone());
            }
            Some(update) if update.packages > 0 => {
                self.happened(false, "PackagesUpdated", "Update", update.message.clone());
            }
            _ => {}
        }
    }
}
