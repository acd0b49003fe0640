//! The examples of sessions, as a person applies them; their scripts are run as they stand there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use stevedore::controlplane::Output;
use tempfile::TempDir;
use tokio::process::Command;

use super::super::stage::NAMESPACE;
use super::lot::Lot;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sessions")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap()
}

/// A shell with a kubectl in front of it that is a given user.
struct Shell {
    programs: TempDir,
    kubeconfig: PathBuf,
}

impl Shell {
    fn of(lot: &Lot, user: &str) -> Self {
        let programs = tempfile::tempdir().unwrap();
        let kubectl = programs.path().join("kubectl");
        let real = lot.stage.plane.binaries().kubectl.display();
        std::fs::write(&kubectl, format!("#!/bin/sh\nexec '{real}' {user} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { programs, kubeconfig: lot.stage.plane.kubeconfig_path().to_owned() }
    }

    async fn run(&self, script: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.arg(script).args(args).envs(variables.iter().copied()).kill_on_drop(true);
        command.env("PATH", format!("{}:{path}", self.programs.path().display()));
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", self.programs.path().join("cache"));
        let output = tokio::time::timeout(std::time::Duration::from_secs(120), command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{} does not end", script.display())).unwrap();
        Output {
            command: script.display().to_string(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub(super) async fn commands_and_restic(lot: &Lot) {
    lot.rest().await;
    lot.stage.apply(&text("10-commands.yaml").replace("sleep 10", "sleep 1")).await;
    lot.phase("files-and-mail", "Succeeded").await;
    let tasks = lot.tasks().await;
    for (task, words, worker) in [
        ("files-and-mail-0", "saving files (101) from pve1\nsaved\n", "worker-1"),
        ("files-and-mail-1", "saving mail (102) from pve2\nsaved\n", "worker-2"),
    ] {
        let told = (tasks[task].output.as_deref(), tasks[task].worker.as_deref(), tasks[task].local);
        assert_eq!(told, (Some(words), Some(worker), Some(true)));
    }
    let file = folder().join("20-restic.yaml");
    let created = lot.stage.kubectl(&["create", "-o", "name", "-f", file.to_str().unwrap()]).await;
    let session =
        created.lines().find_map(|line| line.strip_prefix("workersession.stevedore.dev/")).unwrap().to_owned();
    lot.phase(&session, "Succeeded").await;
}

pub(super) async fn a_script_with_a_lease(lot: &Lot) {
    lot.rest().await;
    let shell = Shell::of(lot, "");
    let (script, manifest) = (folder().join("lease.sh"), folder().join("40-lease.yaml"));
    let manifest = manifest.to_str().unwrap();
    let output = shell.run(&script, &[manifest], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    for words in
        ["VM files would be processed with worker worker-1 at 10.", "VM mail would be", "Succeeded: of 2 tasks"]
    {
        assert!(output.stdout.contains(words), "{words}: {output:?}");
    }
    let command = "echo \"$VM_ID $VM_NAME\"; test \"$VM_NAME\" = files || exit 3";
    let output = shell.run(&script, &[manifest, "sh", "-c", command], &[]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("101 files\n") && output.stdout.contains("Failed: of 2 tasks"), "{output:?}");
    let failed: Vec<_> =
        lot.tasks().await.into_values().filter(|task| task.phase.as_deref() == Some("Failed")).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    let said = (failed[0].reason.as_deref(), failed[0].message.as_deref());
    assert_eq!(said, (Some("ResultReported"), Some("the command ended with exit code 3")));
    lot.stage.kubectl(&["-n", NAMESPACE, "delete", "workersessions", "--all", "--timeout=60s"]).await;
}

/// What the Pod of a Job of the example has: script and manifest in a folder, and its environment.
struct Pod {
    folder: TempDir,
    job: String,
    uid: String,
}

impl Pod {
    async fn of(lot: &Lot, job: &str) -> Self {
        lot.stage.kubectl(&["-n", NAMESPACE, "create", "job", job, "--from=cronjob/nightly"]).await;
        let of_job = ["-n", NAMESPACE, "get", "job", job, "-o", "jsonpath={.metadata.uid}"];
        let uid = lot.stage.kubectl(&of_job).await;
        let folder = tempfile::tempdir().unwrap();
        for (file, key) in [("run.sh", "run\\.sh"), ("session.yaml", "session\\.yaml")] {
            let path = format!("jsonpath={{.data.{key}}}");
            let text = lot.stage.kubectl(&["-n", NAMESPACE, "get", "configmap", "nightly", "-o", &path]).await;
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        Self { folder, job: job.to_owned(), uid }
    }

    async fn run(&self, shell: &Shell) -> Output {
        let variables =
            [("NAMESPACE", NAMESPACE), ("JOB_NAME", &self.job), ("JOB_UID", &self.uid), ("POLL_SECONDS", "1")];
        shell.run(&self.folder.path().join("run.sh"), &[], &variables).await
    }
}

pub(super) async fn a_run_each_night(lot: &Lot) {
    lot.stage.apply(&text("30-nightly.yaml")).await;
    // With the rights that the example gives it, and no others.
    let shell = Shell::of(lot, "--as=system:serviceaccount:backup:nightly");
    let pod = Pod::of(lot, "nightly-1").await;
    let output = pod.run(&shell).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("Succeeded: of 2 tasks 2 succeeded"), "{output:?}");
    let again = pod.run(&shell).await;
    assert_eq!((again.code, &again.stdout), (Some(0), &output.stdout), "a second Pod finds the session of the first");

    let pod = Pod::of(lot, "nightly-2").await;
    let manifest = pod.folder.path().join("session.yaml");
    let fails = std::fs::read_to_string(&manifest).unwrap().replace("echo \"saving", "exit 11; echo \"saving");
    std::fs::write(&manifest, fails).unwrap();
    let output = pod.run(&shell).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    for words in ["Failed: of 2 tasks", "(VM files) Failed, CommandFailed: ", "exit code 11", "(VM mail) Failed"] {
        assert!(output.stdout.contains(words), "{words}: {output:?}");
    }
    lot.stage.kubectl(&["-n", NAMESPACE, "delete", "job", "--all", "--timeout=60s"]).await;
    lot.until("the sessions go with their Jobs", std::collections::BTreeMap::is_empty).await;

    // A session that somebody deletes in the middle is no success.
    let pod = Pod::of(lot, "nightly-3").await;
    let manifest = pod.folder.path().join("session.yaml");
    let lasts = std::fs::read_to_string(&manifest).unwrap().replace("echo \"saving", "sleep 600; echo \"saving");
    std::fs::write(&manifest, lasts).unwrap();
    let run = pod.run(&shell);
    let delete = async {
        lot.until("it runs", |tasks| tasks.values().any(|task| task.phase.as_deref() == Some("Running"))).await;
        lot.stage.kubectl(&["-n", NAMESPACE, "delete", "workersessions", "--all", "--timeout=60s"]).await;
    };
    let (output, ()) = tokio::join!(run, delete);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("was deleted before its end"), "{output:?}");
    lot.patch("cronjob/nightly", &json!({"spec": {"suspend": true}})).await;
}
