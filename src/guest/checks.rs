//! Whether a worker is fit to work: each check with a result of its own, in words that a person can act on.
//!
//! [`run_checks`] asks the guest at most four questions (facts, names, connections, the service's unit), whatever the
//! number of checks, and judges the answers. Two checks lie outside of the guest, so their results come from the caller:
//! [`DEPLOYED`] and [`GUEST`].

use std::time::Duration;

use super::channel::GuestChannel;
use super::reach::Endpoint;
use crate::clock::Clock;
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::vm::GuestAddress;

mod address;
mod asking;
mod connect;
mod disk;
mod dns;
mod service;
mod time;

pub use address::{AddressWanted, ExpectedNetwork};

/// The check that the VM is deployed as declared.
pub const DEPLOYED: &str = "deployed";
/// The check that the guest answers.
pub const GUEST: &str = "guest";
/// Free bytes that `/` and `/var/lib` need each, if nothing else is asked for.
pub const MIN_FREE_BYTES: u64 = 1 << 30;
/// How far the guest's clock may be off, if nothing else is asked for.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// What a worker must have and reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPlan {
    /// Its network cards; each gives a check `address/NAME`.
    pub networks: Vec<ExpectedNetwork>,
    /// The hypervisor's API, one of which must be reached (`hypervisor-api`); no check if empty.
    pub endpoints: Vec<Endpoint>,
    /// What else it must reach; each gives a check `connect/NAME`.
    pub connect: Vec<ConnectTarget>,
    /// The systemd unit that must be active (`service`); no check without one.
    pub unit: Option<String>,
    /// Free bytes that `/` and `/var/lib` need each.
    pub min_free_bytes: u64,
    /// How far the guest's clock may be off.
    pub clock_tolerance: Duration,
}

impl Default for CheckPlan {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            endpoints: Vec::new(),
            connect: Vec::new(),
            unit: None,
            min_free_bytes: MIN_FREE_BYTES,
            clock_tolerance: CLOCK_TOLERANCE,
        }
    }
}

/// A TCP target that a worker must reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTarget {
    /// The name of its check.
    pub name: String,
    /// Where it is.
    pub at: Endpoint,
}

impl CheckPlan {
    /// The host names among the targets, each once, in their order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.targets().iter().filter_map(Endpoint::name) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// All targets, each once, in their order: the hypervisor's API first.
    fn targets(&self) -> Vec<Endpoint> {
        let mut targets: Vec<Endpoint> = Vec::new();
        for target in self.endpoints.iter().chain(self.connect.iter().map(|target| &target.at)) {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        targets
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Passed,
    /// Something is not.
    Failed,
    /// It could not be looked at, because the guest stopped answering.
    Skipped,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// Its name, such as `dns` or `connect/repository`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long the question to the guest took that answered it.
    pub duration: Duration,
    /// For people: what was found; if it failed also what was expected, and what to do.
    pub message: String,
}

impl CheckResult {
    /// A check that passed.
    pub fn passed(name: impl Into<String>, duration: Duration, message: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Passed, duration, message: message.into() }
    }

    /// A check that failed.
    pub fn failed(name: impl Into<String>, duration: Duration, message: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Failed, duration, message: message.into() }
    }

    /// The result of [`DEPLOYED`]: the settings in which the VM differs from its declaration, none if it passed.
    pub fn deployed(duration: Duration, differences: &[String]) -> Self {
        if differences.is_empty() {
            return Self::passed(DEPLOYED, duration, "the VM is deployed as declared");
        }
        let text = format!("the VM differs from its declaration: {}", differences.join("; "));
        Self::failed(DEPLOYED, duration, text)
    }

    /// The result of [`GUEST`]: whether the guest answered within `waited`.
    pub fn guest(waited: Duration, answer: Result<(), &Fault>) -> Self {
        match answer {
            Ok(()) => Self::passed(GUEST, waited, "the guest answers"),
            Err(fault) => Self::failed(GUEST, waited, format!("the guest does not answer: {fault}; {GUEST_ADVICE}")),
        }
    }

