//! Attempts at tasks in both kinds of simulated guest; `real` has the same table for real ones.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use stevedore::clock::{SystemClock, TimerClock};
use stevedore::guest::channel::GuestChannel;
use stevedore::guest::tasks::{AttemptState, Begun, Ended, forget, look, read, start, stop, tail};
use stevedore::secret::Secret;
use stevedore::simulator::guest::{CannedGuest, DirectChannel, ShellGuest};
use stevedore::simulator::guest_exec::{GuestEnd, GuestExec, GuestFacts};

use super::attempts::{cases, command, end_of, id, state_in, state_of, try_out};
use super::{DEADLINE, healthy};

/// A channel into the guest `life` in one of its boots, in real time.
fn channel(guest: &Arc<dyn GuestExec>, life: &str, boots: u64) -> DirectChannel {
    DirectChannel::new(Arc::clone(guest), GuestFacts { boots, ..healthy(life) }, Arc::new(SystemClock))
}

/// The same in virtual time, beginning now.
fn virtual_channel(guest: &Arc<dyn GuestExec>, boots: u64) -> DirectChannel {
    let clock = TimerClock::starting_at(Timestamp::from_second(1_795_314_953).unwrap());
    let facts = GuestFacts { boots, clock: Timestamp::from_second(1_795_314_953).unwrap(), ..healthy("virtual") };
    DirectChannel::new(Arc::clone(guest), facts, Arc::new(clock))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_attempt_comes_to_its_end_in_a_guest_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let guest: Arc<dyn GuestExec> = Arc::new(ShellGuest::new(folder.path()));
    let channel = channel(&guest, "table", 1);
    let cases: Vec<_> = (1..).zip(cases()).filter(|(_, case)| !case.slow).collect();
    join_all(cases.iter().map(|(number, case)| async { try_out(&channel, case, &id(*number)).await })).await;
    // Nothing of what the commands were is left in memory.
    let staged = std::fs::read_dir(folder.path().join("table/run/stevedore/tasks")).unwrap();
    assert_eq!(staged.count(), 0);
    assert_eq!(look(&channel, DEADLINE).await.unwrap().strays, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_comes_to_its_end_in_a_canned_guest() {
    let canned = Arc::new(CannedGuest::default());
    let channel = virtual_channel(&(canned.clone() as Arc<dyn GuestExec>), 1);
    for (number, case) in (1..).zip(cases()) {
        try_out(&channel, &case, &id(number)).await;
        let once = usize::from(case.name != "forestalled");
        assert_eq!(canned.starts().get(&id(number)).map_or(0, |times| *times as usize), once, "{}", case.name);
    }
}

/// A guest of processes and one without, each with a channel in real time.
fn both(folder: &Path) -> [(Arc<dyn GuestExec>, DirectChannel); 2] {
    let guests: [Arc<dyn GuestExec>; 2] = [Arc::new(ShellGuest::new(folder)), Arc::new(CannedGuest::default())];
    guests.map(|guest| (guest.clone(), channel(&guest, "both", 1)))
}

#[tokio::test]
async fn a_guest_that_goes_down_takes_its_commands_along_and_keeps_what_they_left() {
    let folder = tempfile::tempdir().unwrap();
    for (guest, channel) in both(folder.path()) {
        start(&channel, &id(1), &command(&["/bin/sh", "-c", "echo a; exit 4"]), DEADLINE).await.unwrap();
        let ended = end_of(&channel, &id(1)).await;
        start(&channel, &id(2), &command(&["/bin/sh", "-c", "echo b; sleep 600"]), DEADLINE).await.unwrap();
        stop(&channel, &id(3), DEADLINE).await.unwrap();
        state_of(&channel, &id(2), |state| *state == AttemptState::Running).await;
        let before = look(&channel, DEADLINE).await.unwrap().boot_id;
        guest.went_down(&GuestEnd { life: "both".into(), boots: 1, uptime: Duration::from_secs(100) });
        let rebooted = self::channel(&guest, "both", 2);
        let sight = look(&rebooted, DEADLINE).await.unwrap();
        assert_ne!(sight.boot_id, before);
        let AttemptState::Ended(end) = state_in(&sight, &id(1)).unwrap() else { panic!("{sight:?}") };
        let AttemptState::Ended(ended) = ended else { panic!("{ended:?}") };
        assert_eq!((end.result, end.started, end.finished), (Ended::Exited(4), ended.started, ended.finished));
        assert_eq!(state_in(&sight, &id(2)), Some(AttemptState::Lost));
        assert_eq!(state_in(&sight, &id(3)), Some(AttemptState::Stopped));
        assert_eq!(tail(&rebooted, &id(2), 100, DEADLINE).await.unwrap(), b"b\n");
        for number in 1..=3 {
            assert_eq!(start(&rebooted, &id(number), &command(&["true"]), DEADLINE).await.unwrap(), Begun::Guarded);
        }
    }
}

#[tokio::test]
async fn output_is_read_from_any_place_and_while_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    for (_, channel) in both(folder.path()) {
        let words = command(&["/bin/sh", "-c", "printf '%s\\n' 0123456789 wörld; sleep 600"]);
        start(&channel, &id(1), &words, DEADLINE).await.unwrap();
        while tail(&channel, &id(1), 100, DEADLINE).await.unwrap().is_empty() {}
        assert_eq!(tail(&channel, &id(1), 5, DEADLINE).await.unwrap(), b"\xb6rld\n");
        assert_eq!(read(&channel, &id(1), 8, 4, DEADLINE).await.unwrap(), b"89\nw");
        assert_eq!(read(&channel, &id(1), 1000, 4, DEADLINE).await.unwrap(), b"");
        let unknown = tail(&channel, &id(2), 5, DEADLINE).await.unwrap_err().to_string();
        assert!(unknown.ends_with("the guest knows no such attempt"), "{unknown}");
    }
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_what_runs_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for (_, channel) in both(folder.path()) {
        start(&channel, &id(1), &command(&["true"]), DEADLINE).await.unwrap();
        end_of(&channel, &id(1)).await;
        start(&channel, &id(2), &command(&["sleep", "600"]), DEADLINE).await.unwrap();
        state_of(&channel, &id(2), |state| *state == AttemptState::Running).await;
        stop(&channel, &id(3), DEADLINE).await.unwrap();
        forget(&channel, &[id(1), id(2), id(3), id(4)], DEADLINE).await.unwrap();
        let left: Vec<_> =
            look(&channel, DEADLINE).await.unwrap().attempts.into_iter().map(|attempt| attempt.id).collect();
        assert_eq!(left, [id(2)]);
        forget(&channel, &[], DEADLINE).await.unwrap();
    }
}

#[tokio::test]
async fn a_guard_in_which_nothing_came_of_a_start_has_no_result_after_a_minute_and_is_kept_before() {
    let folder = tempfile::tempdir().unwrap();
    let guest: Arc<dyn GuestExec> = Arc::new(ShellGuest::new(folder.path()));
    let channel = channel(&guest, "both", 1);
    let boot = look(&channel, DEADLINE).await.unwrap().boot_id;
    let guards = folder.path().join("both/var/lib/stevedore/tasks");
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    for (number, ago) in [(1, 0.0), (2, 61.0)] {
        let guard = guards.join(id(number).to_string());
        std::fs::create_dir_all(&guard).unwrap();
        std::fs::write(guard.join("boot"), format!("{boot} 1 {:.2} 600\n", uptime - ago)).unwrap();
    }
    // One whose making was cut off at once, and what is no guard.
    std::fs::create_dir_all(guards.join(id(3).to_string())).unwrap();
    std::fs::create_dir_all(guards.join("lost+found")).unwrap();
    let sight = look(&channel, DEADLINE).await.unwrap();
    let states = [1, 2, 3].map(|number| state_in(&sight, &id(number)).unwrap());
    assert_eq!(states, [AttemptState::Starting, AttemptState::NoResult, AttemptState::Starting]);
    assert_eq!(sight.attempts.len(), 3);
    forget(&channel, &[id(1), id(2)], DEADLINE).await.unwrap();
    let sight = look(&channel, DEADLINE).await.unwrap();
    assert_eq!([1, 2].map(|number| state_in(&sight, &id(number)).is_some()), [true, false]);
}

#[tokio::test]
async fn a_unit_whose_guard_was_taken_away_is_a_stray_that_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let guest: Arc<dyn GuestExec> = Arc::new(ShellGuest::new(folder.path()));
    let channel = channel(&guest, "both", 1);
    start(&channel, &id(1), &command(&["sleep", "600"]), DEADLINE).await.unwrap();
    state_of(&channel, &id(1), |state| *state == AttemptState::Running).await;
    std::fs::remove_dir_all(folder.path().join("both/var/lib/stevedore/tasks").join(id(1).to_string())).unwrap();
    let sight = look(&channel, DEADLINE).await.unwrap();
    assert_eq!((sight.strays, sight.attempts), (vec![id(1).unit()], Vec::new()));
    stop(&channel, &id(1), DEADLINE).await.unwrap();
    let AttemptState::Ended(end) = end_of(&channel, &id(1)).await else { panic!("no end") };
    assert_eq!((end.result, look(&channel, DEADLINE).await.unwrap().strays), (Ended::Stopped, Vec::new()));
    assert_eq!(start(&channel, &id(1), &command(&["true"]), DEADLINE).await.unwrap(), Begun::Guarded);
}

