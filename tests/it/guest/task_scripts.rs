//! The scripts around an attempt, run by every shell at hand: its beginning, its command, and what its unit runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use stevedore::guest::scripts::{TASK_COMMAND, TASK_START, TASK_UNIT};

use super::scripts::{SHELLS, install, root};

const USER: &str = "nobody";

/// A guest's folder, and a shell to run scripts there.
struct Stage<'a> {
    root: &'a Path,
    shell: &'a [&'a str],
}

impl Stage<'_> {
    /// Runs the shell with these words; none if there is no such shell.
    fn run(&self, args: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Option<Output> {
        let mut command = Command::new(self.shell[0]);
        command.args(&self.shell[1..]).args(args).env_clear().envs(variables.iter().copied());
        command.env("STEVEDORE_ROOT", self.root).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            child => child.unwrap(),
        };
        // A script that does not read all of it is no failure here.
        let _ = child.stdin.take().unwrap().write_all(input);
        Some(child.wait_with_output().unwrap())
    }

    /// What the script that begins attempts answers.
    fn begin(&self, name: &str, pieces: &str, input: &[u8]) -> Option<String> {
        let args = ["-c", TASK_START.text, TASK_START.name, name, pieces, USER, "60", TASK_UNIT.text];
        let output = self.run(&args, &[], input)?;
        assert!(output.stderr.is_empty(), "{:?}: {output:?}", self.shell);
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text.strip_prefix("script\ttask_start\t1\n").unwrap().strip_suffix("end\n").unwrap().to_owned())
    }

    fn guard(&self, name: &str) -> PathBuf {
        self.root.join("var/lib/stevedore/tasks").join(name)
    }

    fn own(&self, name: &str) -> PathBuf {
        self.root.join("run/stevedore/tasks").join(name)
    }

    /// Whether the script that the unit runs as root ends well; it must not print anything.
    fn unit(&self, what: &str, name: &str, variables: &[(&str, &str)]) -> bool {
        let script = self.own(name).join("unit");
        let output = self.run(&[script.to_str().unwrap(), what, name], variables, b"").unwrap();
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{:?}: {output:?}", self.shell);
        output.status.success()
    }
}

fn piece(key: &str, whole: &str, piece: &str) -> Vec<u8> {
    format!("{key} {}\n{piece}", whole.len()).into_bytes()
}

#[tokio::test]
async fn a_command_is_put_together_of_pieces_of_one_kind_only() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, words) in SHELLS {
        let root = root(&folder.path().join(shell)).await;
        let stage = Stage { root: &root, shell: words };
        let last = piece("new", "one two", " two");
        let Some(answer) = stage.begin("a.1", "2", &last) else { continue };
        assert_eq!(answer, "incomplete\ta.1\n", "{shell}");
        for (staged, expected) in [("old", "incomplete\ta.1\n"), ("new", "started\ta.1\n"), ("new", "guarded\ta.1\n")] {
            std::fs::create_dir_all(stage.own("a.1")).unwrap();
            std::fs::write(stage.own("a.1").join("piece.1"), piece(staged, "one two", "one")).unwrap();
            assert_eq!(stage.begin("a.1", "2", &last).unwrap(), expected, "{shell}");
        }
        assert_eq!(std::fs::read_to_string(stage.own("a.1").join("command")).unwrap(), "one two");
        assert!(!stage.own("a.1").join("piece.1").exists());
        // A piece that was cut off on the way.
        assert_eq!(stage.begin("a.2", "1", &piece("new", "one two", "one")).unwrap(), "incomplete\ta.2\n", "{shell}");
        assert!(!stage.guard("a.2").exists());
        let order = std::fs::read_to_string(root.join("run/units/stevedore-task-a.1.service/order")).unwrap();
        // A file system in memory that is full must not end a command that has begun.
        assert!(order.contains("\nExecStartPost=-+/bin/sh "), "{order}");
        assert!(order.contains("\nRuntimeMaxSec=60\n") && order.ends_with("\n\n/bin/sh\n-s\nrun\n"), "{order}");
    }
}

