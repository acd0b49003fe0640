//! The program under its other name, at a real API server: RBAC says what each person gets.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use stevedore::controlplane::ControlPlane;

use crate::installed::stage::{NAMESPACE, Stage, quick, worker};

const SESSION: &str = r#"
apiVersion: stevedore.dev/v1alpha1
kind: WorkerSession
metadata: {name: nightly, namespace: backup}
spec:
  type: Backup
  hypervisorRef: {name: pve}
  virtualMachines: [{id: "101"}, {id: "102"}]
  parallelism: 1
  run: {command: [sh, -c, "echo one; sleep 600; echo two"]}
"#;

/// What came of a command.
#[derive(Debug)]
struct Answer {
    success: bool,
    out: String,
    notes: String,
}

/// Runs the program under the name of the plugin.
async fn plugin(program: &Path, kubeconfig: &Path, args: &[&str]) -> Answer {
    let mut command = tokio::process::Command::new(program);
    command.args(args).args(["-n", NAMESPACE]).env("KUBECONFIG", kubeconfig).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { success: output.status.success(), out: text(output.stdout), notes: text(output.stderr) }
}

/// The Role that docs/operations.md gives to those who read logs.
fn documented_role() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let mut blocks = guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.find(|block| block.contains("kind: Role\n")).unwrap().to_owned()
}

/// A person who may see the resources of the namespace, and what else these roles allow.
async fn someone(stage: &Stage, name: &str, roles: &[&str]) -> PathBuf {
    stage.kubectl(&["-n", NAMESPACE, "create", "serviceaccount", name]).await;
    let account = format!("--serviceaccount={NAMESPACE}:{name}");
    for role in ["--clusterrole=stevedore-view"].iter().chain(roles) {
        let binding = format!("{name}-{}", role.trim_start_matches('-').replace('=', "-"));
        stage.kubectl(&["-n", NAMESPACE, "create", "rolebinding", &binding, role, &account]).await;
    }
    let plane: &ControlPlane = &stage.plane;
    let token = plane.service_account_token(NAMESPACE, name).await.unwrap();
    plane.kubeconfig_for_token(&token).unwrap()
}

/// Waits until kubectl shows this text.
async fn until(stage: &Stage, args: &[&str], text: &str) {
    for _ in 0..600 {
        if stage.kubectl(args).await.contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("never: {text}\n{}", stage.kubectl(&["-n", NAMESPACE, "get", "stevedore", "-o", "wide"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_person_is_told_what_their_rights_allow() {
    let stage = Stage::set(quick()).await;
    let _operator = stage.operator(0).await;
    stage.apply_hypervisor("{parallelLaunches: 2}").await;
    stage.apply(&worker("w1", "pve1", "Manual")).await;
    stage.edit_all(&json!({"spec": {"shutdown": {"delay": "1h"}}})).await;
    stage.apply(&format!("{SESSION}---\n{}", documented_role())).await;
    let phase = ["-n", NAMESPACE, "get", "workertask", "nightly-0", "--output=jsonpath={.status.phase}"];
    until(&stage, &["-n", NAMESPACE, "get", "workertasks"], "nightly-1").await;
    until(&stage, &phase, "Running").await;
    let reason = ["-n", NAMESPACE, "get", "workertask", "nightly-1", "--output=jsonpath={.status.reason}"];
    until(&stage, &reason, "Parallelism").await;

    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("kubectl-stevedore");
    symlink(env!("CARGO_BIN_EXE_stevedore"), &program).unwrap();
    let viewer = someone(&stage, "viewer", &[]).await;
    let reader = someone(&stage, "reader", &["--role=stevedore-logs"]).await;

    let told = plugin(&program, &viewer, &["explain", "nightly"]).await;
    assert!(told.success && told.out.contains("Note: you may not get Secret pve, "), "{told:?}");
    assert!(
        told.out.contains("\ntask nightly-1: waiting (Parallelism): 1 of the session's tasks run already"),
        "{told:?}"
    );
    let told = plugin(&program, &reader, &["explain", "nightly"]).await;
    assert!(
        told.success && !told.out.contains("Note") && told.out.contains("\n    worker w1: has a free slot"),
        "{told:?}"
    );

    let refused = plugin(&program, &viewer, &["logs", "nightly-0"]).await;
    assert!(!refused.success && refused.out.is_empty(), "{refused:?}");
    assert!(refused.notes.starts_with("kubectl stevedore: you may not get Secret pve, "), "{refused:?}");
    let read = plugin(&program, &reader, &["logs", "nightly-0"]).await;
    assert_eq!((read.success, read.out.as_str(), read.notes.as_str()), (true, "one\n", ""));
    let waits = plugin(&program, &reader, &["logs", "nightly-1"]).await;
    assert!(waits.notes.contains("task nightly-1 waits for a worker"), "{waits:?}");

    let nobody = plugin(&program, &reader, &["explain", "weekly"]).await;
    let text = "kubectl stevedore: there is no WorkerSession weekly in the namespace backup: ";
    assert!(!nobody.success && nobody.notes.starts_with(text), "{nobody:?}");
    let lost = plugin(&program, &folder.path().join("none"), &["explain", "weekly"]).await;
    assert!(lost.notes.starts_with("kubectl stevedore: the kubeconfig cannot be used: "), "{lost:?}");
    let usage = plugin(&program, &reader, &["--help"]).await;
    assert!(usage.out.contains("Usage: kubectl stevedore [OPTIONS] <COMMAND>"), "{usage:?}");
    stage.plane.stop().await;
}
