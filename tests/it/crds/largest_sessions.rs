//! The largest sessions and tasks that the schema lets through.

use serde_json::{Value, json};
use stevedore::api::session::MAX_VMS;
use stevedore::api::session_status::{MAX_FAILED, MAX_WAITING, MAX_WORKERS};
use stevedore::api::task::MAX_VM_NAME;
use stevedore::api::task_status::{MAX_AVOIDED, MAX_OUTPUT, MAX_STORAGES};

use super::cases;
use super::largest::{conditions, name, x};
use super::server::Server;
use crate::support::{cluster, crds};

/// The most bytes of a command and its variables together.
pub(super) const COMMAND_SIZE: usize = 128 << 10;

/// A command of so many bytes, most of them in characters of two bytes, with variables of the same size again.
fn run(bytes: usize) -> Value {
    let half = bytes / 2;
    // A word for each KiB but the last, then what is left in letters of one byte.
    let words = vec!["ä".repeat(512); half / 1024 - 1];
    let command: Vec<String> = words.into_iter().chain([x(half - (half / 1024 - 1) * 1024)]).collect();
    let variable = |number| json!({"name": format!("V{}", name(number, 62)), "value": "ä".repeat((1024 - 63) / 2)});
    let mut env: Vec<Value> = (0..63).map(variable).collect();
    let rest = bytes - half - 63 * (63 + (1024 - 63) / 2 * 2);
    env.push(json!({"name": "LAST", "value": x(rest - "LAST".len())}));
    json!({
        "command": command,
        "env": env,
        "secretEnv": {"name": x(253)},
        "user": x(32),
        "timeout": "167h00059m00059s",
        "retries": 10,
    })
}

/// A session with a command of so many bytes.
pub(super) fn with_command_of(bytes: usize) -> Value {
    let mut manifest = cases::base("WorkerSession");
    manifest["spec"]["run"] = run(bytes);
    manifest
}

fn selector() -> Value {
    let label = |number: usize| (name(number, 63), Value::String(x(63)));
    let expression = |number: usize| json!({"key": format!("{}/{}", x(253), name(number, 63)), "operator": "NotIn", "values": vec![x(63); 64]});
    json!({
        "matchLabels": (0..16).map(label).collect::<serde_json::Map<_, _>>(),
        "matchExpressions": (0..16).map(expression).collect::<Vec<_>>(),
    })
}

fn session(spec: &Value) -> Value {
    let mut manifest = cases::base("WorkerSession");
    let all = json!({
        "metadata": {"name": x(57)},
        "spec": {
            "hypervisorRef": {"name": x(63)},
            "workerSelector": selector(),
            "placement": "RequireSameHost",
            "parallelism": 1000,
            "startDeadline": "167h00059m00059s",
            "activeDeadline": "167h00059m00059s",
            "ttlAfterFinished": "8759h0059m00059s",
        },
    });
    json_patch::merge(&mut manifest, &all);
    json_patch::merge(&mut manifest, &json!({"spec": spec}));
    manifest
}

/// A backup of VMs that are called by long names, with a long command.
pub(super) fn backup() -> Value {
    let long = |number| format!("{}{}", name(number, 4), "ä".repeat(MAX_VM_NAME - 4));
    let vms: Vec<Value> = (0..MAX_VMS).map(|number| json!({"name": long(number)})).collect();
    session(&json!({"type": "Backup", "virtualMachines": vms, "run": run(COMMAND_SIZE)}))
}

/// A restore to new VMs on hosts that are called by long names.
pub(super) fn restore() -> Value {
    let vms: Vec<Value> = (0..MAX_VMS).map(|number| json!({"host": name(number, 63)})).collect();
    session(&json!({"type": "Restore", "virtualMachines": vms}))
}

pub(super) fn session_status() -> Value {
    let waiting =
        |number| json!({"reason": name(number, 32), "tasks": i32::MAX, "example": x(253), "message": "ä".repeat(1024)});
    let names = |count: usize| (0..count).map(|number| name(number, 253)).collect::<Vec<_>>();
    let count = i32::MAX;
    json!({"status": {
        "observedGeneration": i64::MAX,
        "phase": "Running",
        "conditions": conditions(),
        "tasksCreated": true,
        "tasks": {
            "total": count,
            "pending": count,
            "starting": count,
            "running": count,
            "succeeded": count,
            "failed": count,
            "cancelled": count,
        },
        "done": "1000/1000",
        "workers": names(MAX_WORKERS),
        "workersInUse": count,
        "waiting": (0..MAX_WAITING).map(waiting).collect::<Vec<_>>(),
        "failed": names(MAX_FAILED),
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:00Z",
    }})
}

pub(super) fn task() -> Value {
    let mut manifest = cases::base("WorkerTask");
    let all = json!({
        "metadata": {"name": format!("{}-999", x(57))},
        "spec": {
            "sessionRef": {"name": x(57)},
            "index": 999,
            "virtualMachine": {"id": "ffffffff-ffff-ffff-ffff-ffffffffffff", "name": "ä".repeat(MAX_VM_NAME), "host": x(63)},
        },
    });
    json_patch::merge(&mut manifest, &all);
    manifest
}

pub(super) fn result() -> Value {
    json!({"outcome": "Succeeded", "message": "ä".repeat(1024)})
}

pub(super) fn task_status() -> Value {
    json!({"status": {
        "observedGeneration": i64::MAX,
        "phase": "Cancelled",
        "reason": x(32),
        "message": "ä".repeat(1024),
        "conditions": conditions(),
        "vmHost": x(253),
        "storages": (0..MAX_STORAGES).map(|number| name(number, 128)).collect::<Vec<_>>(),
        "worker": x(253),
        "workerUid": x(36),
        "workerHost": x(253),
        "address": "2001:0db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
        "local": true,
        "attempt": i32::MAX,
        "failedAttempts": i32::MAX,
        "lostAttempts": i32::MAX,
        "avoid": (0..MAX_AVOIDED).map(|number| name(number, 253)).collect::<Vec<_>>(),
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:00Z",
        "exitCode": i32::MAX,
        "output": "ä".repeat(4 * MAX_OUTPUT),
    }})
}

#[tokio::test]
async fn a_command_may_have_128_kib_and_not_a_byte_more() {
    let (client, namespace) = cluster::client_and_namespace("command").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let largest = server.create(&with_command_of(COMMAND_SIZE), true).await.verdict().unwrap();
    let run = &largest["spec"]["run"];
    let texts = run["command"].as_array().unwrap().iter();
    let env = run["env"].as_array().unwrap().iter();
    let texts = texts.chain(env.flat_map(|variable| [&variable["name"], &variable["value"]]));
    assert_eq!(texts.map(|text| text.as_str().unwrap().len()).sum::<usize>(), COMMAND_SIZE, "the test's own sum");
    let refusal = server.create(&with_command_of(COMMAND_SIZE + 1), true).await.verdict().unwrap_err();
    assert!(refusal.contains("command and env together have at most 128 KiB"), "{refusal}");
    // The rule must still be worth its price where every text is as long as it may be.
    let mut manifest = with_command_of(COMMAND_SIZE);
    let longest = "🦀".repeat(4096);
    manifest["spec"]["run"]["command"] = json!(vec![&longest; 64]);
    for variable in manifest["spec"]["run"]["env"].as_array_mut().unwrap() {
        variable["value"] = json!(longest);
    }
    let refusal = server.create(&manifest, true).await.verdict().unwrap_err();
    assert!(refusal.contains("command and env together have at most 128 KiB"), "{refusal}");
}
