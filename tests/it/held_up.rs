//! A changing call that is held up on its way, until what justified it is too old: it is not sent, and the operation goes
//! on when the way is free again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use stevedore::app::connector;
use stevedore::clock::SharedClock;
use stevedore::controller::context::{Connect, ConnectionSettings, Patience};
use stevedore::domain::fault::Fault;
use stevedore::hypervisor::SharedHypervisor;
use stevedore::hypervisor::transport::{Exchange, ExchangeError, Unobserved};
use stevedore::simulator::fault::{Effect, Rule};
use stevedore::simulator::proxmox::{Outcome, Simulator};
use stevedore::simulator::scenario::Scenario;

use crate::crash::operator::Operator;
use crate::crash::world::{NAMESPACE, World, in_virtual_time, is_tested, seed, worker};

const LONG: Duration = Duration::from_secs(3 * 3600);
/// For this long the way is blocked.
const BLOCKED: Duration = Duration::from_secs(300);

async fn tested(operator: &mut Operator) {
    let done = operator.run(LONG, async |world| world.all_workers().iter().all(is_tested)).await;
    assert!(done);
}

/// What the worker says why it waits.
async fn says(world: &World) -> String {
    let status = world.worker("w1").await.unwrap().status.unwrap();
    let said = status.conditions.into_iter().map(|condition| format!("{}: {}", condition.reason, condition.message));
    said.collect::<Vec<_>>().join("\n")
}

/// The step that the worker's record intends, and how often its call may have been sent.
async fn intended(world: &World) -> (String, u64) {
    let record = world.worker("w1").await.unwrap().status.unwrap().operation.unwrap();
    (record["step"].as_str().unwrap().to_owned(), record["sends"].as_u64().unwrap())
}

#[test]
fn a_list_that_comes_late_before_a_clone() {
    in_virtual_time(async {
        let world = World::with(seed(), Scenario::default_demo(), json!({})).await;
        let mut operator = world.operator();
        operator.pass(Duration::from_secs(100)).await;
        // The template is looked up in it, after the proof that the cluster is quorate.
        world.pve.faults().add(Rule::every("GET", "/cluster/resources", Effect::Delay(6.0)));
        world.create(worker("w1", &json!({}))).await;
        operator.pass(BLOCKED).await;
        assert!(world.effects().is_empty(), "{:?}", world.effects());
        assert_eq!(intended(&world).await, ("Create".to_owned(), 1));
        let said = says(&world).await;
        assert!(said.contains("not sent"), "{said}");
        world.pve.faults().clear();
        tested(&mut operator).await;
        let clones = world.effects().into_iter().filter(|call| call.path.ends_with("/clone")).count();
        assert_eq!((clones, world.ours().len()), (1, 1));
    });
}

#[test]
fn a_quorum_that_is_told_late_before_a_deletion() {
    in_virtual_time(async {
        let world = World::with(seed(), Scenario::default_demo(), json!({})).await;
        let mut operator = world.operator();
        world.create(worker("w1", &json!({}))).await;
        tested(&mut operator).await;
        let before = world.effects().len();
        world.pve.faults().add(Rule::every("GET", "/cluster/ha/status/current", Effect::Delay(6.0)));
        world.workers().delete("w1", &kube::api::DeleteParams::default()).await.unwrap();
        operator.pass(BLOCKED).await;
        assert_eq!(world.effects().len(), before);
        assert_eq!(intended(&world).await, ("Destroy".to_owned(), 1));
        let said = says(&world).await;
        assert!(said.contains("not sent"), "{said}");
        world.pve.faults().clear();
        assert!(operator.run(LONG, async |world| world.worker("w1").await.is_none()).await);
        assert_eq!((world.effects().len(), world.ours().len()), (before + 1, 0));
    });
}

/// Lets a poll of somebody else in after each look at the worker's VM, and has it take long.
#[derive(Debug)]
struct Jam {
    pve: Simulator,
    clock: SharedClock,
    is_on: AtomicBool,
    client: OnceLock<SharedHypervisor>,
}

#[derive(Debug, Clone)]
struct Jammed(Arc<Jam>);

#[async_trait]
impl Exchange for Jammed {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let path = request.uri().path().to_owned();
        let client = self.0.client.get().cloned().filter(|_| self.0.is_on.load(Ordering::Relaxed));
        if let Some(client) = client {
            if path.ends_with("/qemu/5000/status/current") {
                tokio::spawn(async move { client.inventory().await });
                // It takes its place in the queue.
                tokio::task::yield_now().await;
            } else if path.ends_with("/cluster/resources") {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        }
        match self.0.pve.call(request).await {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Dropped => Err(ExchangeError::Lost("dropped".to_owned())),
        }
    }
}

impl Connect for Jammed {
    fn connect(&self, settings: &ConnectionSettings) -> Result<SharedHypervisor, Fault> {
        let deadline = Patience::default().call;
        connector::proxmox(settings, Arc::new(self.clone()), deadline, self.0.clock.clone(), Arc::new(Unobserved))
    }
}

#[test]
fn a_turn_that_comes_late_before_a_start() {
    in_virtual_time(async {
        let world =
            World::with(seed(), Scenario::default_demo(), json!({"spec": {"limits": {"parallelOperations": 1}}})).await;
        let jam = Arc::new(Jam {
            pve: world.pve.clone(),
            clock: world.clock.clone(),
            is_on: AtomicBool::new(false),
            client: OnceLock::new(),
        });
        let mut operator = Operator::connecting(&world, 0, Arc::new(Jammed(jam.clone())));
        world.create(worker("w1", &json!({}))).await;
        tested(&mut operator).await;
        let connection = operator.context.connections.get(&(NAMESPACE.to_owned(), "lab".to_owned())).unwrap();
        jam.client.set(connection.state().client.unwrap()).unwrap();
        let before = world.effects().len();
        jam.is_on.store(true, Ordering::Relaxed);
        world.edit("w1", json!({"metadata": {"annotations": {"stevedore.dev/test-requested-at": "1"}}})).await;
        operator.pass(BLOCKED).await;
        assert_eq!(world.effects().len(), before, "{:?}", &world.effects()[before..]);
        assert_eq!(intended(&world).await, ("Start".to_owned(), 1), "none of many tries was a call");
        jam.is_on.store(false, Ordering::Relaxed);
        let handled = async |world: &World| {
            let worker = world.worker("w1").await.unwrap();
            let request = worker.status.as_ref().and_then(|status| status.last_handled_test_request.as_deref());
            request == Some("1") && is_tested(&worker)
        };
        assert!(operator.run(LONG, handled).await);
        let starts = |from: usize| world.effects()[from..].iter().filter(|call| call.path.ends_with("/start")).count();
        assert_eq!(starts(before), 1);
    });
}
