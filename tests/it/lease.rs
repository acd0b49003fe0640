//! Leader election against the Kubernetes API in memory, in virtual time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stevedore::clock::{BootTime, Clock, SharedClock, TimerClock};
use stevedore::runtime::lease::{Ended, Leadership, Lease, Settings};
use stevedore::runtime::shutdown::Shutdown;
use stevedore::simulator::kubernetes::{Fault, KubeApi, Verb};
use tokio::task::JoinHandle;

use crate::support::cluster;
use crate::support::seed::Dice;

const SECOND: Duration = Duration::from_secs(1);

/// Virtual time with a wall clock that a test can set.
#[derive(Debug)]
struct SkewedClock {
    timer: TimerClock,
    skew_seconds: AtomicI64,
}

impl SkewedClock {
    fn new() -> Arc<Self> {
        let epoch = "2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap();
        Arc::new(Self { timer: TimerClock::starting_at(epoch), skew_seconds: AtomicI64::new(0) })
    }

    fn jump(&self, seconds: i64) {
        self.skew_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for SkewedClock {
    fn wall(&self) -> Timestamp {
        let skew = SignedDuration::from_secs(self.skew_seconds.load(Ordering::Relaxed));
        self.timer.wall().checked_add(skew).unwrap()
    }

    fn boot(&self) -> BootTime {
        self.timer.boot()
    }
}

struct Contender {
    holder: String,
    leadership: Leadership,
    stop: Shutdown,
    running: JoinHandle<Ended>,
}

impl Contender {
    fn start(api: &KubeApi, clock: SharedClock, holder: &str) -> Self {
        let seed = holder.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let settings = Settings::new("kube-system", "stevedore", holder, seed);
        let (lease, leadership) = Lease::new(api.client(holder), settings, clock);
        let stop = Shutdown::new();
        let running = tokio::spawn(lease.run(stop.clone()));
        Self { holder: holder.to_owned(), leadership, stop, running }
    }

    fn left(&self) -> Duration {
        self.leadership.time_left()
    }
}

fn world() -> (KubeApi, Arc<SkewedClock>) {
    let clock = SkewedClock::new();
    (KubeApi::new(clock.clone()), clock)
}

fn record(api: &KubeApi) -> Value {
    api.object("coordination.k8s.io", "leases", "kube-system", "stevedore").unwrap()["spec"].clone()
}

/// Waits in small steps until the condition holds; the time that took.
async fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = tokio::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn it_is_acquired_and_renewed() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock, "one");
    assert!(!one.leadership.is_leader() && one.left().is_zero() && !one.leadership.allows(Duration::ZERO));
    one.leadership.wait_until_leader().await;
    assert_eq!(record(&api)["holderIdentity"], "one");
    assert_eq!((&record(&api)["leaseDurationSeconds"], &record(&api)["leaseTransitions"]), (&json!(60), &json!(0)));
    let acquired = record(&api)["acquireTime"].clone();
    for _ in 0..600 {
        tokio::time::sleep(SECOND).await;
        assert!(one.leadership.allows(35 * SECOND), "a call of 35 s is always allowed while renewals succeed");
        assert!(one.left() <= 60 * SECOND);
    }
    assert_eq!(record(&api)["acquireTime"], acquired);
    assert_ne!(record(&api)["renewTime"], acquired);
    let writes = api.writes().len();
    assert!((60..=80).contains(&writes), "one write every 8 to 10 s, not {writes} in 10 min");
    assert_eq!(api.count(Verb::Get), 1, "a leader that renews does not read");
}

#[tokio::test(start_paused = true)]
async fn it_is_lost_when_the_api_is_away_and_a_short_absence_does_no_harm() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock, "one");
    one.leadership.wait_until_leader().await;
    tokio::time::sleep(300 * SECOND).await;
    api.set_away(true);
    tokio::time::sleep(30 * SECOND).await;
    assert!(one.leadership.is_leader());
    api.set_away(false);
    tokio::time::sleep(10 * SECOND).await;
    assert!(one.leadership.allows(45 * SECOND));
    api.set_away(true);
    tokio::time::sleep(61 * SECOND).await;
    assert!(one.left().is_zero());
    assert_eq!(one.running.await.unwrap(), Ended::Lost);
}

