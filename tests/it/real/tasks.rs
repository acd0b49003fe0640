//! Attempts at tasks in a real guest, under its own systemd.

use std::time::{Duration, Instant};

use stevedore::check::Wish;
use stevedore::guest::channel::{GuestChannel, Script};
use stevedore::guest::tasks::{AttemptId, AttemptState, Ended, Sight, forget, look, read, start, stop, tail};
use stevedore::secret::Secret;
use tokio::time::sleep;

use super::lab::{BOOT, DEADLINE, boot, inside_well, report, trial};
use crate::guest::attempts::{cases, command, end_of, id, state_in, state_of, try_out};

const MIB_100: u64 = 100 << 20;
/// What a command is told in its environment alone.
pub(super) const PASSWORD: &str = "hunter2-of-this-test";
/// Whether that password is nowhere to be seen while a command has it. The words of this very look are another text than
/// the one that is looked for.
pub(super) const UNSEEN: &str = "pattern='hunter[2]-of'; \
                                 ! grep -rlas \"$pattern\" /run /etc /var/lib/stevedore /tmp && \
                                 ! cat /proc/[0-9]*/cmdline 2>/dev/null | grep -qa \"$pattern\" && \
                                 ! systemctl show 'stevedore-task-*' | grep -q \"$pattern\" && \
                                 ! systemctl cat 'stevedore-task-*' | grep -q \"$pattern\" && \
                                 ! journalctl --no-pager | grep -qa \"$pattern\"";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn each_attempt_comes_to_its_end_in_a_real_guest() {
    let (trial, _turn) = trial(&[]).await;
    let wish = Wish::of("w1", 5000);
    trial.deploy(&wish).await.unwrap();
    let guest = boot(&trial, &wish).await;
    for (number, case) in (1..).zip(cases()) {
        let begun = Instant::now();
        try_out(&*guest, &case, &id(number)).await;
        report(&format!("attempt {}", case.name), begun);
    }
    let seen = look(&*guest, DEADLINE).await.unwrap();
    assert_eq!((seen.strays.len(), seen.attempts.len()), (0, cases().len()), "{seen:#?}");
    much_output_is_kept_whole(&*guest, &id(101)).await;
    secrets_are_nowhere_to_be_seen(&*guest, &id(102)).await;
    a_command_goes_on_without_the_agent(&*guest, &id(103)).await;
    let lost = [id(104), id(105)];
    begin(&*guest, &lost[0], &["sleep", "3000"]).await;
    inside_well(&*guest, "systemd-run --quiet --on-active=1 systemctl reboot").await;
    let orderly = rebooted(&*guest, &seen).await;
    assert_eq!(state_in(&orderly, &lost[0]), Some(AttemptState::Lost), "{orderly:#?}");
    begin(&*guest, &lost[1], &["sleep", "3000"]).await;
    trial.simulator.world(|world| world.reboot_machine(wish.id));
    let reset = rebooted(&*guest, &orderly).await;
    assert_eq!(state_in(&reset, &lost[1]), Some(AttemptState::Lost), "{reset:#?}");
    ends_are_kept(&seen, &reset);
    forget(&*guest, &lost, DEADLINE).await.unwrap();
    assert_eq!(look(&*guest, DEADLINE).await.unwrap().attempts.len(), reset.attempts.len() - lost.len());
}

/// Starts a command and waits until it runs.
async fn begin(guest: &dyn GuestChannel, id: &AttemptId, argv: &[&str]) {
    start(guest, id, &command(argv), DEADLINE).await.unwrap();
    state_of(guest, id, |state| *state == AttemptState::Running).await;
}

