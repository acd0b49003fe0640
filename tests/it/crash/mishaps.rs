//! What goes wrong at one call of a life, and how it is set up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use stevedore::simulator::fault::{Effect, Failure, LoggedCall, Moment};
use stevedore::simulator::kubernetes::{Call, Fault};
use tokio::sync::Notify;

use super::world::{World, is_effect};

/// Never, in virtual time.
const FOR_EVER: f64 = 1e8;

/// What happens at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    /// The operator is killed before the call has its effect.
    KilledBefore,
    /// The operator is killed after the call had its effect, before the answer.
    KilledAfter,
    /// The call never arrives.
    NeverArrives,
    /// The answer is lost.
    AnswerLost,
    /// The answer comes after the operator gave up waiting.
    AnswerLate,
    /// The call arrives after the operator gave up waiting.
    CallLate,
    /// The call arrives twice.
    Doubled,
    /// A proxy gives up although the call goes on.
    ProxyGivesUp,
    /// A person erases this of the worker's status while the call is on its way; perhaps the operator is killed, too.
    Erased(Loss, Moment, Then),
}

/// What of a status is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The record of the operation in flight.
    Operation,
    /// All of it.
    Status,
}

/// What becomes of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoesOn,
    IsKilled,
}

pub(super) const AT_HYPERVISOR: [Mishap; 8] = [
    Mishap::KilledBefore,
    Mishap::KilledAfter,
    Mishap::NeverArrives,
    Mishap::AnswerLost,
    Mishap::AnswerLate,
    Mishap::CallLate,
    Mishap::Doubled,
    Mishap::ProxyGivesUp,
];

pub(super) const AT_KUBERNETES: [Mishap; 5] =
    [Mishap::KilledBefore, Mishap::KilledAfter, Mishap::NeverArrives, Mishap::AnswerLost, Mishap::CallLate];

pub(super) const ERASED: [Mishap; 8] = [
    Mishap::Erased(Loss::Operation, Moment::Before, Then::GoesOn),
    Mishap::Erased(Loss::Operation, Moment::After, Then::GoesOn),
    Mishap::Erased(Loss::Operation, Moment::Before, Then::IsKilled),
    Mishap::Erased(Loss::Operation, Moment::After, Then::IsKilled),
    Mishap::Erased(Loss::Status, Moment::Before, Then::GoesOn),
    Mishap::Erased(Loss::Status, Moment::After, Then::GoesOn),
    Mishap::Erased(Loss::Status, Moment::Before, Then::IsKilled),
    Mishap::Erased(Loss::Status, Moment::After, Then::IsKilled),
];

/// Where the mishap strikes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// The changing call to the hypervisor with this number.
    Hypervisor(u64),
    /// The n-th write to Kubernetes.
    Kubernetes(u64),
}

/// A mishap that was set up.
#[derive(Default)]
pub(super) struct Arranged {
    /// Rings when the operator is to be killed.
    pub(super) kill: Notify,
    /// Rings when the status is to be erased.
    erase: Notify,
    /// How often it struck.
    pub(super) struck: AtomicU64,
}

impl Arranged {
    fn strike(&self, mishap: Mishap) {
        self.struck.fetch_add(1, Ordering::Relaxed);
        match mishap {
            Mishap::KilledBefore | Mishap::KilledAfter => self.kill.notify_one(),
            Mishap::Erased(..) => self.erase.notify_one(),
            _ => {}
        }
    }
}

/// Sets the mishap up.
pub(super) fn arrange(world: &World, place: Place, mishap: Mishap) -> Arc<Arranged> {
    let arranged = Arc::new(Arranged::default());
    match place {
        Place::Hypervisor(nth) => at_hypervisor(world, nth, mishap, &arranged),
        Place::Kubernetes(nth) => at_kubernetes(world, nth, mishap, &arranged),
    }
    if let Mishap::Erased(loss, _, then) = mishap {
        let (world, arranged) = (world.clone(), Arc::clone(&arranged));
        tokio::spawn(async move {
            arranged.erase.notified().await;
            erase(&world, loss).await;
            if then == Then::IsKilled {
                arranged.kill.notify_one();
            }
        });
    }
    arranged
}

/// A person erases the status of worker w1, or a part of it.
pub(super) async fn erase(world: &World, loss: Loss) {
    let path = match loss {
        Loss::Operation => "/status/operation",
        Loss::Status => "/status",
    };
    let removal = serde_json::from_value(json!([{"op": "remove", "path": path}])).unwrap();
    // What is not there need not be erased.
    let _ = world.workers().patch_status("w1", &PatchParams::default(), &Patch::Json::<()>(removal)).await;
}

fn at_hypervisor(world: &World, nth: u64, mishap: Mishap, arranged: &Arc<Arranged>) {
    let proxy = Failure { status: 596, reason: "Connection timed out".into() };
    let effect = match mishap {
        Mishap::KilledBefore | Mishap::Erased(_, Moment::Before, Then::IsKilled) => Some(Effect::Delay(FOR_EVER)),
        Mishap::KilledAfter | Mishap::Erased(_, Moment::After, Then::IsKilled) => Some(Effect::DelayAnswer(FOR_EVER)),
        Mishap::NeverArrives => Some(Effect::DropBefore),
        Mishap::AnswerLost => Some(Effect::DropAfter),
        Mishap::AnswerLate => Some(Effect::DelayAnswer(50.0)),
        Mishap::CallLate => Some(Effect::Delay(50.0)),
        Mishap::Doubled => Some(Effect::Duplicate),
        Mishap::ProxyGivesUp => Some(Effect::FailAfter(proxy)),
        // Long enough for the person to be first.
        Mishap::Erased(_, Moment::Before, Then::GoesOn) => Some(Effect::Delay(0.1)),
        Mishap::Erased(_, Moment::After, Then::GoesOn) => Some(Effect::DelayAnswer(0.1)),
    };
    let arranged = Arc::clone(arranged);
    world.pve.faults().set_hook(Arc::new(move |moment: Moment, call: &LoggedCall| {
        if call.number != nth || !is_effect(&call.method, &call.path) || moment != Moment::Before {
            return None;
        }
        arranged.strike(mishap);
        effect.clone()
    }));
}

fn at_kubernetes(world: &World, nth: u64, mishap: Mishap, arranged: &Arc<Arranged>) {
    let fault = match mishap {
        Mishap::KilledBefore => Fault::Hang,
        Mishap::KilledAfter => Fault::Swallow,
        Mishap::NeverArrives => Fault::Refuse,
        Mishap::CallLate => Fault::Late(Duration::from_secs(15)),
        _ => Fault::LoseAnswer,
    };
    let arranged = Arc::clone(arranged);
    let seen = AtomicU64::new(0);
    world.kube.intercept(move |call| {
        if !is_ours(call) || seen.fetch_add(1, Ordering::Relaxed) + 1 != nth {
            return Fault::None;
        }
        arranged.strike(mishap);
        fault
    });
}

/// Whether a request is a write of the operator.
pub(crate) fn is_ours(call: &Call) -> bool {
    call.user_agent == "stevedore" && call.verb.is_write()
}
