//! The output of commands, read from the guests.

use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use stevedore::api::Hypervisor;

use super::{Args, forbid, of, printed};
use crate::crash::world::{NAMESPACE, World, base64, in_virtual_time, worker};
use crate::sessions::lab::{LONG, Lab, runs, session};

/// A lab with workers on pve1 that stay on after their tasks.
async fn lab(workers: &[&str]) -> Lab {
    let lab = Lab::new().await;
    for name in workers {
        let patch =
            json!({"spec": {"test": {"policy": "Manual"}, "shutdown": {"delay": "1h"}, "maxConcurrentTasks": 1}});
        lab.world.create(worker(name, &patch)).await;
    }
    lab
}

async fn is_off(lab: &mut Lab, name: &str) {
    let phase = |worker: stevedore::api::Worker| worker.status.and_then(|status| status.phase);
    let off = lab
        .operator
        .run(LONG * 4, async |world| world.worker(name).await.and_then(phase).as_deref() == Some("ShutDown"));
    assert!(off.await);
}

fn vm() -> Value {
    json!([{"id": "101"}])
}

#[test]
fn the_output_of_a_command_that_ended_is_printed_whole() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        lab.declare(session("night", &vm(), &runs(&["sh", "-c", "echo one; echo two"]))).await;
        lab.phase("night", "Succeeded").await;
        let shown = printed(&lab.world, of("night-0")).await;
        assert_eq!((shown.out.as_str(), shown.notes.as_str()), ("one\ntwo\n", ""));
        shown.end.unwrap();
        is_off(&mut lab, "w1").await;
        let shown = printed(&lab.world, of("night-0")).await;
        assert_eq!(shown.out, "one\ntwo\n", "out of the status");
        assert!(shown.notes.contains("worker w1 is off") && shown.notes.contains("the last 4 KiB at most"));
        shown.end.unwrap();
    });
}

#[test]
fn megabytes_come_in_pieces() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        let script = "printenv A; ".repeat(80);
        let value = "0123456789abcdef".repeat(1900);
        let run = json!({"spec": {"run": {"command": ["sh", "-c", script], "env": [{"name": "A", "value": value}]}}});
        lab.declare(session("night", &vm(), &run)).await;
        lab.phase("night", "Succeeded").await;
        let shown = printed(&lab.world, of("night-0")).await;
        shown.end.unwrap();
        assert!(shown.out.len() > 2 * 1024 * 1024);
        assert_eq!(shown.out, format!("{value}\n").repeat(80));
    });
}

#[test]
fn a_command_that_runs_shows_what_it_has_printed_and_is_followed_to_its_end() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        lab.declare(session("night", &vm(), &runs(&["sh", "-c", "echo one; sleep 90; echo two"]))).await;
        lab.task("night-0", stevedore::domain::ending::has_begun).await;
        let shown = printed(&lab.world, of("night-0")).await;
        shown.end.unwrap();
        assert_eq!(shown.out, "one\n");
        let world = lab.world.clone();
        let follow = printed(&world, Args { follow: true, ..of("night-0") });
        let (shown, _) = tokio::join!(follow, lab.phase("night", "Succeeded"));
        shown.end.unwrap();
        assert_eq!(shown.out, "one\ntwo\n");
    });
}

#[test]
fn one_that_has_not_begun_says_so_or_is_waited_for() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        lab.declare(session("night", &vm(), &runs(&["echo", "one"]))).await;
        let pending = |task: &stevedore::api::WorkerTask| task.status.is_none();
        lab.task("night-0", |task| !pending(task)).await;
        let error = printed(&lab.world, of("night-0")).await.error();
        assert!(error.contains("has not begun yet") || error.contains("waits for a worker"), "{error}");
        lab.task("night-0", |task| stevedore::domain::ending::phase(task).has_worker()).await;
        let error = printed(&lab.world, of("night-0")).await.error();
        assert!(error.contains("the command has not begun yet (it goes to worker w1)"), "{error}");
        let world = lab.world.clone();
        let follow = printed(&world, Args { follow: true, ..of("night-0") });
        let (shown, _) = tokio::join!(follow, lab.phase("night", "Succeeded"));
        shown.end.unwrap();
        assert_eq!(shown.out, "one\n");
    });
}

#[test]
fn each_attempt_is_read_from_the_worker_that_it_was_made_on() {
    in_virtual_time(async {
        let mut lab = lab(&["w1", "w2"]).await;
        let run =
            json!({"spec": {"run": {"command": ["sh", "-c", "printenv STEVEDORE_ATTEMPT; false"], "retries": 1}}});
        lab.declare(session("night", &vm(), &run)).await;
        lab.phase("night", "Failed").await;
        let task = lab.world.task("night-0").await.unwrap().status.unwrap();
        assert_ne!(Some(&task.avoid[0]), task.worker.as_ref(), "it was tried on both");
        for (args, expected) in [
            (of("night-0"), "2\n"),
            (Args { attempt: Some(2), ..of("night-0") }, "2\n"),
            (Args { attempt: Some(1), ..of("night-0") }, "1\n"),
            (Args { previous: true, ..of("night-0") }, "1\n"),
        ] {
            let shown = printed(&lab.world, args).await;
            shown.end.unwrap();
            assert_eq!(shown.out, expected);
        }
        let error = printed(&lab.world, Args { attempt: Some(3), ..of("night-0") }).await.error();
        assert!(error.contains("no attempt 3 yet: the latest one is attempt 2"), "{error}");
        is_off(&mut lab, "w1").await;
        is_off(&mut lab, "w2").await;
        let error = printed(&lab.world, Args { previous: true, ..of("night-0") }).await.error();
        assert!(error.contains("is off") && error.contains("keeps no output of it either"), "{error}");
    });
}

