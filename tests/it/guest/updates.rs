//! Updates of packages, and what must come of them: one table for both kinds of simulated guest.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use stevedore::clock::{SystemClock, TimerClock};
use stevedore::domain::fault::FaultKind;
use stevedore::guest::channel::GuestChannel;
use stevedore::guest::scripts::{UPDATE, UPDATE_LOOK, UPDATE_REBOOT, UPDATE_UNIT};
use stevedore::guest::tasks;
use stevedore::guest::updates::{
    PackageManager, Proxy, UpdateEnd, UpdateOrder, UpdateResult, UpdateState, look, reboot, start,
};
use stevedore::secret::Secret;
use stevedore::simulator::guest::{CannedGuest, DirectChannel, ShellGuest};
use stevedore::simulator::guest_exec::{ExecCall, GuestEffect, GuestEnd, GuestExec, GuestFacts};

use super::causes::behave;
use super::scripts::SHELLS;
use super::{DEADLINE, healthy};

/// An update, and what comes of it.
struct Case {
    name: &'static str,
    /// What it meets.
    meets: Value,
    proxied: bool,
    /// How long it may take.
    seconds: u64,
    comes: UpdateResult,
    manager: Option<PackageManager>,
    /// Packages that were updated, and that are not current.
    counts: (u32, u32),
    reboot: bool,
}

const APT: Option<PackageManager> = Some(PackageManager::Apt);
const DNF: Option<PackageManager> = Some(PackageManager::Dnf);
const NO_WAY: &str =
    "Failed to fetch http://deb.lab/stable/InRelease  Could not connect to deb.lab:80, connection timed out";
const IGNORED: &str = "Some index files failed to download. They have been ignored, or old ones used instead.";
const HOLDER: &str = "1234 (unattended-upgr)";
/// A password of which shells, apt, dnf and URLs make something else where they can.
pub(crate) const PASSWORD: &str = "hunt\"er $(2)\\%41;é";
const PROXY: &str = "http://ann%40lab:hunt%22er%20%24%282%29%5C%2541%3B%C3%A9@proxy.lab:3128/";

fn done(name: &'static str, meets: Value, counts: (u32, u32)) -> Case {
    let comes = UpdateResult::Done;
    Case { name, meets, proxied: false, seconds: 300, comes, manager: APT, counts, reboot: false }
}

fn not_done(name: &'static str, meets: Value, comes: UpdateResult) -> Case {
    Case { comes, ..done(name, meets, (0, 0)) }
}

fn failed(text: impl Into<String>) -> UpdateResult {
    UpdateResult::Failed(text.into())
}

fn timed_out(text: impl Into<String>) -> UpdateResult {
    UpdateResult::TimedOut(text.into())
}