#[tokio::test(start_paused = true)]
async fn hanging_requests_do_not_outlive_the_term() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock, "one");
    one.leadership.wait_until_leader().await;
    api.intercept(|_| Fault::Hang);
    let ended = tokio::time::timeout(70 * SECOND, one.running).await;
    assert_eq!(ended.expect("it ends with its term").unwrap(), Ended::Lost);
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_only_after_the_whole_duration() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock.clone(), "one");
    one.leadership.wait_until_leader().await;
    let two = Contender::start(&api, clock, "two");
    tokio::time::sleep(300 * SECOND).await;
    assert!(!two.leadership.is_leader());
    assert_eq!(two.leadership.holder().as_deref(), Some("one"));
    one.running.abort();
    let last_write = api.writes().len();
    let waited = until(200 * SECOND, || two.leadership.is_leader()).await;
    assert!(waited >= 50 * SECOND && waited <= 65 * SECOND, "{waited:?}");
    assert_eq!(api.writes().len(), last_write + 1);
    assert_eq!((&record(&api)["holderIdentity"], &record(&api)["leaseTransitions"]), (&json!("two"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_release_hands_over_at_once() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock.clone(), "one");
    one.leadership.wait_until_leader().await;
    let two = Contender::start(&api, clock, "two");
    tokio::time::sleep(30 * SECOND).await;
    one.stop.request();
    assert_eq!(one.running.await.unwrap(), Ended::Released);
    assert!(!one.leadership.is_leader());
    assert!(record(&api).get("holderIdentity").is_none());
    let waited = until(10 * SECOND, || two.leadership.is_leader()).await;
    assert!(waited <= 3 * SECOND, "{waited:?}");
    two.stop.request();
    assert_eq!(two.running.await.unwrap(), Ended::Released);
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_wall_clock_never_lengthens_the_term() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock.clone(), "one");
    one.leadership.wait_until_leader().await;
    api.intercept(|_| Fault::Refuse);
    let before = one.left();
    clock.jump(-3600);
    tokio::time::sleep(5 * SECOND).await;
    assert!(one.left() <= before.saturating_sub(5 * SECOND), "backwards");
    clock.jump(3600 + 20);
    assert!(one.left() <= before.saturating_sub(25 * SECOND), "forwards it shortens");
    api.stop_intercepting();
    clock.jump(3600);
    assert!(one.left().is_zero(), "nothing may be changed until the Lease is renewed");
    tokio::time::sleep(11 * SECOND).await;
    assert!(one.leadership.allows(45 * SECOND), "and a renewal that succeeds makes it good again");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_again_by_its_holder() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock.clone(), "one");
    one.leadership.wait_until_leader().await;
    let two = Contender::start(&api, clock, "two");
    tokio::time::sleep(5 * SECOND).await;
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
        kube::Api::namespaced(api.client("person"), "kube-system");
    leases.delete("stevedore", &kube::api::DeleteParams::default()).await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    assert!(one.leadership.is_leader() && !two.leadership.is_leader());
    assert_eq!(record(&api)["holderIdentity"], "one");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_edit_does_not_end_a_term_and_a_foreign_holder_does() {
    let (api, clock) = world();
    let mut one = Contender::start(&api, clock, "one");
    one.leadership.wait_until_leader().await;
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
        kube::Api::namespaced(api.client("person"), "kube-system");
    let patch = async |patch: Value| {
        let params = kube::api::PatchParams::default();
        leases.patch("stevedore", &params, &kube::api::Patch::Merge(patch)).await.unwrap();
    };
    patch(json!({"metadata": {"labels": {"team": "backup"}}})).await;
    tokio::time::sleep(120 * SECOND).await;
    assert!(one.leadership.allows(45 * SECOND));
    patch(json!({"spec": {"holderIdentity": "stranger"}})).await;
    assert_eq!(one.running.await.unwrap(), Ended::Lost);
    assert_eq!(record(&api)["holderIdentity"], "stranger");
}

