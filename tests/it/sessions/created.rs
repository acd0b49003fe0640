//! The tasks of a session are made once, each with the VM that it means.

use serde_json::json;
use stevedore::api::session::ProtectedVm;
use stevedore::api::task::TaskMode;
use stevedore::simulator::scenario::Scenario;

use super::lab::{Lab, message, of, runs, says, session, task};
use crate::crash::world::{World, hypervisor, in_virtual_time, secret, seed};
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN};

fn vm(id: &str, name: &str) -> ProtectedVm {
    ProtectedVm { id: Some(id.into()), name: Some(name.into()), host: None }
}

#[test]
fn each_vm_becomes_a_task_that_its_session_owns() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare(session("night", &json!([{"id": "102"}, {"name": "files"}]), &runs(&["/bin/true"]))).await;
        let status = lab.until("night", |status| !status.waiting.is_empty()).await;
        let tasks = of(&lab.world, "night");
        let vms: Vec<_> = tasks.iter().map(|task| task.spec.virtual_machine.clone()).collect();
        assert_eq!(vms, [vm("102", "mail"), vm("101", "files")]);
        let owner = lab.world.session("night").await.unwrap();
        assert_eq!(owner.metadata.finalizers, Some(vec!["stevedore.dev/session".to_owned()]));
        for (index, task) in tasks.iter().enumerate() {
            assert_eq!(task.metadata.name, Some(format!("night-{index}")));
            assert_eq!(usize::try_from(task.spec.index), Ok(index));
            assert_eq!(task.spec.mode, TaskMode::Command);
            assert_eq!(Some(&task.spec.session_ref.uid), owner.metadata.uid.as_ref());
            assert_eq!(task.metadata.finalizers, Some(vec!["stevedore.dev/task".to_owned()]));
            let owners = task.metadata.owner_references.clone().unwrap();
            assert_eq!((owners.len(), Some(&owners[0].uid)), (1, owner.metadata.uid.as_ref()));
            assert_eq!((owners[0].controller, owners[0].block_owner_deletion), (Some(true), Some(true)));
        }
        assert_eq!((status.tasks_created, status.done.as_deref()), (Some(true), Some("0/2")));
        assert_eq!((status.tasks.unwrap().pending, status.waiting[0].tasks), (2, 2));
        assert_eq!((status.waiting[0].reason.as_str(), status.waiting[0].example.as_str()), ("NoWorker", "night-0"));
        assert_eq!(says(&status.conditions, "Ready"), "False/WaitingForWorkers");
        assert_eq!(says(&status.conditions, "Reconciling"), "True/WaitingForWorkers");
        assert_eq!(says(&status.conditions, "WorkersAvailable"), "False/NoWorkerReady");
        assert_eq!(says(&status.conditions, "Finished"), "False/WaitingForWorkers");
    });
}

#[test]
fn without_a_command_the_tasks_are_leases() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let restore = json!({"spec": {"type": "Restore"}});
        lab.declare(session("back", &json!([{"host": "pve2"}, {"host": "pve2"}]), &restore)).await;
        lab.until("back", |status| !status.waiting.is_empty()).await;
        let tasks = of(&lab.world, "back");
        let host = ProtectedVm { host: Some("pve2".into()), ..ProtectedVm::default() };
        assert_eq!(tasks.len(), 2);
        for task in tasks {
            assert_eq!((task.spec.mode, task.spec.virtual_machine), (TaskMode::Lease, host.clone()));
        }
    });
}

