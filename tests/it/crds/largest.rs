//! Rules are priced by what they do: one that passes on a small object can be refused on a large one. So the largest
//! objects that the schema lets through are created, edited and given a status.

use serde_json::{Value, json};
use stevedore::api::hypervisor_status::{MAX_DELETIONS, MAX_HOSTS, MAX_ORPHANS};
use stevedore::api::worker_status::{MAX_ASSIGNMENTS, MAX_CHECKS};

use super::server::{Patch, Server};
use super::{cases, largest_sessions as sessions};
use crate::support::{cluster, crds};

pub(super) fn x(length: usize) -> String {
    "x".repeat(length)
}

/// `length` characters that are a valid name at their end, too, and differ by `number`.
pub(super) fn name(number: usize, length: usize) -> String {
    format!("{number:0length$}")
}

fn network(number: usize) -> Value {
    json!({
        "name": name(number, 15),
        "bridge": x(15),
        "vlan": 4094,
        "mtu": 65520,
        "ipv4": {"method": "Static", "address": format!("192.168.{}.100/24", 100 + number)},
        "ipv6": {"method": "Static", "address": format!("2001:0db8:aaaa:bbbb:cccc:dddd:eeee:fff{number}/64")},
    })
}

fn worker() -> Value {
    let mut networks: Vec<Value> = (0..8).map(network).collect();
    networks[0]["ipv4"]["gateway"] = json!("192.168.100.254");
    networks[0]["ipv6"]["gateway"] = json!("2001:0db8:aaaa:bbbb:cccc:dddd:eeee:eeee");
    let key = format!("ssh-rsa {} {}", "A".repeat(4000), x(87));
    let check = |number| json!({"name": name(number, 63), "host": x(253), "port": 65535});
    let mut manifest = cases::base("Worker");
    let spec = json!({"spec": {
        "hypervisorRef": {"name": x(63)},
        "proxmox": {"host": x(63), "storage": x(64), "imageStorage": x(64)},
        "vmName": x(40),
        "description": "ä".repeat(1024),
        "maxConcurrentTasks": 64,
        "resources": {"cpus": 512, "memory": "16Ti", "disk": "64Ti"},
        "image": {
            "template": null,
            "url": format!("https://{}/{}", x(253), x(2048 - 262)),
            "checksum": format!("sha512:{}", "a".repeat(128)),
            "format": "Qcow2",
        },
        "networks": networks,
        "dns": {"servers": vec!["2001:0db8:aaaa:bbbb:cccc:dddd:eeee:ffff"; 3], "searchDomains": vec![x(253); 6]},
        "access": {"user": x(32), "authorizedKeys": vec![key; 16]},
        "service": {"unit": format!("{}.service", x(247))},
        "checks": {"connect": (0..32).map(check).collect::<Vec<_>>()},
        "test": {"maxAge": "719h00059m00059s"},
        "updates": {
            "timeout": "0h000059m000059s",
            "proxy": {"url": format!("https://{}:65535/", x(285)), "credentialsSecretRef": {"name": x(253)}},
        },
        "shutdown": {"gracePeriod": "0h000059m000059s", "delay": "23h000059m00059s"},
    }});
    json_patch::merge(&mut manifest, &spec);
    manifest
}

pub(super) fn conditions() -> Vec<Value> {
    let condition = |number| {
        json!({
            "type": format!("T{}", name(number, 30)),
            "status": "Unknown",
            "observedGeneration": i64::MAX,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": x(64),
            "message": "ä".repeat(4096),
        })
    };
    (0..16).map(condition).collect()
}

fn worker_status() -> Value {
    let check =
        |number| json!({"name": name(number, 253), "result": "Skipped", "duration": "59m59s", "message": x(1024)});
    let assignment = |number| json!({"task": name(number, 253), "uid": x(36), "session": x(253), "attempt": i32::MAX});
    let setting = |number: usize| (name(number, 64), Value::String(x(1024)));
    json!({"status": {
        "observedGeneration": i64::MAX,
        "phase": "Configured",
        "conditions": conditions(),
        "operation": {"version": 1, "id": x(36), "kind": "Deploy", "steps": vec![x(1000); 16]},
        "assignments": (0..MAX_ASSIGNMENTS).map(assignment).collect::<Vec<_>>(),
        "tasks": "64/64",
        "launch": {"operation": x(64), "bootId": x(36), "at": "2026-01-01T00:00:00Z"},
        "vm": {"id": x(36), "uuid": x(36), "host": x(253), "power": "Unknown", "addresses": vec![x(49); 32]},
        "resources": {"cpus": 512, "memory": "16Ti", "disk": "64Ti"},
        "applied": {"hash": x(253), "summary": (0..64).map(setting).collect::<serde_json::Map<_, _>>()},
        "lastTest": {
            "result": "Passed",
            "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:00:00Z",
            "configHash": x(253),
            "operation": x(64),
            "checks": (0..MAX_CHECKS).map(check).collect::<Vec<_>>(),
        },
        "lastUpdate": {
            "operation": x(64),
            "result": "Succeeded",
            "finishedAt": "2026-01-01T00:00:00Z",
            "packages": i32::MAX,
            "pending": i32::MAX,
            "rebooted": true,
            "message": x(1024),
        },
        "lastHandledTestRequest": x(253),
        "testFailures": i32::MAX,
    }})
}