fn cases() -> Vec<Case> {
    let held = format!("Could not get lock /var/lib/dpkg/lock-frontend. It is held by process {HOLDER}");
    let no_way = failed(format!("{NO_WAY}; {IGNORED}"));
    vec![
        done("current", json!({}), (0, 0)),
        done("apt", json!({"pending": 3, "heldBack": 1}), (3, 1)),
        Case { reboot: true, ..done("kernel", json!({"pending": 2, "reboot": true}), (2, 0)) },
        not_done(
            "broken",
            json!({"fails": "404  Not Found", "pending": 1}),
            failed(format!("404  Not Found; {IGNORED}")),
        ),
        Case { seconds: 1, ..not_done("slow", json!({"pending": 1, "takes": 60}), timed_out("")) },
        Case { seconds: 1, ..not_done("locked", json!({"lock": HOLDER}), timed_out(held)) },
        not_done("wants-proxy", json!({"proxy": PROXY, "pending": 1}), no_way),
        Case { proxied: true, ..done("proxied", json!({"proxy": PROXY, "pending": 1}), (1, 0)) },
        Case { manager: DNF, ..done("dnf-current", json!({"manager": "dnf"}), (0, 0)) },
        Case { manager: DNF, ..done("dnf", json!({"manager": "dnf", "pending": 3, "heldBack": 2}), (3, 2)) },
        Case {
            manager: DNF,
            reboot: true,
            ..done("dnf-kernel", json!({"manager": "dnf", "pending": 1, "reboot": true}), (1, 0))
        },
        Case {
            manager: DNF,
            ..not_done("dnf-broken", json!({"manager": "dnf", "fails": "no mirror"}), failed("Error: no mirror"))
        },
        Case {
            manager: DNF,
            seconds: 1,
            ..not_done(
                "dnf-locked",
                json!({"manager": "dnf", "lock": HOLDER}),
                timed_out("Waiting for process with pid 1234 to finish."),
            )
        },
        Case {
            manager: DNF,
            ..not_done("dnf-wants-proxy", json!({"manager": "dnf", "proxy": PROXY}), failed(format!("Error: {NO_WAY}")))
        },
        Case {
            manager: DNF,
            proxied: true,
            ..done("dnf-proxied", json!({"manager": "dnf", "proxy": PROXY, "pending": 1}), (1, 0))
        },
        Case {
            manager: None,
            ..not_done("neither", json!({"manager": "none"}), failed("the guest has neither apt-get nor dnf"))
        },
    ]
}

impl Case {
    fn facts(&self) -> GuestFacts {
        let mut facts = healthy(self.name);
        behave(&mut facts, "updates", self.meets.clone());
        facts
    }

    fn order(&self) -> UpdateOrder {
        UpdateOrder { timeout: Duration::from_secs(self.seconds), proxy: self.proxied.then(proxy) }
    }

    /// Panics unless it ended as it must.
    fn assert_end(&self, end: &UpdateEnd) {
        let told = (&end.result, end.manager, (end.packages, end.pending), end.reboot_needed);
        assert_eq!(told, (&self.comes, self.manager, self.counts, self.reboot), "{}", self.name);
    }
}

pub(crate) fn proxy() -> Proxy {
    let credentials = Some(("ann@lab".to_owned(), Secret::new(PASSWORD.to_owned())));
    Proxy { url: "http://proxy.lab:3128".to_owned(), credentials }
}

/// Asks until the update of an operation has ended.
async fn end_of(channel: &dyn GuestChannel, operation: &str) -> UpdateEnd {
    loop {
        match look(channel, operation, DEADLINE).await.unwrap().state {
            UpdateState::Ended(end) => return end,
            UpdateState::Running => tokio::time::sleep(Duration::from_millis(50)).await,
            other => panic!("{operation}: {other:?}"),
        }
    }
}