/// A session whose command prints a secret that the person may read, and has ended.
async fn with_secret() -> Lab {
    let mut lab = lab(&["w1"]).await;
    let data = json!({"RESTIC_PASSWORD": base64("hunter22"), "MODE": base64("full")});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "restic", "namespace": NAMESPACE}, "data": data});
    lab.world.create(secret).await;
    let command = ["sh", "-c", "printenv RESTIC_PASSWORD; printenv MODE"];
    let run = json!({"spec": {"run": {"command": command, "secretEnv": {"name": "restic"}}}});
    lab.declare(session("night", &vm(), &run)).await;
    lab.phase("night", "Succeeded").await;
    lab
}

#[test]
fn secrets_are_masked_and_nothing_is_read_where_they_cannot_be() {
    in_virtual_time(async {
        let lab = with_secret().await;
        let shown = printed(&lab.world, of("night-0")).await;
        shown.end.unwrap();
        assert_eq!(shown.out, "***\nfull\n");
        forbid(&lab.world, "restic");
        let before = lab.world.pve.faults().log().len();
        let shown = printed(&lab.world, of("night-0")).await;
        assert_eq!(shown.out, "***\nfull\n", "as the operator masked it");
        assert!(shown.notes.contains("you may not get Secret restic"), "{}", shown.notes);
        assert!(shown.end.is_err(), "it is only the end of it");
        assert_eq!(lab.world.pve.faults().log().len(), before, "the hypervisor was not asked");
    });
}

#[test]
fn who_may_not_read_the_credential_gets_the_end_that_the_status_keeps() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        lab.declare(session("night", &vm(), &runs(&["echo", "one"]))).await;
        lab.phase("night", "Succeeded").await;
        forbid(&lab.world, "pve-token");
        let shown = printed(&lab.world, of("night-0")).await;
        assert_eq!(shown.out, "one\n");
        let text =
            "you may not get Secret pve-token, with which the hypervisor is reached: ask for a role with get on it";
        assert!(shown.notes.contains(text), "{}", shown.notes);
        assert!(shown.error().contains("only the end of the output was printed"));
    });
}

/// The scripts that were run in guests so far.
fn scripts(world: &World) -> usize {
    world.pve.faults().log().iter().filter(|call| call.path.ends_with("/agent/exec")).count()
}

#[test]
fn nothing_is_asked_of_a_vm_that_does_not_carry_the_workers_marks() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        lab.declare(session("night", &vm(), &runs(&["echo", "one"]))).await;
        lab.phase("night", "Succeeded").await;
        let before = scripts(&lab.world);
        for (option, value) in [
            ("description", None),
            ("tags", Some("mine")),
            ("smbios1", Some("uuid=04137809-b203-4b2d-b094-f8cdbb862117")),
        ] {
            let own = lab.world.option_of_ours(option);
            lab.world.pve.world(|world| world.edit_machine(5000, option, value));
            let shown = printed(&lab.world, of("night-0")).await;
            let text = "VM 5000 on pve1 does not carry the marks of worker w1, so that nothing is asked of it";
            assert!(shown.notes.contains(text) && shown.end.is_err(), "{option}: {}", shown.notes);
            lab.world.pve.world(|world| world.edit_machine(5000, option, own.as_deref()));
        }
        assert_eq!(scripts(&lab.world), before);
        printed(&lab.world, of("night-0")).await.end.unwrap();
    });
}

#[test]
fn another_cluster_behind_the_endpoints_is_not_asked() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        lab.declare(session("night", &vm(), &runs(&["echo", "one"]))).await;
        lab.phase("night", "Succeeded").await;
        let before = scripts(&lab.world);
        let api: Api<Hypervisor> = Api::namespaced(lab.world.kube.client("person"), NAMESPACE);
        let patch =
            json!({"status": {"identity": {"clusterName": "other", "nodes": ["x1"], "caFingerprint": "AA:BB"}}});
        api.patch_status("lab", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let shown = printed(&lab.world, of("night-0")).await;
        assert!(shown.notes.contains("another cluster answers behind the endpoints"), "{}", shown.notes);
        assert_eq!((shown.out.as_str(), shown.end.is_err(), scripts(&lab.world)), ("one\n", true, before));
    });
}

#[test]
fn a_lease_has_no_output_and_what_is_not_there_is_named() {
    in_virtual_time(async {
        let mut lab = lab(&["w1"]).await;
        lab.declare(session("lease", &vm(), &json!({}))).await;
        lab.phase("lease", "Running").await;
        let error = printed(&lab.world, of("lease-0")).await.error();
        assert!(error.contains("task lease-0 is leased to a program outside"), "{error}");
        let error = printed(&lab.world, of("nobody-0")).await.error();
        assert!(
            error.starts_with("there is no WorkerTask nobody-0 in the namespace backup: `kubectl -n backup get"),
            "{error}"
        );
        lab.operator.pass(Duration::from_secs(1)).await;
    });
}
