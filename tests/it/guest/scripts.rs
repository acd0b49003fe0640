//! The scripts themselves, run by every shell at hand against a simulated guest's stand-ins.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use stevedore::guest::channel::Script;
use stevedore::guest::facts::Facts;
use stevedore::guest::reach::{Endpoint, Lookup, Reached, read_attempts, read_lookups};
use stevedore::guest::scripts;
use stevedore::guest::units::UnitProperties;
use stevedore::simulator::guest::{CannedGuest, ShellGuest};
use stevedore::simulator::guest_exec::{ExecCall, GuestExec};

use super::causes::CAUSES;
use super::healthy;

/// The shells that the scripts must run under: a name, and the words that start it.
pub(super) const SHELLS: [(&str, &[&str]); 3] =
    [("sh", &["/bin/sh"]), ("busybox", &["busybox", "sh"]), ("bash", &["bash", "--posix"])];

/// Runs a script under a shell, as an agent would, with the guest in `root`; none if there is no such shell.
fn run(shell: &[&str], root: &Path, script: Script, args: &[&str]) -> Option<Output> {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg("-c").arg(script.text).arg(script.name).args(args);
    command.env_clear().env("STEVEDORE_ROOT", root).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => Some(output.unwrap()),
    }
}

fn carried(output: Output) -> stevedore::guest::channel::Output {
    let exit_code = output.status.code();
    stevedore::guest::channel::Output { exit_code, stdout: output.stdout, stderr: output.stderr, truncated: false }
}

/// The records of a script in an order of their own, without clocks and without what a program said.
fn normal(stdout: &[u8]) -> Vec<String> {
    let text = String::from_utf8(stdout.to_vec()).unwrap();
    let record = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[0] {
            "target" => fields[..5].join("\t"),
            "clock" => fields[..2].iter().filter(|field| field.parse::<u64>().is_err()).copied().collect(),
            "guard" => fields[..4].join("\t"),
            _ => line.to_owned(),
        }
    };
    let mut records: Vec<String> = text.lines().map(record).collect();
    records.sort();
    records
}

#[tokio::test]
async fn every_shell_runs_every_script_to_the_same_records() {
    let folder = tempfile::tempdir().unwrap();
    let (shell, canned) = (ShellGuest::new(folder.path()), CannedGuest::default());
    let questions: [(Script, &[&str]); 14] = [
        (scripts::FACTS, &["0"]),
        (scripts::RESOLVE, &["5", "pve1", "repo.lab", "localhost", "nosuch.lab"]),
        (scripts::CONNECT, &["5", "pve1", "8006", "repo.lab", "22", "10.77.0.20", "2049", "nosuch.lab", "1"]),
        (scripts::UNIT, &["backup-agent.service", "0"]),
        (scripts::TASK_LOOK, &[]),
        (scripts::TASK_STAGE, &["a.1", "1"]),
        (scripts::TASK_START, &["a.1", "2", "root", "60", "true"]),
        (scripts::TASK_STOP, &["a.2"]),
        (scripts::TASK_START, &["a.2", "1", "root", "60", "true"]),
        (scripts::TASK_STAGE, &["a.2", "1"]),
        (scripts::TASK_OUTPUT, &["a.2", "tail", "10"]),
        (scripts::TASK_OUTPUT, &["a.3", "from", "10", "5"]),
        (scripts::TASK_LOOK, &[]),
        (scripts::TASK_FORGET, &["a.1", "a.2", "a.3"]),
    ];
    for cause in CAUSES {
        let facts = cause.facts();
        let prepare = ExecCall { argv: vec!["true".into()], input: Vec::new(), facts: facts.clone() };
        shell.exec(prepare).await;
        for (script, args) in questions {
            let fixed = ["/bin/sh", "-c", script.text, script.name];
            let argv = fixed.iter().chain(args).map(|word| (*word).to_owned()).collect();
            let expected = canned.exec(ExecCall { argv, input: Vec::new(), facts: facts.clone() }).await;
            for (name, words) in SHELLS {
                let Some(output) = run(words, &shell.root_of(&facts), script, args) else {
                    eprintln!("{name} is not on this machine, so the scripts are not tried under it");
                    continue;
                };
                let context = format!("{} of {} under {name}: {output:?}", script.name, cause.name);
                assert_eq!(normal(&output.stdout), normal(&expected.stdout), "{context}");
                assert!(output.status.success() && output.stderr.is_empty(), "{context}");
            }
        }
    }
}

/// A root folder that has been filled for a healthy guest.
pub(super) async fn root(folder: &Path) -> PathBuf {
    let guest = ShellGuest::new(folder);
    let facts = healthy("root");
    guest.exec(ExecCall { argv: vec!["true".into()], input: Vec::new(), facts: facts.clone() }).await;
    guest.root_of(&facts)
}