fn hypervisor() -> Value {
    let endpoint = |number: usize| format!("https://{number:02}{}:65535/", "x.".repeat(140));
    let fingerprint = |number: usize| format!("{number:02}{}", ":AA".repeat(31));
    let mut manifest = cases::base("Hypervisor");
    let spec = json!({"spec": {
        "endpoints": (0..16).map(endpoint).collect::<Vec<_>>(),
        "credentialsSecretRef": {"name": x(253)},
        "tls": {
            "caRef": {"kind": "ConfigMap", "name": x(253), "key": x(253)},
            "fingerprints": (0..8).map(fingerprint).collect::<Vec<_>>(),
        },
        "proxmox": {"vmIdRange": {"min": 999_900_000, "max": 999_999_999}},
        "limits": {"parallelLaunches": 64, "parallelOperations": 64, "tasksPerStorage": 1000, "deletionsPerHour": 1000},
        "unschedulableHosts": (0..100).map(|number| name(number, 63)).collect::<Vec<_>>(),
        "poll": {"idle": "0h000009m000059s", "busy": "0h000000m000059s"},
    }});
    json_patch::merge(&mut manifest, &spec);
    manifest
}

fn hypervisor_status() -> Value {
    let host = |number| json!({"name": name(number, 63), "state": "Online", "cpus": 4096, "memory": "24Ti"});
    let orphan = |number| json!({"vmId": name(number, 36), "host": x(253), "name": x(253), "worker": x(317), "workerUid": x(36)});
    let deletion = |number| {
        json!({
            "time": "2026-01-01T00:00:00Z",
            "vmId": name(number, 36),
            "operation": x(64),
            "vanished": true,
        })
    };
    json!({"status": {
        "observedGeneration": i64::MAX,
        "conditions": conditions(),
        "identity": {"clusterName": x(253), "nodes": vec![x(253); 64], "caFingerprint": x(253)},
        "product": x(64),
        "version": x(64),
        "hostsOnline": "64/64",
        "hosts": (0..MAX_HOSTS).map(host).collect::<Vec<_>>(),
        "workers": i32::MAX,
        "runningWorkers": i32::MAX,
        "sessions": i32::MAX,
        "limits": {"parallelLaunches": 64, "parallelOperations": 64, "tasksPerStorage": 1000, "deletionsPerHour": 1000},
        "orphans": (0..MAX_ORPHANS).map(orphan).collect::<Vec<_>>(),
        "orphanCount": i32::MAX,
        "deletions": (0..MAX_DELETIONS).map(deletion).collect::<Vec<_>>(),
    }})
}

#[tokio::test]
async fn the_largest_objects_are_created_edited_and_given_a_status() {
    let (client, namespace) = cluster::client_and_namespace("largest").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let last_network = {
        let mut networks = worker()["spec"]["networks"].clone();
        networks[7]["vlan"] = json!(1);
        json!({"spec": {"networks": networks}})
    };
    let all = [
        (worker(), worker_status(), last_network),
        (hypervisor(), hypervisor_status(), json!({"spec": {"poll": {"busy": "1s"}}})),
        (sessions::backup(), sessions::session_status(), json!({"spec": {"state": "Cancelled"}})),
        (sessions::restore(), sessions::session_status(), json!({"spec": {"state": "Completed"}})),
        (sessions::task(), sessions::task_status(), json!({"spec": {"result": sessions::result()}})),
    ];
    for (manifest, status, edit) in all {
        let object = server.create(&manifest, false).await.verdict().unwrap();
        server.patch(&object, "/status", Patch::Merge, &status).await.verdict().unwrap();
        let edited = server.patch(&object, "", Patch::Merge, &edit).await.verdict().unwrap();
        assert_eq!(edited["status"], status["status"], "the status came back changed");
        println!("{}: {} bytes", edited["kind"], edited.to_string().len());
        server.delete(&object).await.verdict().unwrap();
    }
}
