//! A world with one operator, and questions to it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use stevedore::api::Worker;
use stevedore::api::conditions::Condition;
use stevedore::simulator::scenario::Scenario;

use crate::crash::operator::Operator;
use crate::crash::world::{World, is_tested, seed, worker};

/// Long enough for every time-out and back-off on the way to a condition.
const LONG: Duration = Duration::from_secs(3 * 3600);
/// For this long nothing may be changed after something was refused.
const CALM: Duration = Duration::from_secs(300);

/// A world with one operator.
pub(super) struct Lab {
    pub(super) world: World,
    pub(super) operator: Operator,
}

/// Whose condition.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Worker(&'static str),
    Hypervisor,
}

/// A condition that is expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) of: Of,
    /// Its type, answer, and reason.
    pub(super) is: (&'static str, &'static str, &'static str),
    /// What the message must hold.
    pub(super) words: &'a [&'a str],
}

/// What the hypervisor looked like.
#[derive(Debug, PartialEq)]
pub(super) struct Sight {
    effects: usize,
    vms: BTreeMap<u32, String>,
}

impl Lab {
    pub(super) async fn new() -> Self {
        Self::of(Scenario::default_demo(), json!({})).await
    }

    /// `patch` is merged into the Hypervisor.
    pub(super) async fn of(scenario: Scenario, patch: Value) -> Self {
        Self::in_world(World::with(seed(), scenario, patch).await)
    }

    pub(super) fn in_world(world: World) -> Self {
        let operator = world.operator();
        Self { world, operator }
    }

    /// A lab in which worker w1 was deployed, tested and shut down.
    pub(super) async fn deployed() -> Self {
        let mut lab = Self::new().await;
        lab.deploy("w1", json!({})).await;
        lab
    }

    /// Declares a worker and waits until it was tested.
    pub(super) async fn deploy(&mut self, name: &str, patch: Value) {
        self.declare(name, patch).await;
        self.tested(name).await;
    }

    pub(super) async fn declare(&self, name: &str, patch: Value) {
        self.world.create(worker(name, &patch)).await;
    }

    /// Waits until a worker passed the test of its present declaration and is off.
    pub(super) async fn tested(&mut self, name: &str) {
        self.until(name, is_tested).await;
    }

    /// Waits until something is so of a worker.
    pub(super) async fn until(&mut self, name: &str, is: impl Fn(&Worker) -> bool) -> Worker {
        let find = async |world: &World| world.worker(name).await.filter(|worker| is(worker));
        let done = self.operator.run(LONG, async |world| find(world).await.is_some()).await;
        let now = self.world.worker(name).await;
        assert!(done, "{:#?}", now.map(|worker| worker.status));
        now.unwrap()
    }

    /// Waits until no worker of this name is there.
    pub(super) async fn gone(&mut self, name: &str) {
        let done = self.operator.run(LONG, async |world| world.worker(name).await.is_none()).await;
        assert!(done, "{:#?}", self.world.worker(name).await);
    }

    /// A person deletes a worker.
    pub(super) async fn delete(&self, name: &str) {
        self.world.workers().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }

    /// A person asks for a test.
    pub(super) async fn ask(&self, value: &str) {
        self.world.edit("w1", json!({"metadata": {"annotations": {"stevedore.dev/test-requested-at": value}}})).await;
    }

    /// Ends the operator and starts another one, which remembers nothing.
    pub(super) fn restart(&mut self) {
        self.operator = self.world.operator();
    }

    /// What the hypervisor looks like now.
    pub(super) fn sight(&self) -> Sight {
        Sight { effects: self.world.effects().len(), vms: self.world.vms() }
    }

    /// Waits until this is said. Gives back the message.
    pub(super) async fn says(&mut self, expected: Expected<'_>) -> String {
        let done = self.operator.run(LONG, async |world| said(world, expected).await.is_some()).await;
        let Some(condition) = said(&self.world, expected).await.filter(|_| done) else {
            panic!("nobody says {expected:?}: {:#?}", all(&self.world, expected.of).await);
        };
        println!("{:?} {:?}: {}", expected.of, expected.is, condition.message);
        for word in expected.words {
            assert!(condition.message.contains(word), "{word:?} is not in: {}", condition.message);
        }
        condition.message
    }

    /// Waits until this is said, and sees that nothing is changed then for a while, nor was since `before`.
    pub(super) async fn refuses(&mut self, before: &Sight, expected: Expected<'_>) -> String {
        let message = self.says(expected).await;
        self.operator.pass(CALM).await;
        assert_eq!(self.sight(), *before, "something was changed although {message}");
        assert!(said(&self.world, expected).await.is_some(), "{:#?}", all(&self.world, expected.of).await);
        message
    }
}

async fn all(world: &World, of: Of) -> Vec<Condition> {
    match of {
        Of::Worker(name) => world.worker(name).await.and_then(|worker| worker.status).unwrap_or_default().conditions,
        Of::Hypervisor => world.hypervisor("lab").await.and_then(|one| one.status).unwrap_or_default().conditions,
    }
}

async fn said(world: &World, Expected { of, is: (type_, answer, reason), .. }: Expected<'_>) -> Option<Condition> {
    let fits = |one: &Condition| one.type_ == type_ && one.status == answer && one.reason == reason;
    all(world, of).await.into_iter().find(fits)
}

/// A worker's condition.
pub(super) fn worker_says<'a>(
    name: &'static str,
    is: (&'static str, &'static str, &'static str),
    words: &'a [&'a str],
) -> Expected<'a> {
    Expected { of: Of::Worker(name), is, words }
}

/// The Hypervisor's condition.
pub(super) fn hypervisor_says<'a>(
    is: (&'static str, &'static str, &'static str),
    words: &'a [&'a str],
) -> Expected<'a> {
    Expected { of: Of::Hypervisor, is, words }
}
