//! Programs in simulated guests, and how they end.

use stevedore::simulator::guest::ShellGuest;
use stevedore::simulator::guest_exec::{ExecCall, ExecEnd, GuestEffect, GuestExec};

use super::healthy;

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
