//! The operator is suspended in the middle of its work, another one takes over, and the first wakes up: it goes on where
//! it was, and must not change anything any more.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stevedore::controller::context::Gate;

use super::lives::{LONG, Stage, Story, invariants, live, tell, world_of};
use super::mishaps::{Arranged, is_ours};
use super::operator::Operator;
use super::world::{World, in_virtual_time};
use crate::support::seed::seed;

/// What the first operator gets to do something wrong after it woke up.
const AWAKE: Duration = Duration::from_secs(300);
/// Calls that are on their way have arrived by then.
const ARRIVED: Duration = Duration::from_secs(60);

/// The lead of one operator, which it loses once.
#[derive(Debug, Default)]
struct Seat {
    is_lost: AtomicBool,
}

impl Gate for Seat {
    fn may_change(&self, _: Duration) -> bool {
        !self.is_lost.load(Ordering::Relaxed)
    }
}

/// All that was asked for so far and changes something.
fn changes(world: &World) -> Vec<String> {
    let writes = world.kube.writes().into_iter().map(|write| write.call).filter(is_ours);
    let writes = writes.map(|call| format!("{:?} {} {}", call.verb, call.target.resource, call.body));
    let calls = world.effects().into_iter().map(|call| format!("{} {}", call.method, call.path));
    writes.chain(calls).collect()
}

/// How the first operator's part of a stage ended.
enum Ended {
    /// The stage is over and it was never suspended.
    Done,
    /// It was suspended, and woke up after another one had ended the stage.
    Woke,
}

/// One stage by an operator that is suspended when the bell rings.
async fn stage(world: &World, story: &Story, stage: &Stage) -> Result<Ended, String> {
    let strangers = world.strangers();
    stage.begin.begin(world).await?;
    let (seat, broken, is_awake) = (Arc::new(Seat::default()), Mutex::new(None), AtomicBool::new(false));
    let watch = async |world: &World| {
        if let Err(text) = invariants(world, story, &strangers) {
            *broken.lock().unwrap() = Some(text);
            return true;
        }
        stage.until.is_so(world) && !is_awake.load(Ordering::Relaxed)
    };
    let mut first = Operator::seated(world, 100, Arc::clone(&seat) as Arc<dyn Gate>).with_stale_cache(story.stale);
    let mut working = Box::pin(first.run(LONG, &watch));
    tokio::select! {
        finished = &mut working => {
            let broken = broken.lock().unwrap().take();
            return broken.map_or_else(|| finished.then_some(Ended::Done).ok_or("never done".to_owned()), Err);
        }
        () = world.requests.bell.notified() => {}
    }
    // From here on nobody moves it, as if its process were stopped; its term ends meanwhile.
    seat.is_lost.store(true, Ordering::Relaxed);
    live(world, story, &Arranged::default(), &strangers, &stage.until).await?;
    tokio::time::sleep(ARRIVED).await;
    let mut before = changes(world);
    is_awake.store(true, Ordering::Relaxed);
    tokio::select! {
        _ = &mut working => {}
        () = tokio::time::sleep(AWAKE) => {}
    }
    if let Some(text) = broken.lock().unwrap().take() {
        return Err(format!("after it woke up: {text}"));
    }
    let mut after = changes(world);
    after.retain(|change| before.iter().position(|known| known == change).map(|at| before.remove(at)).is_none());
    if after.is_empty() { Ok(Ended::Woke) } else { Err(format!("after it woke up it asked for {after:?}")) }
}

/// One life in which the operator is suspended at a request. The answer is whether it got that far.
async fn suspended(story: &Story, number: u64) -> Result<bool, String> {
    let world = world_of(seed(), story).await;
    world.requests.ring_at(number);
    let mut woke = false;
    for one in &story.stages {
        woke |= matches!(stage(&world, story, one).await?, Ended::Woke);
    }
    if world.ours().is_empty() { Ok(woke) } else { Err(format!("an orphan is left: {:?}", world.ours())) }
}

#[test]
fn an_operator_that_wakes_up_as_no_leader_changes_nothing() {
    let story = Story::plain();
    let requests = in_virtual_time(async {
        let world = world_of(seed(), &story).await;
        for one in &story.stages {
            stage(&world, &story, one).await.unwrap();
        }
        world.requests.count()
    });
    let (mut lives, mut violations) = (0, Vec::new());
    // Every other request, by the seed the odd ones or the even ones.
    for number in (1 + seed() % 2..=requests).step_by(2) {
        lives += 1;
        match in_virtual_time(suspended(&story, number)) {
            // After the answer to the last one nothing is left to do.
            Ok(false) if number < requests => violations.push(format!("request {number} never came")),
            Ok(_) => {}
            Err(text) => violations.push(format!("suspended at request {number}: {text}")),
        }
    }
    tell("suspended at every other request", lives, &violations);
}