async fn much_output_is_kept_whole(guest: &dyn GuestChannel, id: &AttemptId) {
    let begun = Instant::now();
    let text = format!("head -c {MIB_100} /dev/zero | tr '\\000' x; echo; echo the end");
    start(guest, id, &command(&["/bin/sh", "-c", &text]), DEADLINE).await.unwrap();
    let AttemptState::Ended(end) = end_of(guest, id).await else { panic!("no end") };
    assert_eq!(end.result, Ended::Exited(0));
    let last = tail(guest, id, 4096, DEADLINE).await.unwrap();
    let expected = [vec![b'x'; 4096 - 9], b"\nthe end\n".to_vec()].concat();
    assert!(last == expected, "{}", String::from_utf8_lossy(&last));
    assert_eq!(read(guest, id, MIB_100 - 2, 6, DEADLINE).await.unwrap(), b"xx\nthe");
    assert_eq!(read(guest, id, 0, u64::MAX, DEADLINE).await.unwrap().len(), 1 << 20);
    report("100 MiB of output", begun);
}

async fn secrets_are_nowhere_to_be_seen(guest: &dyn GuestChannel, id: &AttemptId) {
    let mut told = command(&["/bin/sh", "-c", "echo ${#PASSWORD}; sleep 3000"]);
    told.secret_env = vec![("PASSWORD".into(), Secret::new(PASSWORD.into()))];
    told.user = Wish::user().into();
    start(guest, id, &told, DEADLINE).await.unwrap();
    while tail(guest, id, 100, DEADLINE).await.unwrap() != b"20\n" {
        sleep(Duration::from_secs(1)).await;
    }
    state_of(guest, id, |state| *state == AttemptState::Running).await;
    inside_well(guest, UNSEEN).await;
    stop(guest, id, DEADLINE).await.unwrap();
    end_of(guest, id).await;
}

/// Restarts the guest's agent, and waits for another one that answers.
async fn restart_agent(guest: &dyn GuestChannel) {
    const PID: &str = "systemctl show -p MainPID qemu-guest-agent";
    let (before, begun) = (inside_well(guest, PID).await, Instant::now());
    inside_well(guest, "systemd-run --quiet --on-active=1 systemctl restart qemu-guest-agent").await;
    loop {
        // A question that meets the restart has no answer.
        let pid = guest.run(Script { name: "test", text: PID }, &[], &[], DEADLINE).await;
        if pid.is_ok_and(|pid| pid.exit_code == Some(0) && pid.stdout != before.as_bytes()) {
            return;
        }
        assert!(begun.elapsed() < BOOT, "the agent is not restarted");
        sleep(Duration::from_secs(1)).await;
    }
}

async fn a_command_goes_on_without_the_agent(guest: &dyn GuestChannel, id: &AttemptId) {
    begin(guest, id, &["/bin/sh", "-c", "sleep 20; echo on; exit 5"]).await;
    restart_agent(guest).await;
    let AttemptState::Ended(end) = end_of(guest, id).await else { panic!("no end") };
    assert_eq!(end.result, Ended::Exited(5));
    assert_eq!(tail(guest, id, 100, DEADLINE).await.unwrap(), b"on\n");
}

/// What is seen when the guest answers in another boot than before.
async fn rebooted(guest: &dyn GuestChannel, before: &Sight) -> Sight {
    let begun = Instant::now();
    loop {
        match look(guest, DEADLINE).await {
            Ok(sight) if sight.boot_id != before.boot_id => return sight,
            answer => assert!(begun.elapsed() < BOOT, "the guest does not boot anew: {answer:?}"),
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// Each end that was seen is seen later, too.
fn ends_are_kept(before: &Sight, after: &Sight) {
    for attempt in &before.attempts {
        match (&attempt.state, state_in(after, &attempt.id)) {
            (AttemptState::Ended(then), Some(AttemptState::Ended(now))) => {
                assert_eq!((&then.result, then.started, then.finished), (&now.result, now.started, now.finished));
                assert!(now.finished_ago > then.finished_ago, "{then:?}, {now:?}");
            }
            (then, now) => assert_eq!(Some(then), now.as_ref(), "{}", attempt.id),
        }
    }
}
