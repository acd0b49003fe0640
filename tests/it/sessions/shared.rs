//! Sessions of two Hypervisors that reach one cluster, and do not see the same of it.

use std::time::Duration;

use serde_json::json;
use stevedore::simulator::scenario::{AclSpec, DEMO_TOKEN, MachineSpec, Scenario, TokenSpec};

use super::lab::{Lab, of, session};
use crate::crash::world::{NAMESPACE, World, hypervisor, in_virtual_time, merged, secret, seed, worker};

const SECRET: &str = "0b3f8a9c-5d57-4a86-9a54-a7a40f4f8f11";

/// The demo world with VM 104 beside VM 101, and with a token that sees neither.
fn scenario() -> Scenario {
    let mut scenario = Scenario::default_demo();
    let mut config = scenario.machines.iter().find(|machine| machine.vmid == 101).unwrap().config.clone();
    config.insert("name".into(), "second".into());
    config.insert("scsi0".into(), "local-lvm:vm-104-disk-0,size=32G".into());
    scenario.machines.push(MachineSpec { vmid: 104, node: "pve1".into(), running: true, config });
    scenario.users[0].tokens.push(TokenSpec { id: "narrow".into(), secret: SECRET.into(), ..TokenSpec::default() });
    let narrow = narrow();
    scenario.roles.insert("Nothing".into(), Vec::default());
    let entry =
        |path: &str, role: &str| AclSpec { path: path.into(), to: narrow.clone(), role: role.into(), propagate: true };
    scenario.acls.extend([entry("/", "Stevedore"), entry("/vms/101", "Nothing"), entry("/vms/104", "Nothing")]);
    scenario
}

fn narrow() -> String {
    format!("{}!narrow", DEMO_TOKEN.split('!').next().unwrap())
}

/// The Hypervisors `lab`, which sees little, and `twin`, which sees all; a worker of `twin`.
async fn lab() -> Lab {
    let limits = json!({"limits": {"tasksPerStorage": 1}});
    let narrowly = merged(json!({"spec": {"credentialsSecretRef": {"name": "narrow"}}}), &json!({"spec": limits}));
    let world = World::with(seed(), scenario(), narrowly).await;
    world.create(merged(secret(&narrow(), SECRET), &json!({"metadata": {"name": "narrow"}}))).await;
    world.create(merged(hypervisor(), &json!({"metadata": {"name": "twin"}, "spec": limits}))).await;
    let of_twin = json!({"spec": {"hypervisorRef": {"name": "twin"}, "maxConcurrentTasks": 2}});
    world.create(worker("w1", &of_twin)).await;
    Lab::in_world(world)
}

#[test]
fn a_session_goes_by_what_its_own_hypervisor_sees() {
    in_virtual_time(async {
        let mut lab = lab().await;
        lab.operator.pass(Duration::from_secs(600)).await;
        let of_twin = json!({"spec": {"hypervisorRef": {"name": "twin"}}});
        lab.declare(session("night", &json!([{"id": "101"}, {"id": "104"}]), &of_twin)).await;
        let mut most = 0;
        for _ in 0..1200 {
            // Whoever asks: the decision is the same.
            lab.operator.context.schedule.send((NAMESPACE.to_owned(), "lab".to_owned())).unwrap();
            lab.operator.pass(Duration::from_millis(100)).await;
            let statuses = lab.statuses("night").into_values();
            most = most.max(statuses.filter(|(phase, _)| matches!(phase.as_str(), "Starting" | "Running")).count());
        }
        assert_eq!(most, 1, "both VMs' disks are on one storage: {:#?}", lab.statuses("night"));
        let mut storages =
            of(&lab.world, "night").into_iter().filter_map(|task| task.status).map(|status| status.storages);
        assert!(storages.any(|storages| storages == ["pve1/local-lvm"]));
        assert!(
            lab.ends("night").contains(&("Pending".to_owned(), "StorageLimit".to_owned())),
            "{:?}",
            lab.ends("night")
        );
    });
}
