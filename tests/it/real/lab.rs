//! A trial of the worker image, and a report of what its machines took.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stevedore::check::{Trial, Wish};
use stevedore::guest::channel::{GuestChannel, Script};
use stevedore::hypervisor::vm::AddressWanted;
use stevedore::simulator::scenario::GuestRule;
use tokio::sync::SemaphorePermit;
use tokio::time::sleep;

use super::stage::{image, turn};

/// Longer than a machine takes in software emulation on a busy machine.
pub(super) const BOOT: Duration = Duration::from_secs(600);
/// For one program inside a guest.
pub(super) const DEADLINE: Duration = Duration::from_secs(90);

/// Prints a line of the report: what took the time since `begun`.
pub(super) fn report(what: &str, begun: Instant) {
    println!("{:>7.1} s  {what}", begun.elapsed().as_secs_f64());
}

/// A cluster whose templates hold the worker image, with rules for guests by name, and a turn to run one machine.
pub(super) async fn trial(rules: &[&str]) -> (Trial, SemaphorePermit<'static>) {
    trial_of(&image(), rules).await
}

/// The same with another image.
pub(super) async fn trial_of(image: &Path, rules: &[&str]) -> (Trial, SemaphorePermit<'static>) {
    let turn = turn().await;
    let rules = rules.iter().map(|rule| serde_yaml::from_str::<GuestRule>(rule).unwrap()).collect();
    (Trial::open(image, |world| world.guests = rules).unwrap(), turn)
}

/// A machine with the addresses that the table of causes speaks of.
pub(super) fn addressed(name: &str, id: u32) -> Wish {
    Wish {
        ipv4: AddressWanted::Static {
            address: [10, 77, 0, 9].into(),
            prefix: 24,
            gateway: Some([10, 77, 0, 1].into()),
        },
        ipv6: AddressWanted::Static { address: "2001:db8::9".parse().unwrap(), prefix: 64, gateway: None },
        ..Wish::of(name, id)
    }
}

/// Powers on, and waits for the agent and for cloud-init.
pub(super) async fn boot(trial: &Trial, wish: &Wish) -> Arc<dyn GuestChannel> {
    let begun = Instant::now();
    trial.start(wish).await.unwrap();
    if let Some(how) = trial.acceleration() {
        println!("{} runs by {how}", wish.name);
    }
    assert!(trial.agent_comes(wish, BOOT).await, "no agent answers; the console:\n{}", trial.console(wish));
    report(&format!("{}: from power-on to the agent's first answer", wish.name), begun);
    let guest = trial.guest(wish);
    while !inside(&*guest, "cloud-init status | grep -q -e done -e error").await.0 {
        assert!(begun.elapsed() < BOOT, "cloud-init does not end; the console:\n{}", trial.console(wish));
        sleep(Duration::from_secs(1)).await;
    }
    report(&format!("{}: from power-on to the end of cloud-init", wish.name), begun);
    guest
}

/// Runs a program inside a guest; whether it ended well, and what it said.
pub(super) async fn inside(guest: &dyn GuestChannel, text: &'static str) -> (bool, String) {
    let output = guest.run(Script { name: "test", text }, &[], &[], DEADLINE).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.exit_code == Some(0), String::from_utf8_lossy(&said).into_owned())
}

/// The same for one that must end well.
pub(super) async fn inside_well(guest: &dyn GuestChannel, text: &'static str) -> String {
    let (well, said) = inside(guest, text).await;
    assert!(well, "{text}: {said}");
    said
}