#[tokio::test]
async fn a_real_api_server_takes_our_records() {
    let (client, namespace) = cluster::client_and_namespace("lease").await;
    let clock: SharedClock = Arc::new(stevedore::clock::SystemClock);
    let mut settings = Settings::new(&namespace, "stevedore", "one", 1);
    (settings.renew, settings.retry) = (Duration::from_millis(200), Duration::from_millis(200));
    let (lease, mut leadership) = Lease::new(client.clone(), settings.clone(), clock.clone());
    let stop = Shutdown::new();
    let running = tokio::spawn(lease.run(stop.clone()));
    leadership.wait_until_leader().await;
    settings.holder = "two".into();
    let (standby, mut next) = Lease::new(client.clone(), settings, clock);
    let stop_next = Shutdown::new();
    let standing_by = tokio::spawn(standby.run(stop_next.clone()));
    next.changed().await;
    assert_eq!(next.holder().as_deref(), Some("one"));
    stop.request();
    assert_eq!(running.await.unwrap(), Ended::Released);
    next.wait_until_leader().await;
    stop_next.request();
    assert_eq!(standing_by.await.unwrap(), Ended::Released);
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> = kube::Api::namespaced(client, &namespace);
    let spec = leases.get("stevedore").await.unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity, spec.lease_transitions), (None, Some(1)));
}

fn any_fault(dice: &mut Dice) -> Fault {
    match dice.below(12) {
        0 => Fault::Refuse,
        1 => Fault::LoseAnswer,
        2 => Fault::Hang,
        3 => Fault::Swallow,
        4 | 5 => Fault::Late(Duration::from_millis(dice.below(90_000))),
        6 => Fault::Answer(http::StatusCode::INTERNAL_SERVER_ERROR),
        _ => Fault::None,
    }
}

/// The answer to one request comes just in time, and no later request arrives.
fn slow_and_then_cut_off(is_about_it: bool, requests: &mut u32) -> Fault {
    *requests += u32::from(is_about_it);
    match (is_about_it, *requests) {
        (true, 1) => Fault::LateAnswer(Duration::from_millis(9900)),
        (true, _) => Fault::Refuse,
        (false, _) => Fault::None,
    }
}

#[tokio::test(start_paused = true)]
async fn of_three_at_most_one_leads_whatever_goes_wrong() {
    let mut terms = 0;
    for seed in 0..30 {
        terms += twenty_troubled_minutes(seed).await;
    }
    assert!(terms > 30, "the lead changes hands often enough to mean something: {terms}");
}

/// Three contenders, each restarted when it ends, with new trouble every 80 s; returns how often the lead was gained.
async fn twenty_troubled_minutes(seed: u64) -> u64 {
    let (api, clock) = world();
    let mut dice = Dice::new(seed);
    let trouble = Arc::new(Mutex::new(Dice::new(seed ^ 0xABCD)));
    let start = |name: &str| Contender::start(&api, clock.clone(), name);
    let mut contenders = [start("a"), start("b"), start("c")];
    let (mut leader, mut gained) = (None, 0);
    for step in 0..2400_u32 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let leading: Vec<usize> = (0..3).filter(|index| !contenders[*index].left().is_zero()).collect();
        assert!(leading.len() <= 1, "seed {seed}, step {step}: {leading:?} lead");
        if leading.first().copied() != leader && !leading.is_empty() {
            gained += 1;
        }
        leader = leading.first().copied();
        for contender in &mut contenders {
            if contender.running.is_finished() {
                *contender = start(&format!("step-{step}-{}", dice.below(1000)));
            }
        }
        if step % 160 == 0 {
            disturb(&api, &clock, &mut dice, &trouble, &contenders);
        }
    }
    api.set_away(false);
    api.stop_intercepting();
    until(200 * SECOND, || contenders.iter().any(|contender| contender.leadership.is_leader())).await;
    for contender in &contenders {
        contender.running.abort();
    }
    gained
}

fn disturb(
    api: &KubeApi,
    clock: &SkewedClock,
    dice: &mut Dice,
    trouble: &Arc<Mutex<Dice>>,
    contenders: &[Contender; 3],
) {
    let index = usize::try_from(dice.below(3)).unwrap();
    api.set_away(false);
    match dice.below(8) {
        0 => api.set_away(true),
        1 => contenders[index].stop.request(),
        2 => contenders[index].running.abort(),
        3 => clock.jump(i64::try_from(dice.below(400)).unwrap() - 200),
        4 => {
            let trouble = trouble.clone();
            api.intercept(move |_| any_fault(&mut trouble.lock().unwrap()));
        }
        5 | 6 => {
            let mut requests = 0;
            let holder = contenders[index].holder.clone();
            api.intercept(move |call| slow_and_then_cut_off(call.user_agent == holder, &mut requests));
        }
        _ => api.stop_intercepting(),
    }
}
