//! What goes wrong at one call of a life, and how it is set up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stevedore::simulator::fault::{Effect, Failure, LoggedCall, Moment};
use stevedore::simulator::kubernetes::{Call, Fault};
use tokio::sync::Notify;

use super::world::{World, is_effect};

/// Never, in virtual time.
const FOR_EVER: Duration = Duration::from_secs(100_000_000);
/// Longer than the operator waits for an answer.
const TOO_LATE: Duration = Duration::from_secs(50);
/// Long enough for a person to be first.
const A_MOMENT: Duration = Duration::from_millis(100);

/// What happens at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The operator is killed before the call has its effect.
    KilledBefore,
    /// The operator is killed after the call had its effect, before the answer.
    KilledAfter,
    /// The operator is killed while the call is on its way: it has its effect while the next operator works.
    KilledOnTheWay,
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
    /// A person erases this while the call is on its way; perhaps the operator is killed, too.
    Erased(Loss, Moment, Then),
}

/// What of a status is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The record of the worker's operation in flight.
    Operation,
    /// The claims of the tasks that are with the worker.
    Claims,
    /// The worker's whole status.
    Status,
    /// The whole status of the Hypervisor.
    HypervisorStatus,
}

/// What becomes of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoesOn,
    IsKilled,
}

/// What becomes of a call, to whichever API.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It gets no further than to the moment before or after its effect, and nobody hears of it.
    Stuck(Moment),
    /// The connection breaks before or after its effect.
    Lost(Moment),
    /// It takes this much longer to have its effect, or to be answered afterwards.
    Slow(Moment, Duration),
    /// It has its effect twice.
    Doubled,
    /// It has its effect, and the answer says that nobody knows.
    GivenUp,
}

/// All that can happen to a call.
pub(crate) const MISHAPS: [Mishap; 9] = [
    Mishap::KilledBefore,
    Mishap::KilledAfter,
    Mishap::KilledOnTheWay,
    Mishap::NeverArrives,
    Mishap::AnswerLost,
    Mishap::AnswerLate,
    Mishap::CallLate,
    Mishap::Doubled,
    Mishap::ProxyGivesUp,
];

/// Every loss, before and after the call, with and without a crash.
pub(super) fn erasures(losses: &[Loss]) -> Vec<Mishap> {
    let each = |loss: &Loss| {
        [
            (Moment::Before, Then::GoesOn),
            (Moment::After, Then::GoesOn),
            (Moment::Before, Then::IsKilled),
            (Moment::After, Then::IsKilled),
        ]
        .map(|(moment, then)| Mishap::Erased(*loss, moment, then))
    };
    losses.iter().flat_map(each).collect()
}

impl Mishap {
    /// What becomes of the call that it strikes.
    fn fate(self) -> Fate {
        match self {
            Self::KilledBefore | Self::Erased(_, Moment::Before, Then::IsKilled) => Fate::Stuck(Moment::Before),
            Self::KilledAfter | Self::Erased(_, Moment::After, Then::IsKilled) => Fate::Stuck(Moment::After),
            Self::KilledOnTheWay | Self::CallLate => Fate::Slow(Moment::Before, TOO_LATE),
            Self::NeverArrives => Fate::Lost(Moment::Before),
            Self::AnswerLost => Fate::Lost(Moment::After),
            Self::AnswerLate => Fate::Slow(Moment::After, TOO_LATE),
            Self::Doubled => Fate::Doubled,
            Self::ProxyGivesUp => Fate::GivenUp,
            Self::Erased(_, moment, Then::GoesOn) => Fate::Slow(moment, A_MOMENT),
        }
    }

    /// Whether the operator is killed at once.
    fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter | Self::KilledOnTheWay)
    }
}

impl Fate {
    fn at_hypervisor(self) -> Effect {
        match self {
            Self::Stuck(Moment::Before) => Effect::Delay(FOR_EVER.as_secs_f64()),
            Self::Stuck(Moment::After) => Effect::DelayAnswer(FOR_EVER.as_secs_f64()),
            Self::Lost(Moment::Before) => Effect::DropBefore,
            Self::Lost(Moment::After) => Effect::DropAfter,
            Self::Slow(Moment::Before, by) => Effect::Delay(by.as_secs_f64()),
            Self::Slow(Moment::After, by) => Effect::DelayAnswer(by.as_secs_f64()),
            Self::Doubled => Effect::Duplicate,
            Self::GivenUp => Effect::FailAfter(Failure { status: 596, reason: "Connection timed out".into() }),
        }
    }

