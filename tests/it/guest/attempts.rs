//! Attempts at commands, and what must come of them: one table for simulated and for real guests.

use std::time::Duration;

use futures::future::join_all;
use stevedore::guest::channel::GuestChannel;
use stevedore::guest::tasks::{AttemptId, AttemptState, Begun, Command, Ended, Sight, look, start, stop, tail};
use stevedore::secret::Secret;

/// For one question to a guest.
const DEADLINE: Duration = Duration::from_secs(90);

/// One attempt, and what comes of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) command: Command,
    pub(crate) disturbed: Disturbed,
    pub(crate) comes: Comes,
    /// What it prints; none: whatever it is.
    prints: Option<String>,
    /// Whether it takes half a minute of the guest's time.
    pub(crate) slow: bool,
}

/// What is done to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbed {
    /// Nothing.
    No,
    /// It is stopped while it runs.
    Stopped,
    /// It is stopped before it begins.
    Forestalled,
    /// It is started five times at once.
    AtOnce,
}

/// What comes of it.
pub(crate) enum Comes {
    End(Ended),
    /// It could not be started, in these words among others.
    NoStart(&'static str),
    /// It never began.
    Nothing,
}

pub(crate) fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        secret_env: Vec::new(),
        user: "root".into(),
        timeout: Duration::from_secs(600),
    }
}

fn ends(name: &'static str, argv: &[&str], ended: Ended) -> Case {
    let (disturbed, comes) = (Disturbed::No, Comes::End(ended));
    Case { name, command: command(argv), disturbed, comes, prints: None, slow: false }
}

fn no_start(name: &'static str, argv: &[&str], words: &'static str) -> Case {
    Case { comes: Comes::NoStart(words), ..ends(name, argv, Ended::Stopped) }
}

/// Words of which systemd, a shell or a careless program makes others.
const ODD: [&str; 16] = [
    "a b",
    "",
    "'",
    "\"",
    "\\",
    "$HOME",
    "${PATH}",
    "%n%%",
    "`id`",
    "line\nbreak",
    "tab\tbed\r",
    "wörld €\u{1f600}",
    "-n",
    "*",
    "#x",
    ";&|<>",
];

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    let script = |text| ["/bin/sh", "-c", text];
    let long: Vec<String> = (0..8).map(|number| format!("{number}").repeat(14 * 1024)).collect();
    let mut cases = vec![
        Case { prints: Some(String::new()), ..ends("ends-well", &["true"], Ended::Exited(0)) },
        ends("ends-badly", &["/bin/false"], Ended::Exited(1)),
        Case {
            prints: Some("hello\n".into()),
            ..ends("exit-code", &script("echo hello; sleep 0.3; exit 7"), Ended::Exited(7))
        },
        ends("killed", &script("kill -9 $$"), Ended::Signalled("KILL".into())),
        ends("too-long", &["sleep", "600"], Ended::TimedOut),
        Case { disturbed: Disturbed::Stopped, ..ends("stopped", &["sleep", "600"], Ended::Stopped) },
        Case {
            disturbed: Disturbed::Stopped,
            slow: true,
            ..ends("stubborn", &script("trap '' TERM; sleep 600"), Ended::Stopped)
        },
        Case { disturbed: Disturbed::Forestalled, comes: Comes::Nothing, ..no_start("forestalled", &["true"], "") },
        Case {
            disturbed: Disturbed::AtOnce,
            prints: Some("once\n".into()),
            ..ends("at-once", &script("echo once; sleep 1"), Ended::Exited(0))
        },
        no_start("no-program", &["nosuch", "--all"], "there is no program nosuch in "),
        no_start("no-permission", &["/etc/passwd"], "/etc/passwd cannot be run by this user"),
        no_start("no-user", &["true"], "the guest has no user nosuch"),
    ];
    cases[4].command.timeout = Duration::from_secs(1);
    cases[11].command.user = "nosuch".into();
    cases.extend([odd_words(), odd_variables(), long_command(&long)]);
    cases
}

fn odd_words() -> Case {
    let argv = [&["printf", "%s\\n"], ODD.as_slice()].concat();
    Case { prints: Some(ODD.map(|word| format!("{word}\n")).concat()), ..ends("odd-words", &argv, Ended::Exited(0)) }
}

