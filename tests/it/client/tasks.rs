//! Attempts at tasks through the API of a simulated cluster, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use stevedore::domain::fault::FaultKind;
use stevedore::guest::channel::GuestChannel;
use stevedore::guest::tasks::{AttemptState, Begun, Ended, Sight, look, start};
use stevedore::hypervisor::Hypervisor as _;
use stevedore::hypervisor::vm::VmRef;
use stevedore::simulator::fault::{Effect, Rule};
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::scenario::{Release, Scenario};
use stevedore::simulator::world::World;
use tokio::time::sleep;

use super::simulator::Lab;
use crate::guest::attempts::{cases, command, id, state_in, try_out};

const DEADLINE: Duration = Duration::from_secs(90);
/// The demo's machine `files`.
const VMID: u32 = 101;

/// The demo's cluster with one guest that is used, and what plays it.
struct Stage {
    lab: Lab,
    guests: Arc<CannedGuest>,
}

impl Stage {
    fn open() -> Self {
        let guests = Arc::new(CannedGuest::default());
        Self { lab: Lab::with_guests(Scenario::demo_of(Release::V9), guests.clone()), guests }
    }

    fn guest(&self) -> Arc<dyn GuestChannel> {
        self.lab.client.guest(&VmRef { host: "pve1".into(), id: VMID.to_string() })
    }

    async fn begin(&self, number: u32, script: &str) -> Begun {
        start(&*self.guest(), &id(number), &command(&["/bin/sh", "-c", script]), DEADLINE).await.unwrap()
    }

    /// Lets something happen to the machine, and looks when its guest answers again.
    async fn after(&self, happens: impl FnOnce(&mut World)) -> Sight {
        self.lab.simulator.world(happens);
        sleep(Duration::from_secs(100)).await;
        self.lab.simulator.world(|world| world.power_on_machine(VMID));
        sleep(Duration::from_secs(300)).await;
        look(&*self.guest(), DEADLINE).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_comes_to_its_end_through_the_api() {
    let stage = Stage::open();
    sleep(Duration::from_secs(60)).await;
    for (number, case) in (1..).zip(cases()) {
        try_out(&*stage.guest(), &case, &id(number)).await;
    }
    assert!(stage.guests.starts().values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn whatever_takes_the_machine_down_takes_its_commands_along() {
    let stage = Stage::open();
    sleep(Duration::from_secs(60)).await;
    let cut = |world: &mut World| {
        world.power_cut("pve1");
        world.bring_back("pve1");
    };
    let downs: [fn(&mut World); 3] = [|world| world.power_off_machine(VMID), |world| world.reboot_machine(VMID), cut];
    for (number, happens) in (0..).zip(downs) {
        let [ended, lasting] = [10 * number + 1, 10 * number + 2];
        stage.begin(ended, "sleep 5; exit 6").await;
        stage.begin(lasting, "sleep 90").await;
        let before = look(&*stage.guest(), DEADLINE).await.unwrap();
        assert_eq!(state_in(&before, &id(lasting)), Some(AttemptState::Running));
        sleep(Duration::from_secs(10)).await;
        // It would have ended while the machine was down.
        let sight = stage.after(happens).await;
        assert_ne!(sight.boot_id, before.boot_id);
        assert_eq!(state_in(&sight, &id(lasting)), Some(AttemptState::Lost), "{number}");
        let Some(AttemptState::Ended(end)) = state_in(&sight, &id(ended)) else { panic!("{number}: {sight:?}") };
        assert_eq!((end.result, end.finished.duration_since(end.started).as_secs()), (Ended::Exited(6), 5));
        assert!((405..430).contains(&end.finished_ago.as_secs()), "{:?}", end.finished_ago);
        assert_eq!(stage.begin(lasting, "true").await, Begun::Guarded);
    }
    assert!(stage.guests.starts().values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_answer_is_lost_is_found_and_not_begun_again() {
    let stage = Stage::open();
    sleep(Duration::from_secs(60)).await;
    stage.lab.simulator.faults().add(Rule::every("POST", "*/agent/exec", Effect::DropAfter));
    let lost = start(&*stage.guest(), &id(1), &command(&["sleep", "600"]), DEADLINE).await.unwrap_err();
    assert_eq!(lost.kind, FaultKind::UnknownOutcome, "{lost}");
    stage.lab.simulator.faults().clear();
    assert_eq!(stage.begin(1, "sleep 600").await, Begun::Guarded);
    let sight = look(&*stage.guest(), DEADLINE).await.unwrap();
    assert_eq!(state_in(&sight, &id(1)), Some(AttemptState::Running));
    // The same request, delivered twice.
    stage.lab.simulator.faults().add(Rule::every("POST", "*/agent/exec", Effect::Duplicate));
    stage.begin(2, "sleep 600").await;
    assert_eq!(stage.guests.starts(), [(id(1), 1), (id(2), 1)].into());
}
