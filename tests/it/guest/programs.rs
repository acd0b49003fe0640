//! Programs in simulated guests: transient units, and how a program ends.

use std::sync::Arc;
use std::time::Duration;

use stevedore::clock::SystemClock;
use stevedore::domain::fault::FaultKind;
use stevedore::guest::channel::{GuestChannel, UnitState};
use stevedore::simulator::guest::{CannedGuest, DirectChannel, ShellGuest};
use stevedore::simulator::guest_exec::{ExecCall, ExecEnd, GuestEffect, GuestExec, GuestFacts};

use super::{DEADLINE, healthy};

#[tokio::test]
async fn a_unit_is_started_once_and_keeps_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let guests: [Arc<dyn GuestExec>; 2] = [Arc::new(ShellGuest::new(folder.path())), Arc::new(CannedGuest::default())];
    for guest in guests {
        let channel = DirectChannel::new(guest.clone(), healthy("units"), Arc::new(SystemClock));
        let command = ["/bin/sh", "-c", "exit 0"].map(String::from);
        assert_eq!(channel.unit_state("stevedore-a", DEADLINE).await.unwrap(), UnitState::Missing);
        channel.start_unit("stevedore-a", &command, DEADLINE).await.unwrap();
        let again = channel.start_unit("stevedore-a", &command, DEADLINE).await.unwrap_err();
        assert_eq!(again.kind, FaultKind::Refused);
        assert!(again.message.contains("there is a unit of that name already"), "{again}");
        assert_eq!(end_of(&channel, "stevedore-a").await, "success");
        // What systemd remembers of transient units is lost when the machine boots anew.
        let rebooted = DirectChannel::new(guest, GuestFacts { boots: 2, ..healthy("units") }, Arc::new(SystemClock));
        assert_eq!(rebooted.unit_state("stevedore-a", DEADLINE).await.unwrap(), UnitState::Missing);
    }
}

#[tokio::test]
async fn a_unit_whose_program_fails_is_inactive_with_that_result() {
    let folder = tempfile::tempdir().unwrap();
    let channel = DirectChannel::new(Arc::new(ShellGuest::new(folder.path())), healthy("units"), Arc::new(SystemClock));
    let command = ["/bin/sh", "-c", "read -r line; echo \"$line\"; exit 3"].map(String::from);
    channel.start_unit("stevedore-b", &command, DEADLINE).await.unwrap();
    assert_eq!(end_of(&channel, "stevedore-b").await, "exit-code");
}

async fn end_of(channel: &DirectChannel, unit: &str) -> String {
    loop {
        match channel.unit_state(unit, DEADLINE).await.unwrap() {
            UnitState::Inactive { result } => return result,
            UnitState::Active => tokio::time::sleep(Duration::from_millis(20)).await,
            UnitState::Missing => panic!("{unit} is gone"),
        }
    }
}

#[tokio::test]
async fn programs_of_a_shell_guest_end_as_the_agent_would_tell() {
    let folder = tempfile::tempdir().unwrap();
    let guest = ShellGuest::new(folder.path());
    let exec = async |argv: &[&str], input: &[u8]| {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        guest.exec(ExecCall { argv, input: input.to_vec(), facts: healthy("programs") }).await
    };
    let echoed = exec(&["/bin/cat"], b"w\xc3\xb6rld").await;
    assert_eq!((echoed.end, echoed.stdout.as_slice()), (ExecEnd::Exited(0), b"w\xc3\xb6rld".as_slice()));
    assert_eq!(exec(&["/sbin/poweroff"], b"").await.effect, GuestEffect::PowerOff);
    assert_eq!(exec(&["/sbin/reboot"], b"").await.effect, GuestEffect::Reboot);
    assert_eq!(exec(&["/bin/true"], b"").await.effect, GuestEffect::None);
    assert_eq!(exec(&["/bin/sh", "-c", "kill -9 $$"], b"").await.end, ExecEnd::Signalled(9));
    assert_eq!(exec(&["/usr/bin/python3"], b"").await.end, ExecEnd::NotStarted);
    let environment = exec(&["/bin/sh", "-c", "env | cut -d = -f 1 | sort"], b"").await;
    assert_eq!(String::from_utf8(environment.stdout).unwrap(), "PATH\nPWD\nSTEVEDORE_ROOT\n");
}