/// Each variable has an odd value, and a secret one goes before one that is none.
fn odd_variables() -> Case {
    let names: Vec<String> = (0..ODD.len()).map(|number| format!("ODD_{number}")).collect();
    let text: Vec<String> = names.iter().map(|name| format!("printenv {name}")).collect();
    let mut case = ends("odd-variables", &["/bin/sh", "-c", &text.join("; ")], Ended::Exited(0));
    case.command.env = names.iter().cloned().zip(ODD.map(str::to_owned)).collect();
    case.command.env[0].1 = "public".into();
    case.command.secret_env = vec![("ODD_0".into(), Secret::new(ODD[0].to_owned()))];
    Case { prints: Some(ODD.map(|value| format!("{value}\n")).concat()), ..case }
}

/// 128 KiB of words and variables: more than one question carries.
fn long_command(words: &[String]) -> Case {
    let argv: Vec<&str> = ["printf", "%s\\n"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let mut case = ends("long-command", &argv, Ended::Exited(0));
    case.command.env = vec![("LONG".into(), "ö".repeat(8 * 1024))];
    Case { prints: Some(words.join("\n") + "\n"), ..case }
}

/// The attempt with this number at one task.
pub(crate) fn id(attempt: u32) -> AttemptId {
    AttemptId { task: "5e55104e-0000-4000-8000-00000000000a".into(), attempt }
}

/// What became of an attempt.
pub(crate) fn state_in(sight: &Sight, id: &AttemptId) -> Option<AttemptState> {
    sight.attempts.iter().find(|attempt| attempt.id == *id).map(|attempt| attempt.state.clone())
}

/// Looks until an attempt is in a state that `fits`.
pub(crate) async fn state_of(
    channel: &dyn GuestChannel,
    id: &AttemptId,
    fits: impl Fn(&AttemptState) -> bool,
) -> AttemptState {
    let mut last = None;
    for _ in 0..600 {
        last = state_in(&look(channel, DEADLINE).await.unwrap(), id);
        match last {
            Some(state) if fits(&state) => return state,
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("{id} is {last:?}");
}

/// Waits for the end of an attempt that is begun.
pub(crate) async fn end_of(channel: &dyn GuestChannel, id: &AttemptId) -> AttemptState {
    state_of(channel, id, |state| !matches!(state, AttemptState::Starting | AttemptState::Running)).await
}

/// Makes the attempt, and sees what comes of it.
pub(crate) async fn try_out(channel: &dyn GuestChannel, case: &Case, id: &AttemptId) {
    let begin = || start(channel, id, &case.command, DEADLINE);
    let (starts, name) = (disturb(channel, case, id).await, case.name);
    assert_eq!(
        starts.iter().filter(|begun| **begun == Begun::Started).count(),
        usize::from(!case.is_forestalled()),
        "{name}"
    );
    // Whatever has become of it, and as often as it is asked.
    assert_eq!(begin().await.unwrap(), Begun::Guarded, "{name}");
    if case.disturbed == Disturbed::Stopped {
        state_of(channel, id, |state| *state == AttemptState::Running).await;
        stop(channel, id, DEADLINE).await.unwrap();
    }
    case.check(&end_of(channel, id).await);
    assert_eq!(begin().await.unwrap(), Begun::Guarded, "{name}");
    if let Some(prints) = &case.prints {
        let printed = tail(channel, id, 1 << 20, DEADLINE).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&printed), *prints, "{name}");
    }
}

/// Starts the attempt as the case wants it started.
async fn disturb(channel: &dyn GuestChannel, case: &Case, id: &AttemptId) -> Vec<Begun> {
    if case.is_forestalled() {
        stop(channel, id, DEADLINE).await.unwrap();
    }
    let times = if case.disturbed == Disturbed::AtOnce { 5 } else { 1 };
    let starts = (0..times).map(|_| start(channel, id, &case.command, DEADLINE));
    join_all(starts).await.into_iter().map(Result::unwrap).collect()
}

impl Case {
    fn is_forestalled(&self) -> bool {
        self.disturbed == Disturbed::Forestalled
    }

    fn check(&self, state: &AttemptState) {
        let name = self.name;
        let AttemptState::Ended(end) = state else {
            assert!(matches!((state, &self.comes), (AttemptState::Stopped, Comes::Nothing)), "{name}: {state:?}");
            return;
        };
        match (&self.comes, &end.result) {
            (Comes::End(expected), result) => assert_eq!(result, expected, "{name}"),
            (Comes::NoStart(words), Ended::CouldNotStart(why)) => assert!(why.contains(words), "{name}: {why}"),
            (_, result) => panic!("{name}: {result:?}"),
        }
        let took = end.finished.duration_since(end.started).as_secs();
        assert!((0..600).contains(&took) && end.finished_ago < Duration::from_secs(600), "{name}: {end:?}");
        assert!(!self.slow || took >= 29, "{name} had no time to end by itself: {end:?}");
    }
}