async fn try_out(channel: &dyn GuestChannel, case: &Case) {
    let at_first = look(channel, "op-1", DEADLINE).await.unwrap();
    assert_eq!(at_first.state, UpdateState::NotStarted, "{}", case.name);
    for _ in 0..2 {
        start(channel, "op-1", &case.order(), DEADLINE).await.unwrap();
    }
    let end = end_of(channel, "op-1").await;
    case.assert_end(&end);
    assert_eq!(end.boot_id, at_first.boot_id, "{}", case.name);
    assert!(end.finished_ago < DEADLINE, "{}: {end:?}", case.name);
    // A start that arrives late starts nothing.
    start(channel, "op-1", &case.order(), DEADLINE).await.unwrap();
    let UpdateState::Ended(again) = look(channel, "op-1", DEADLINE).await.unwrap().state else {
        panic!("{}", case.name)
    };
    assert_eq!(again.result, end.result, "{}", case.name);
    if case.comes == UpdateResult::Done {
        start(channel, "op-2", &case.order(), DEADLINE).await.unwrap();
        let next = end_of(channel, "op-2").await;
        assert_eq!((next.result, next.packages), (UpdateResult::Done, 0), "what is current stays so: {}", case.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_update_comes_to_its_end_in_a_guest_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let guest: Arc<dyn GuestExec> = Arc::new(ShellGuest::new(folder.path()));
    let cases = cases();
    join_all(cases.iter().map(|case| async {
        let channel = DirectChannel::new(guest.clone(), case.facts(), Arc::new(SystemClock));
        try_out(&channel, case).await;
        assert_private(&folder.path().join(case.name));
    }))
    .await;
}

/// Panics if anything of the proxy is left, or if others than root may read what was kept.
fn assert_private(root: &Path) {
    let staged = std::fs::read_dir(root.join("run/stevedore/updates")).unwrap();
    assert_eq!(staged.count(), 0, "{}", root.display());
    let encoded = PROXY.trim_start_matches("http://").split('@').next().unwrap();
    for word in [PASSWORD, encoded] {
        // What the proxy is stands in the facts, and in what the stand-ins remember of these.
        let found = Command::new("grep")
            .args(["-rlF", "--exclude=updates", "--exclude=installed", "--", word])
            .arg(root)
            .output();
        assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap(), "", "{word}");
    }
    let guards = root.join("var/lib/stevedore/updates");
    for path in [guards.join("op-1"), guards.join("op-1/output"), guards.join("op-1/result")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[tokio::test(start_paused = true)]
async fn each_update_comes_to_its_end_in_a_canned_guest() {
    for case in cases() {
        let canned = Arc::new(CannedGuest::default());
        let now = Timestamp::from_second(1_795_314_953).unwrap();
        let facts = GuestFacts { clock: now, ..case.facts() };
        let channel = DirectChannel::new(canned.clone(), facts, Arc::new(TimerClock::starting_at(now)));
        try_out(&channel, &case).await;
        assert!(canned.updates().values().all(|times| *times == 1), "{}: {:?}", case.name, canned.updates());
    }
}

/// A guest of processes and one without, each with a channel into one of its boots.
fn both(folder: &Path, boots: u64, meets: &Value) -> [(Arc<dyn GuestExec>, DirectChannel); 2] {
    let guests: [Arc<dyn GuestExec>; 2] = [Arc::new(ShellGuest::new(folder)), Arc::new(CannedGuest::default())];
    guests.map(|guest| (guest.clone(), channel(&guest, boots, meets)))
}

fn channel(guest: &Arc<dyn GuestExec>, boots: u64, meets: &Value) -> DirectChannel {
    let mut facts = GuestFacts { boots, ..healthy("both") };
    behave(&mut facts, "updates", meets.clone());
    DirectChannel::new(Arc::clone(guest), facts, Arc::new(SystemClock))
}

fn plain() -> UpdateOrder {
    UpdateOrder { timeout: Duration::from_secs(300), proxy: None }
}

#[tokio::test]
async fn an_update_that_its_guest_goes_down_in_is_lost_and_the_next_operation_has_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let meets = json!({"pending": 1, "takes": 600});
    for (guest, first) in both(folder.path(), 1, &meets) {
        start(&first, "op-1", &plain(), DEADLINE).await.unwrap();
        while look(&first, "op-1", DEADLINE).await.unwrap().state != UpdateState::Running {}
        guest.went_down(&GuestEnd { life: "both".into(), boots: 1, uptime: Duration::from_secs(100) });
        let second = channel(&guest, 2, &json!({"pending": 1, "takes": 0}));
        assert_eq!(look(&second, "op-1", DEADLINE).await.unwrap().state, UpdateState::Lost);
        start(&second, "op-1", &plain(), DEADLINE).await.unwrap();
        assert_eq!(look(&second, "op-1", DEADLINE).await.unwrap().state, UpdateState::Lost, "not twice");
        start(&second, "op-2", &plain(), DEADLINE).await.unwrap();
        assert_eq!(end_of(&second, "op-2").await.packages, 1);
        // What earlier boots left is taken away then.
        assert_eq!(look(&second, "op-1", DEADLINE).await.unwrap().state, UpdateState::NotStarted);
    }
}

#[tokio::test]
async fn a_guest_is_rebooted_out_of_the_boot_that_was_seen_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for (guest, channel) in both(folder.path(), 1, &json!({})) {
        let boot_id = look(&channel, "op-1", DEADLINE).await.unwrap().boot_id;
        let asked = [("another", GuestEffect::None), (&boot_id, GuestEffect::Reboot), (&boot_id, GuestEffect::None)];
        for (boot, effect) in asked {
            let words = ["/bin/sh", "-c", UPDATE_REBOOT.text, UPDATE_REBOOT.name, boot];
            let argv = words.iter().map(|word| (*word).to_owned()).collect();
            let outcome = guest.exec(ExecCall { argv, input: Vec::new(), facts: healthy("both") }).await;
            assert_eq!(outcome.effect, effect, "{outcome:?}");
            // The agent is there until its answer has been read.
            let late = effect == GuestEffect::None || outcome.effect_after >= Duration::from_secs(2);
            assert!(late, "{outcome:?}");
            reboot(&channel, boot, DEADLINE).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_asks_for_tasks_hears_of_an_update_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    for (_, channel) in both(folder.path(), 1, &json!({"pending": 1, "takes": 3})) {
        start(&channel, "op-1", &plain(), DEADLINE).await.unwrap();
        let seen = tasks::look(&channel, DEADLINE).await.unwrap();
        assert_eq!(
            (seen.strays.as_slice(), seen.attempts.len()),
            (&["stevedore-update-op-1.service".to_owned()][..], 0)
        );
        end_of(&channel, "op-1").await;
        while !tasks::look(&channel, DEADLINE).await.unwrap().strays.is_empty() {}
    }
}

#[tokio::test]
async fn without_systemd_nothing_is_updated() {
    let folder = tempfile::tempdir().unwrap();
    for (guest, _) in both(folder.path(), 1, &json!({})) {
        let mut facts = healthy("bare");
        behave(&mut facts, "missingPrograms", json!(["systemctl", "systemd-run"]));
        let channel = DirectChannel::new(guest, facts, Arc::new(SystemClock));
        let refused = start(&channel, "op-1", &plain(), DEADLINE).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Refused);
        assert!(refused.message.ends_with("packages: systemd-run: systemd is not there"), "{refused}");
        assert_eq!(look(&channel, "op-1", DEADLINE).await.unwrap().state, UpdateState::NotStarted);
    }
}

#[tokio::test]
async fn what_is_no_proxy_does_not_reach_the_guest() {
    let folder = tempfile::tempdir().unwrap();
    for (_, channel) in both(folder.path(), 1, &json!({})) {
        let credentials = Some(("ann".to_owned(), Secret::new("hunter\n22".to_owned())));
        let order = UpdateOrder { proxy: Some(Proxy { url: "http://p".into(), credentials }), ..plain() };
        let refused = start(&channel, "op-1", &order, DEADLINE).await.unwrap_err();
        assert!(refused.kind == FaultKind::Refused && !refused.message.contains("hunter"), "{refused}");
        assert_eq!(look(&channel, "op-1", DEADLINE).await.unwrap().state, UpdateState::NotStarted);
    }
}

#[tokio::test]
async fn what_a_package_manager_says_of_the_proxy_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Arc::new(ShellGuest::new(folder.path()));
    let root = super::scripts::root(folder.path()).await;
    let blabs = "#!/bin/sh\nwhile [ \"$1\" != -c ]; do shift; done\nsed 's/^/E: /' \"$2\" >&2\necho \"E: it is\" \
                 \"$(tail -n 1 \"${2%/*}/hide\")\" >&2\nexit 100\n";
    super::scripts::install(&root, "apt-get", blabs);
    let channel = DirectChannel::new(guest, healthy("root"), Arc::new(SystemClock));
    start(&channel, "op-1", &UpdateOrder { proxy: Some(proxy()), ..plain() }, DEADLINE).await.unwrap();
    let UpdateResult::Failed(text) = end_of(&channel, "op-1").await.result else { panic!() };
    assert!(text.contains("Acquire::http::Proxy \"http://***@proxy.lab:3128/\";"), "{text}");
    assert!(text.ends_with("it is ***"), "{text}");
    assert_private(&root);
}

/// Runs a text under a shell with a guest's root; none if there is no such shell.
fn under(shell: &[&str], root: &Path, words: &[&str], input: &Path, variables: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(words).env_clear().env("STEVEDORE_ROOT", root).env("PATH", "/usr/bin:/bin");
    command.envs(variables.iter().copied()).stdin(std::fs::File::open(input).unwrap()).stderr(Stdio::inherit());
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => Some(String::from_utf8(output.unwrap().stdout).unwrap()),
    }
}

