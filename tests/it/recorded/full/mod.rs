//! All recorded exchanges that concern calls in use, replayed from the folder that holds them, and compared with what
//! the project states of them.

mod callers;
mod exchange;
mod expected;
mod guest;
mod likeness;
mod replay;
mod resend;
mod script;
mod stage;
mod worlds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stevedore::hypervisor::proxmox::calls;
use stevedore::simulator::scenario::Release;

use exchange::Recorded;
use expected::Expected;
use replay::{Replay, Verdict};
use script::Script;

/// A folder of recordings: its name, the release that answered, how it is replayed.
const FOLDERS: &[(&str, Release, &str)] = &[
    ("recorded", Release::V8, "replay.txt"),
    ("recorded-9.2", Release::V9, "replay.txt"),
    ("datapath-9.2", Release::V9, "replay-datapath.txt"),
];
/// Below the project's folder; read when they are needed, for they are edited more often than the code.
const FIXTURES: &str = "tests/fixtures/proxmox";
const EXPECTED: &str = "replay-expected.txt";
const TABLE: &str = "| Recordings | exchanges | of calls in use | agree | differ | not replayed |";

/// What became of one folder.
struct Outcome {
    folder: &'static str,
    verdicts: BTreeMap<String, Verdict>,
    expected: Expected,
    untrue: Vec<String>,
}

impl Outcome {
    fn count(&self, fits: impl Fn(&Verdict) -> bool) -> usize {
        self.verdicts.values().filter(|verdict| fits(verdict)).count()
    }

    /// The folder's row of the table, as the README has it.
    fn row(&self) -> String {
        let unused = self.count(|verdict| *verdict == Verdict::NotInUse);
        let counts = [
            self.verdicts.len(),
            self.verdicts.len() - unused,
            self.count(|verdict| *verdict == Verdict::Agrees),
            self.count(|verdict| matches!(verdict, Verdict::Differs(_))),
            self.count(|verdict| matches!(verdict, Verdict::NotReplayed(_))),
        ];
        format!("| `{}` | {} |", self.folder, counts.map(|count| count.to_string()).join(" | "))
    }

    /// One line for each that does not agree, with the reason.
    fn lines(&self) -> Vec<String> {
        let line = |(name, verdict): (&String, &Verdict)| {
            let reason = match verdict {
                Verdict::Differs(found) => {
                    let stated = self.expected.differs.get(name).cloned();
                    format!("differs: {}", stated.unwrap_or_else(|| found.join("; ")))
                }
                Verdict::NotReplayed(reason) => format!("not replayed: {reason}"),
                Verdict::NotInUse | Verdict::Agrees => return None,
            };
            Some(format!("{}/{name} {reason}", self.folder))
        };
        self.verdicts.iter().filter_map(line).collect()
    }
}

/// Whether the operator makes the call of this recording; one without a request is taken to be of such calls.
fn in_use(recorded: &Recorded) -> bool {
    let Some(path) = recorded.call_path() else { return recorded.method.is_empty() };
    calls().any(|call| {
        let (method, pattern) = call.split_once(' ').unwrap();
        let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        let fits = |(pattern, segment): (&&str, &&str)| pattern.starts_with('{') || pattern == segment;
        method == recorded.method && pattern.len() == path.len() && pattern.iter().zip(&path).all(fits)
    })
}

/// The folder that the caller named; panics with what to do if there is none.
fn place() -> PathBuf {
    let how = "call `make test-recorded RECORDED=FOLDER` with the folder that holds recorded/, recorded-9.2/ and datapath-9.2/";
    let Some(place) = std::env::var_os("RECORDED").filter(|place| !place.is_empty()) else {
        panic!("RECORDED names no folder: {how}");
    };
    let place = PathBuf::from(place);
    for (folder, _, _) in FOLDERS {
        assert!(place.join(folder).is_dir(), "RECORDED={} has no folder {folder}: {how}", place.display());
    }
    place
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn outcome(place: &Path, folder: &'static str, release: Release, script: &str) -> Outcome {
    let wrong = |file: &str, error: String| -> ! { panic!("{FIXTURES}/{file}: {error}") };
    let steps = Script::parse(&fixture(script)).unwrap_or_else(|error| wrong(script, error));
    let mut stated = expected::parse(&fixture(EXPECTED)).unwrap_or_else(|error| wrong(EXPECTED, error));
    let expected = stated.remove(folder).unwrap_or_default();
    let recorded = exchange::read_folder(&place.join(folder)).unwrap_or_else(|error| panic!("{error}"));
    let replay = Replay { script: &steps, release, expected: &expected, in_use: &in_use };
    let verdicts = replay.run(&recorded).await.unwrap_or_else(|error| panic!("{folder}: {error}"));
    let untrue = expected.untrue(&recorded, &verdicts);
    Outcome { folder, verdicts, expected, untrue }
}

#[tokio::test(start_paused = true)]
#[ignore = "needs recordings that do not come with the project: make test-recorded RECORDED=FOLDER"]
async fn recorded_in_full() {
    let place = place();
    let mut outcomes = Vec::new();
    for (folder, release, script) in FOLDERS {
        outcomes.push(outcome(&place, folder, *release, script).await);
    }
    for line in outcomes.iter().flat_map(Outcome::lines) {
        println!("{line}");
    }
    for outcome in &outcomes {
        let unused = outcome.count(|verdict| *verdict == Verdict::NotInUse);
        println!("{} has {unused} exchanges of calls that the operator does not make", outcome.folder);
    }
    println!("{TABLE}");
    for outcome in &outcomes {
        println!("{}", outcome.row());
    }
    let untrue: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| outcome.untrue.iter().map(move |wrong| format!("{}/{wrong}", outcome.folder)))
        .collect();
    let count = untrue.len();
    assert!(untrue.is_empty(), "{count} statements of {FIXTURES}/{EXPECTED} are not true:\n{}", untrue.join("\n"));
    let readme = include_str!("../../../../README.md");
    let missing: Vec<_> = outcomes.iter().map(Outcome::row).filter(|row| !readme.contains(row)).collect();
    assert!(missing.is_empty(), "README.md has no such row:\n{}", missing.join("\n"));
}

#[test]
fn steps_and_statements_can_be_read() {
    let stated = expected::parse(&fixture(EXPECTED)).unwrap();
    for (folder, _, script) in FOLDERS {
        assert!(!Script::parse(&fixture(script)).unwrap().scenes.is_empty(), "{script} has no scene");
        assert!(stated.get(*folder).is_some_and(|expected| expected.agree > 0), "nothing is stated of {folder}");
    }
}