#[tokio::test]
async fn the_command_is_checked_and_then_runs_without_anything_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, words) in SHELLS {
        let root = root(&folder.path().join(shell)).await;
        let stage = Stage { root: &root, shell: words };
        let text = |own: &str| format!("{own}\nexport A='a\nb'\n{TASK_COMMAND}");
        let run = |mode: &str, own: &str| stage.run(&["-s", mode], &[], text(own).as_bytes());
        let Some(checked) = run("check", "set -- \"$1\" 'printenv' 'A'") else { continue };
        assert!(checked.status.success() && checked.stdout.is_empty(), "{shell}: {checked:?}");
        let ran = run("run", "set -- \"$1\" 'printenv' 'A'").unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(0), b"a\nb\n".as_slice()), "{shell}: {ran:?}");
        // Its input is empty, not the rest of what the shell read.
        let ran = run("run", "set -- \"$1\" '/bin/cat'").unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(0), b"".as_slice()), "{shell}: {ran:?}");
        for (program, why) in [
            ("nosuch", "there is no program nosuch in /usr/bin:/bin\n"),
            ("/nosuch/a b", "there is no program /nosuch/a b that this user can see\n"),
            ("/etc/passwd", "/etc/passwd cannot be run by this user\n"),
            ("/etc", "/etc cannot be run by this user\n"),
        ] {
            let checked = run("check", &format!("set -- \"$1\" '{program}'")).unwrap();
            assert_eq!(String::from_utf8_lossy(&checked.stdout), why, "{shell}");
            assert!(!checked.status.success(), "{shell}: {program}");
        }
    }
}

/// What systemd tells of the end of a command.
fn told<'a>(result: &'a str, code: &'a str, status: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("SERVICE_RESULT", result), ("EXIT_CODE", code), ("EXIT_STATUS", status)]
}

#[tokio::test]
async fn the_end_is_written_down_as_systemd_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let (exit, unset) = (told("exit-code", "exited", "3"), vec![("SERVICE_RESULT", "exit-code")]);
    let late = told("timeout", "exited", "0");
    // What was told, whether it was asked to stop, for how long it ran, and the first words of the result.
    let ends = [
        (exit.clone(), false, 1, "exited 3 "),
        (told("success", "exited", "0"), false, 1, "exited 0 "),
        (told("signal", "killed", "SEGV"), false, 1, "signalled SEGV "),
        (told("core-dump", "dumped", "ABRT"), false, 1, "signalled ABRT "),
        (told("timeout", "killed", "TERM"), false, 61, "timed-out - "),
        (late.clone(), false, 61, "timed-out - "),
        // What the command left behind had to be killed.
        (late, false, 1, "exited 0 "),
        (told("success", "killed", "TERM"), true, 1, "stopped - "),
        (told("timeout", "killed", "KILL"), true, 61, "stopped - "),
        (unset.clone(), false, 1, "failed - "),
    ];
    for (shell, words) in SHELLS {
        let root = root(&folder.path().join(shell)).await;
        let stage = Stage { root: &root, shell: words };
        for (number, (told, asked, ran, expected)) in ends.iter().enumerate() {
            let name = format!("a.{number}");
            let Some(answer) = stage.begin(&name, "1", &piece("k", "", "")) else { continue };
            assert_eq!(answer, format!("started\t{name}\n"));
            assert!(stage.unit("before", &name, &[]));
            std::fs::write(stage.own(&name).join("command"), "secret").unwrap();
            assert!(stage.unit("begun", &name, &[]));
            assert_eq!(std::fs::read_to_string(stage.own(&name).join("command")).unwrap(), "");
            if *asked {
                std::fs::write(stage.own(&name).join("asked"), "").unwrap();
            }
            let uptime: f64 =
                std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
            std::fs::write(stage.guard(&name).join("boot"), format!("b 1 {:.2} 60\n", uptime - f64::from(*ran)))
                .unwrap();
            std::fs::write(stage.guard(&name).join("output"), "one\nwhy \0 not\n\n").unwrap();
            assert!(stage.unit("ended", &name, told));
            let result = std::fs::read_to_string(stage.guard(&name).join("result")).unwrap();
            assert!(result.starts_with(expected) && result.ends_with("\nend\n"), "{shell}: {expected}: {result}");
            assert_eq!(result.contains("\nwhy   not\n"), expected.starts_with("failed"), "{shell}: {result}");
            assert!(!stage.own(&name).exists() && !stage.guard(&name).join("room").exists(), "{shell}");
        }
    }
}