/// The result in a look, without its times.
fn result_in(look: &str) -> Vec<String> {
    let line = look.lines().find(|line| line.starts_with("result\t")).unwrap_or_else(|| panic!("{look}"));
    let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
    [&fields[1..6], &fields[9..]].concat()
}

#[tokio::test]
async fn every_shell_updates_alike() {
    let folder = tempfile::tempdir().unwrap();
    let guest = ShellGuest::new(folder.path());
    let nothing = Path::new("/dev/null");
    let told = folder.path().join("told");
    std::fs::write(&told, format!("{PROXY}\n{PASSWORD}\n")).unwrap();
    for case in cases().iter().filter(|case| case.seconds > 1) {
        for (number, (name, shell)) in (1..).zip(SHELLS) {
            let facts = GuestFacts { life: format!("{}-{number}", case.name), ..case.facts() };
            guest.exec(ExecCall { argv: vec!["true".into()], input: Vec::new(), facts: facts.clone() }).await;
            let root = guest.root_of(&facts);
            let script = |script: stevedore::guest::channel::Script, args: &[&str], input: &Path| {
                under(shell, &root, &[&["-c", script.text, script.name], args].concat(), input, &[])
            };
            let input = if case.proxied { told.as_path() } else { nothing };
            let Some(answer) = script(UPDATE, &["op-1", "60", UPDATE_UNIT.text], input) else {
                eprintln!("{name} is not on this machine, so updates are not tried under it");
                continue;
            };
            assert!(answer.contains("\nstarted\top-1\n"), "{} under {name}: {answer}", case.name);
            let own = root.join("run/stevedore/updates/op-1");
            let unit = own.join("unit").display().to_string();
            // What the unit prints is kept; here it is what this shell prints.
            let output = std::fs::File::create(own.join("output")).unwrap();
            let mut run = Command::new(shell[0]);
            run.args(&shell[1..]).args([&unit, "run", "op-1"]).env_clear().env("STEVEDORE_ROOT", &root);
            run.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
            assert!(run.status().unwrap().success(), "{} under {name}", case.name);
            under(shell, &root, &[&unit, "ended", "op-1"], nothing, &[("SERVICE_RESULT", "success")]);
            let (word, text) = match &case.comes {
                UpdateResult::Done => ("done", ""),
                UpdateResult::Failed(text) | UpdateResult::TimedOut(text) => ("failed", text.as_str()),
            };
            let manager = case.manager.map_or("none".to_owned(), |manager| manager.to_string());
            let (packages, pending) = (case.counts.0.to_string(), case.counts.1.to_string());
            let reboot = if case.reboot { "yes" } else { "no" };
            let expected = [word, &manager, &packages, &pending, reboot, text];
            std::fs::remove_dir_all(root.join("run/units/stevedore-update-op-1.service")).unwrap();
            let seen = script(UPDATE_LOOK, &["op-1"], nothing).unwrap();
            assert_eq!(result_in(&seen), expected, "{} under {name}", case.name);
        }
    }
}