#[test]
fn a_session_waits_for_its_hypervisor() {
    in_virtual_time(async {
        let mut lab = Lab::in_world(World::bare(seed(), Scenario::default_demo()));
        lab.declare(session("night", &json!([{"id": "101"}]), &json!({}))).await;
        let status = lab.until("night", |status| says(&status.conditions, "Ready") == "False/HypervisorMissing").await;
        assert!(message(&status.conditions, "Ready").contains("no Hypervisor lab"), "{status:?}");
        let mut paused = hypervisor();
        paused["spec"]["paused"] = json!(true);
        lab.world.create(secret(DEMO_TOKEN, DEMO_SECRET)).await;
        lab.world.create(paused).await;
        lab.until("night", |status| says(&status.conditions, "Ready") == "False/HypervisorPaused").await;
        assert_eq!(of(&lab.world, "night").len(), 0);
        lab.world.pve.world(|world| world.set_quorate(false));
        lab.world.edit_hypervisor(json!({"spec": {"paused": false}})).await;
        lab.until("night", |status| says(&status.conditions, "Ready") == "False/HypervisorNotReady").await;
        assert_eq!(of(&lab.world, "night").len(), 0);
        lab.world.pve.world(|world| world.set_quorate(true));
        let status = lab.until("night", |status| status.tasks_created == Some(true)).await;
        assert_eq!(status.tasks.unwrap().total, 1);
    });
}

#[test]
fn a_vm_that_was_made_just_before_the_session_is_found() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.operator.pass(std::time::Duration::from_secs(120)).await;
        let fresh = Scenario::default_demo().machines.into_iter().find(|machine| machine.vmid == 101).unwrap();
        let mut machine = stevedore::simulator::scenario::MachineSpec { vmid: 104, ..fresh };
        machine.config.insert("name".into(), "fresh".into());
        lab.world.pve.world(|world| world.add_machine(&machine));
        lab.declare(session("night", &json!([{"id": "104"}]), &json!({}))).await;
        lab.until("night", |status| !status.waiting.is_empty()).await;
        assert_eq!(lab.ends("night")[0].0, "Pending", "it waits for a worker");
    });
}

#[test]
fn a_task_that_a_person_made_keeps_its_place_and_that_of_the_session_fails() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        lab.declare(session("night", &json!([{"id": "999"}, {"id": "102"}]), &json!({}))).await;
        let made = lab.world.session("night").await.unwrap();
        lab.world.create(task("night-1", &made, 1, &json!({}))).await;
        let before = lab.world.task("night-1").await.unwrap();
        let status = lab.phase("night", "Failed").await;
        let counts = status.tasks.unwrap();
        assert_eq!(
            (counts.total, counts.failed, status.failed),
            (2, 2, vec!["night-0".to_owned(), "night-1".to_owned()])
        );
        let after = lab.world.task("night-1").await.unwrap();
        assert_eq!((after.spec, after.metadata.finalizers), (before.spec, None));
        let told = after.status.unwrap();
        assert_eq!((told.reason.as_deref(), told.phase), (Some("NotOurs"), None));
        assert_eq!(says(&told.conditions, "Stalled"), "True/NotOurs");
        lab.delete_task("night-1").await;
        assert_eq!(lab.phase("night", "Failed").await.tasks.unwrap(), counts);
    });
}

#[test]
fn a_task_of_an_earlier_session_of_that_name_is_waited_for() {
    in_virtual_time(async {
        let mut lab = Lab::new().await;
        let night = session("night", &json!([{"id": "101"}, {"id": "102"}]), &json!({}));
        lab.declare(night.clone()).await;
        lab.until("night", |status| !status.waiting.is_empty()).await;
        // Somebody takes the session away from under its tasks, and leaves these behind.
        lab.delete("night", &kube::api::DeleteParams::orphan()).await;
        lab.world.collect();
        lab.strip("night").await;
        lab.declare(night).await;
        let status = lab.until("night", |status| says(&status.conditions, "Ready") == "False/Preparing").await;
        let told = message(&status.conditions, "Ready");
        assert!(told.contains("WorkerTask night-") && told.contains("earlier session"), "{told}");
        lab.operator.pass(std::time::Duration::from_secs(60)).await;
        let ends = lab.ends("night");
        assert_eq!(ends, vec![("Cancelled".to_owned(), "SessionDeleted".to_owned()); 2], "they are over, and stay");
        for name in ["night-0", "night-1"] {
            lab.delete_task(name).await;
        }
        let status = lab.until("night", |status| status.tasks_created == Some(true)).await;
        assert_eq!(status.tasks.unwrap().pending, 2);
        let uid = lab.world.session("night").await.unwrap().metadata.uid;
        assert!(of(&lab.world, "night").iter().all(|task| Some(&task.spec.session_ref.uid) == uid.as_ref()));
    });
}