#[tokio::test]
async fn what_is_stopped_before_it_begins_never_begins_and_what_the_machine_takes_along_has_no_result() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, words) in SHELLS {
        let root = root(&folder.path().join(shell)).await;
        let stage = Stage { root: &root, shell: words };
        let Some(answer) = stage.begin("a.1", "1", &piece("k", "", "")) else { continue };
        assert_eq!(answer, "started\ta.1\n");
        std::fs::write(stage.own("a.1").join("asked"), "").unwrap();
        assert!(!stage.unit("before", "a.1", &[]), "{shell}");
        assert!(stage.unit("ended", "a.1", &[("SERVICE_RESULT", "exit-code")]), "{shell}");
        assert!(stage.guard("a.1").join("stopped").exists() && !stage.guard("a.1").join("result").exists(), "{shell}");
        stage.begin("a.2", "1", &piece("k", "", "")).unwrap();
        std::fs::write(stage.guard("a.2").join("stopped"), "").unwrap();
        assert!(!stage.unit("before", "a.2", &[]), "{shell}");
        std::fs::remove_file(stage.guard("a.2").join("stopped")).unwrap();
        install(&root, "systemctl", "#!/bin/sh\necho stopping\nexit 1\n");
        assert!(stage.unit("ended", "a.2", &told("success", "killed", "TERM")), "{shell}");
        let guard = stage.guard("a.2");
        assert!(
            !guard.join("result").exists() && !guard.join("stopped").exists() && !stage.own("a.2").exists(),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn what_systemd_does_not_take_could_not_be_started() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, words) in SHELLS {
        let root = root(&folder.path().join(shell)).await;
        install(&root, "systemd-run", "#!/bin/sh\necho 'Unknown assignment: X=1' >&2\nexit 1\n");
        let stage = Stage { root: &root, shell: words };
        let Some(answer) = stage.begin("a.1", "1", &piece("k", "", "")) else { continue };
        assert_eq!(answer, "started\ta.1\n", "{shell}");
        let result = std::fs::read_to_string(stage.guard("a.1").join("result")).unwrap();
        assert!(
            result.contains("\nsystemd does not take it (exit code 1): Unknown assignment: X=1\nend\n"),
            "{result}"
        );
        assert_eq!(stage.begin("a.1", "1", &piece("k", "", "")).unwrap(), "guarded\ta.1\n", "{shell}");
    }
}

/// systemd may end what follows the command while a slow disk is waited for.
#[tokio::test]
async fn a_result_stands_before_the_disk_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, words) in SHELLS {
        let root = root(&folder.path().join(shell)).await;
        let stage = Stage { root: &root, shell: words };
        if stage.begin("a.1", "1", &piece("k", "", "")).is_none() {
            continue;
        }
        let text =
            "#!/bin/sh\ncat \"$1\" >\"$STEVEDORE_ROOT/synced\"\nls \"${1%/*}\" >>\"$STEVEDORE_ROOT/synced\"\nexit 1\n";
        install(&root, "sync", text);
        assert!(stage.unit("ended", "a.1", &told("success", "exited", "0")), "{shell}");
        let seen = std::fs::read_to_string(root.join("synced")).unwrap();
        assert!(seen.starts_with("exited 0 ") && seen.contains("\nend\n"), "{shell}: {seen}");
        assert!(seen.contains("\nresult\n") && !seen.contains("result."), "{shell}: {seen}");
        assert!(!stage.own("a.1").exists(), "{shell}");
    }
}

#[tokio::test]
async fn a_command_whose_end_cannot_be_written_down_is_taken_away_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, words) in SHELLS {
        let root = root(&folder.path().join(shell)).await;
        let stage = Stage { root: &root, shell: words };
        if stage.begin("a.1", "1", &piece("k", "", "")).is_none() {
            continue;
        }
        std::fs::remove_dir_all(stage.guard("a.1")).unwrap();
        let script = stage.own("a.1").join("unit");
        let ended =
            stage.run(&[script.to_str().unwrap(), "ended", "a.1"], &told("success", "exited", "0"), b"").unwrap();
        assert!(!ended.status.success() && !stage.own("a.1").exists(), "{shell}: {ended:?}");
    }
}