#[tokio::test]
async fn processes_of_a_guest_end_with_it_and_secrets_are_nowhere_to_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let guest: Arc<dyn GuestExec> = Arc::new(ShellGuest::new(folder.path()));
    let channel = channel(&guest, "both", 1);
    let mut told = command(&["/bin/sh", "-c", "echo $$ ${#PASSWORD}; sleep 600 & wait"]);
    told.secret_env = vec![("PASSWORD".into(), Secret::new("hunter2-of-this-test".into()))];
    start(&channel, &id(1), &told, DEADLINE).await.unwrap();
    let printed = loop {
        let printed = String::from_utf8(tail(&channel, &id(1), 100, DEADLINE).await.unwrap()).unwrap();
        if printed.ends_with('\n') {
            break printed;
        }
    };
    let (pid, length) = printed.trim().split_once(' ').unwrap();
    assert_eq!(length, "20");
    let process = Path::new("/proc").join(pid);
    assert!(!std::fs::read_to_string(process.join("cmdline")).unwrap().contains("hunter2"));
    state_of(&channel, &id(1), |state| *state == AttemptState::Running).await;
    assert_eq!(holding(folder.path(), "hunter2-of"), [""; 0]);
    guest.went_down(&GuestEnd { life: "both".into(), boots: 1, uptime: Duration::from_secs(100) });
    let gone = async {
        while std::fs::read_to_string(process.join("status")).is_ok_and(|status| !status.contains("State:\tZ")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
}

/// The files below a folder that hold a text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() && String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(text) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn without_systemd_nothing_is_begun_and_nothing_is_known() {
    let folder = tempfile::tempdir().unwrap();
    for (guest, _) in both(folder.path()) {
        let mut facts = healthy("bare");
        super::causes::behave(&mut facts, "missingPrograms", serde_json::json!(["systemctl"]));
        let channel: &dyn GuestChannel = &DirectChannel::new(guest, facts, Arc::new(SystemClock));
        let refused = start(channel, &id(1), &command(&["true"]), DEADLINE).await.unwrap_err().to_string();
        assert!(refused.ends_with("in the guest: systemd-run: systemd is not there"), "{refused}");
        for refused in [
            look(channel, DEADLINE).await.unwrap_err(),
            stop(channel, &id(1), DEADLINE).await.unwrap_err(),
            forget(channel, &[id(1)], DEADLINE).await.unwrap_err(),
        ] {
            assert!(refused.message.ends_with("in the guest: systemctl: there is no such program"), "{refused}");
        }
    }
}