    fn at_kubernetes(self) -> Fault {
        match self {
            Self::Stuck(Moment::Before) => Fault::Hang,
            Self::Stuck(Moment::After) => Fault::Swallow,
            Self::Lost(Moment::Before) => Fault::Refuse,
            Self::Lost(Moment::After) => Fault::LoseAnswer,
            Self::Slow(Moment::Before, by) => Fault::Late(by),
            Self::Slow(Moment::After, by) => Fault::LateAnswer(by),
            Self::Doubled => Fault::Twice,
            Self::GivenUp => Fault::GiveUp(StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

/// Where the mishap strikes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The changing call to the hypervisor with this number.
    Hypervisor(u64),
    /// The n-th write to Kubernetes.
    Kubernetes(u64),
}

/// A mishap that was set up.
#[derive(Default)]
pub(crate) struct Arranged {
    /// Rings when the operator is to be killed.
    pub(crate) kill: Notify,
    /// Rings when something is to be erased.
    erase: Notify,
    /// How often it struck.
    pub(crate) struck: AtomicU64,
}

impl Arranged {
    fn strike(&self, mishap: Mishap) -> Mishap {
        self.struck.fetch_add(1, Ordering::Relaxed);
        if mishap.kills() {
            self.kill.notify_one();
        }
        if let Mishap::Erased(..) = mishap {
            self.erase.notify_one();
        }
        mishap
    }
}

/// Sets the mishap up.
pub(crate) fn arrange(world: &World, place: Place, mishap: Mishap) -> Arc<Arranged> {
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

/// A person erases the status of worker w1, a part of it, or that of the Hypervisor.
pub(crate) async fn erase(world: &World, loss: Loss) {
    let path = match loss {
        Loss::Operation => "/status/operation",
        Loss::Claims => "/status/assignments",
        Loss::Status | Loss::HypervisorStatus => "/status",
    };
    let removal = Patch::Json::<()>(serde_json::from_value(json!([{"op": "remove", "path": path}])).unwrap());
    let params = PatchParams::default();
    // What is not there need not be erased.
    match loss {
        Loss::HypervisorStatus => drop(world.hypervisors().patch_status("lab", &params, &removal).await),
        _ => drop(world.workers().patch_status("w1", &params, &removal).await),
    }
}

fn at_hypervisor(world: &World, nth: u64, mishap: Mishap, arranged: &Arc<Arranged>) {
    let arranged = Arc::clone(arranged);
    hook(world, move |call| (call.number == nth).then(|| arranged.strike(mishap)));
}

fn at_kubernetes(world: &World, nth: u64, mishap: Mishap, arranged: &Arc<Arranged>) {
    let arranged = Arc::clone(arranged);
    let seen = AtomicU64::new(0);
    intercept(world, move || (seen.fetch_add(1, Ordering::Relaxed) + 1 == nth).then(|| arranged.strike(mishap)));
}

/// Sets up what befalls the operator's effects and writes, one after the other: `decide` is asked at each of them.
pub(super) fn arrange_each(
    world: &World,
    decide: impl Fn() -> Option<Mishap> + Send + Sync + 'static,
) -> Arc<Arranged> {
    let (arranged, decide) = (Arc::new(Arranged::default()), Arc::new(decide));
    let strike = {
        let arranged = Arc::clone(&arranged);
        move || decide().map(|mishap| arranged.strike(mishap))
    };
    let at_effect = strike.clone();
    hook(world, move |_| at_effect());
    intercept(world, strike);
    arranged
}

/// Has `strike` asked before each effect.
fn hook(world: &World, strike: impl Fn(&LoggedCall) -> Option<Mishap> + Send + Sync + 'static) {
    world.pve.faults().set_hook(Arc::new(move |moment: Moment, call: &LoggedCall| {
        let is_due = moment == Moment::Before && is_effect(call);
        is_due.then(|| strike(call)).flatten().map(|mishap| mishap.fate().at_hypervisor())
    }));
}

/// Has `strike` asked before each write of the operator.
fn intercept(world: &World, strike: impl Fn() -> Option<Mishap> + Send + Sync + 'static) {
    world.kube.intercept(move |call| {
        let struck = is_ours(call).then(&strike).flatten();
        struck.map_or(Fault::None, |mishap| mishap.fate().at_kubernetes())
    });
}

/// Whether a request is a write of the operator.
pub(crate) fn is_ours(call: &Call) -> bool {
    call.user_agent == "stevedore" && call.verb.is_write()
}