    fn skipped(name: impl Into<String>) -> Self {
        let message = "not checked, because the guest stopped answering".to_owned();
        Self { name: name.into(), outcome: Outcome::Skipped, duration: Duration::ZERO, message }
    }
}

const GUEST_ADVICE: &str = "look at the VM's console whether it has booted, and whether the image runs the guest agent \
                            with permission to run programs";

/// Puts `later` results behind `earlier` ones; of two with one name the later one counts, in the earlier one's place.
pub fn merge(earlier: Vec<CheckResult>, later: Vec<CheckResult>) -> Vec<CheckResult> {
    let mut all = earlier;
    for result in later {
        match all.iter_mut().find(|known| known.name == result.name) {
            Some(known) => *known = result,
            None => all.push(result),
        }
    }
    all
}

/// Runs the checks that look into the guest, giving each question `deadline` (30 s or more are wise).
///
/// `seen` are the guest's addresses as the hypervisor knows them; they count where the guest cannot tell its own.
/// A guest that stops answering gives a failed [`GUEST`] first and skipped checks for what was not looked at.
/// Nothing is repeated: right after a boot, the caller may run the checks again.
pub async fn run_checks(
    channel: &dyn GuestChannel,
    plan: &CheckPlan,
    seen: &[GuestAddress],
    clock: &dyn Clock,
    deadline: Duration,
) -> Vec<CheckResult> {
    examine(channel, plan, seen, clock, deadline).await.0
}

/// The same; but a hypervisor that is away or overloaded is a fault of the question and says nothing about the guest.
pub async fn ask_checks(
    channel: &dyn GuestChannel,
    plan: &CheckPlan,
    seen: &[GuestAddress],
    clock: &dyn Clock,
    deadline: Duration,
) -> Result<Vec<CheckResult>, Fault> {
    match examine(channel, plan, seen, clock, deadline).await {
        (_, Some(fault)) if fault.is_away() || matches!(fault.kind, FaultKind::Busy | FaultKind::NotSent) => Err(fault),
        (results, _) => Ok(results),
    }
}

/// Runs the checks; with the fault by which the guest stopped answering, if it did.
async fn examine(
    channel: &dyn GuestChannel,
    plan: &CheckPlan,
    seen: &[GuestAddress],
    clock: &dyn Clock,
    deadline: Duration,
) -> (Vec<CheckResult>, Option<Fault>) {
    let mut asking = asking::Asking::new(channel, clock, deadline);
    let facts = asking.facts().await;
    let lookups = asking.lookups(&plan.names()).await;
    let attempts = asking.attempts(&plan.targets()).await;
    let unit = match &plan.unit {
        Some(name) => Some((name, asking.unit(name).await)),
        None => None,
    };

    let (away, fault) = asking.into_away().unzip();
    let mut results: Vec<CheckResult> = away.into_iter().collect();
    for network in &plan.networks {
        let name = format!("address/{}", network.name);
        results.push(facts.check(name, |told| address::judge(network, &told.facts, seen)));
    }
    let servers = facts.value().map(|told| told.facts.nameservers.clone());
    results.push(if plan.names().is_empty() {
        facts.check("dns", |told| dns::judge_servers(&told.facts))
    } else {
        lookups.check("dns", |lookups| dns::judge_lookups(lookups, servers.as_deref()))
    });
    if !plan.endpoints.is_empty() {
        results.push(attempts.check("hypervisor-api", |attempts| connect::judge_api(&plan.endpoints, attempts)));
    }
    for target in &plan.connect {
        let name = format!("connect/{}", target.name);
        results.push(attempts.check(name, |attempts| connect::judge_target(&target.at, attempts)));
    }
    if let Some((name, answer)) = unit {
        results.push(answer.check("service", |properties| service::judge(name, properties)));
    }
    results.push(facts.check("clock", |told| time::judge(told, plan.clock_tolerance)));
    results.push(facts.check("disk", |told| disk::judge(&told.facts, plan.min_free_bytes)));
    (results, fault)
}

/// Passed or failed, with its text.
type Verdict = Result<String, String>;

#[cfg(test)]
mod tests;