pub(super) fn install(root: &Path, program: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let (original, path) = (root.join(program), root.join("bin").join(program));
    let _ = std::fs::remove_file(&path);
    std::fs::write(&original, text).unwrap();
    std::fs::set_permissions(&original, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Another process writes what will be run, as a file open for writing in a fork of this one cannot be run.
    assert!(Command::new("/bin/cp").args([&original, &path]).status().unwrap().success());
}

#[tokio::test]
async fn strange_values_arrive_as_values() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path()).await;
    std::fs::write(root.join("etc/hostname"), b"a\tb\\n w\xc3\xb6rld\x1b[0m\nsecond line\n").unwrap();
    std::fs::write(root.join("etc/os-release"), "ID='x'\nPRETTY_NAME=\"$(reboot) * \\\"\nVERSION_ID=\n").unwrap();
    for (_, words) in SHELLS {
        let Some(output) = run(words, &root, scripts::FACTS, &[]) else { continue };
        let facts = Facts::read(&carried(output)).unwrap();
        assert_eq!(facts.hostname, "a\tb\\n w??rld?[0m\nsecond line");
        assert_eq!(
            (facts.os_id.as_str(), facts.os_name.as_str(), facts.os_version.as_str()),
            ("x", "$(reboot) * \\", "")
        );
    }
}

#[tokio::test]
async fn a_program_that_hangs_does_not_hang_its_script() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path()).await;
    install(&root, "getent", "#!/bin/sh\nexec sleep 600\n");
    let names = ["a.lab".to_owned(), "b.lab".to_owned()];
    for without_timeout in [false, true] {
        if without_timeout {
            std::fs::remove_file(root.join("bin/timeout")).unwrap();
        }
        for (_, words) in SHELLS {
            let Some(output) = run(words, &root, scripts::RESOLVE, &["1", "a.lab", "b.lab"]) else { continue };
            let lookups = read_lookups(&carried(output), &names).unwrap();
            assert!(lookups.values().all(|lookup| *lookup == Lookup::TimedOut), "{words:?}: {lookups:?}");
        }
    }
}

#[tokio::test]
async fn each_way_to_connect_tells_open_from_closed() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path()).await;
    std::fs::remove_file(root.join("bin/nc")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let closed = {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        other.local_addr().unwrap().port()
    };
    let targets = [Endpoint::new("127.0.0.1", open), Endpoint::new("127.0.0.1", closed)];
    let [open, closed] = [open, closed].map(|port| port.to_string());
    // curl keeps a connection that stands for the whole time.
    let args = ["1", "127.0.0.1", open.as_str(), "127.0.0.1", closed.as_str()];
    for tool in ["bash", "python3", "curl"] {
        let program = Path::new("/usr/bin").join(tool);
        if !program.exists() {
            eprintln!("{tool} is not on this machine, so it is not tried");
            continue;
        }
        std::os::unix::fs::symlink(&program, root.join("bin").join(tool)).unwrap();
        for (name, words) in SHELLS {
            let Some(output) = run(words, &root, scripts::CONNECT, &args) else { continue };
            let attempts = read_attempts(&carried(output), &targets).unwrap();
            let tried = targets.each_ref().map(|target| (attempts[target].reached, attempts[target].tool.as_str()));
            assert_eq!(tried, [(Reached::Ok, tool), (Reached::Refused, tool)], "under {name}: {attempts:?}");
        }
        std::fs::remove_file(root.join("bin").join(tool)).unwrap();
    }
}

#[tokio::test]
async fn a_tool_that_cannot_do_it_gives_way_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path()).await;
    install(&root, "nc", "#!/bin/sh\necho 'nc: invalid option -- z' >&2\nexit 1\n");
    install(&root, "python3", "#!/bin/sh\necho '[Errno 110] Connection timed out' >&2\nexit 1\n");
    let targets = [Endpoint::new("repo.lab", 1)];
    for (_, words) in SHELLS {
        let Some(output) = run(words, &root, scripts::CONNECT, &["5", "repo.lab", "1"]) else { continue };
        let attempts = read_attempts(&carried(output), &targets).unwrap();
        assert_eq!(
            (attempts[&targets[0]].reached, attempts[&targets[0]].tool.as_str()),
            (Reached::TimedOut, "python3")
        );
    }
}

#[tokio::test]
async fn a_unit_that_starts_is_waited_for_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path()).await;
    install(&root, "sleep", "#!/bin/sh\necho >>\"$STEVEDORE_ROOT/run/slept\"\n");
    // The first answer is what the file says, each later one that the unit is up.
    let text = "#!/bin/sh\ncat \"$STEVEDORE_ROOT/run/first\" 2>/dev/null || echo ActiveState=active\n\
                rm -f \"$STEVEDORE_ROOT/run/first\"\necho LoadState=loaded\necho SubState=running\n";
    install(&root, "systemctl", text);
    let cases = [
        ("ActiveState=activating", true),
        ("ActiveState=reloading", true),
        ("ActiveState=inactive\nJob=12", true),
        ("ActiveState=inactive\nJob=", false),
        ("ActiveState=active", false),
        ("ActiveState=failed", false),
    ];
    for (_, words) in SHELLS {
        for (first, waits) in cases {
            std::fs::write(root.join("run/first"), format!("{first}\n")).unwrap();
            let Some(output) = run(words, &root, scripts::UNIT, &["slow.service", "20"]) else { continue };
            let unit = UnitProperties::read(&carried(output)).unwrap().unwrap();
            let slept = std::fs::remove_file(root.join("run/slept")).is_ok();
            assert_eq!((slept, unit.active == "active"), (waits, waits || first.ends_with("=active")), "{first}");
        }
    }
}
