//! The updates of a worker's packages as its owner sees them: with the operator, a simulated Proxmox VE and the Kubernetes API
//! in memory, in virtual time.

use std::time::Duration;

use serde_json::{Value, json};
use stevedore::api::conditions::Condition;
use stevedore::api::{Worker, WorkerStatus};
use stevedore::simulator::fault::LoggedCall;
use stevedore::simulator::scenario::Scenario;

use crate::crash::mishaps::{Loss, erase};
use crate::crash::operator::Operator;
use crate::crash::world::{NAMESPACE, World, base64, in_virtual_time, is_tested, seed, worker};

/// Long enough for every time-out on the way.
const LONG: Duration = Duration::from_secs(4 * 3600);

/// A world with one operator, and one worker whose packages are updated.
struct Lab {
    world: World,
    operator: Operator,
}

impl Lab {
    /// `meets`: what the updates in all guests meet; `updates`: what is declared of them.
    async fn of(meets: Value, updates: Value) -> Self {
        let guests = vec![serde_json::from_value(json!({"name": "*", "updates": meets})).unwrap()];
        let world = World::with(seed(), Scenario { guests, ..Scenario::default_demo() }, json!({})).await;
        let operator = world.operator();
        world.create(worker("w1", &json!({"spec": {"updates": updates}}))).await;
        Self { world, operator }
    }

    async fn until(&mut self, is: impl Fn(&Worker) -> bool) -> WorkerStatus {
        let find = async |world: &World| world.worker("w1").await.filter(|worker| is(worker));
        let done = self.operator.run(LONG, async |world| find(world).await.is_some()).await;
        let status = self.world.worker("w1").await.unwrap().status;
        assert!(done, "{status:#?}");
        status.unwrap()
    }

    /// Waits until the worker passed its test and is off.
    async fn tested(&mut self) -> WorkerStatus {
        self.until(is_tested).await
    }

    /// Waits until the worker failed its test and is off.
    async fn failed(&mut self) -> WorkerStatus {
        self.until(|worker| {
            let status = worker.status.clone().unwrap_or_default();
            let failed = status.last_test.as_ref().is_some_and(|test| test.result == "Failed");
            failed && status.operation.is_none() && status.phase.as_deref() == Some("ShutDown")
        })
        .await
    }

    /// A person asks for another test, and waits for it.
    async fn asked(&mut self, value: &str) -> WorkerStatus {
        let annotation = json!({"metadata": {"annotations": {"stevedore.dev/test-requested-at": value}}});
        self.world.edit("w1", annotation).await;
        self.until(|worker| {
            let handled = worker.status.as_ref().and_then(|status| status.last_handled_test_request.as_deref());
            is_tested(worker) && handled == Some(value)
        })
        .await
    }

    /// How often a script that changes something was run in a guest.
    fn ran(&self, script: &str) -> usize {
        self.world.effects().iter().filter(|call| runs(call, script)).count()
    }
}

fn runs(call: &LoggedCall, script: &str) -> bool {
    call.params.iter().any(|(_, value)| value.contains(&format!("record script {script} ")))
}

fn packages(status: &WorkerStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == "PackagesCurrent")
}

/// The answer, the reason and the message of `PackagesCurrent`.
fn said(status: &WorkerStatus) -> [&str; 3] {
    let condition = packages(status).unwrap();
    [&condition.status, &condition.reason, &condition.message]
}

#[test]
fn a_test_updates_the_packages_and_reboots_if_they_ask_for_it() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"pending": 2, "reboot": true, "takes": 30}), json!({})).await;
        let status = lab.tested().await;
        let update = status.last_update.clone().unwrap();
        let told = (update.result.as_str(), update.packages, update.pending, update.rebooted);
        assert_eq!(told, ("Succeeded", 2, 0, true));
        assert_eq!(update.operation, status.last_test.clone().unwrap().operation.unwrap());
        assert!(update.finished_at.0 < status.last_test.clone().unwrap().finished_at.0);
        let message = "2 packages updated by apt; the worker was rebooted";
        assert_eq!(said(&status), ["True", "PackagesCurrent", message]);
        assert_eq!((lab.ran("update"), lab.ran("update_reboot")), (1, 1));
        // What is current is left alone.
        let status = lab.asked("again").await;
        let update = status.last_update.clone().unwrap();
        assert_eq!((update.packages, update.rebooted), (0, false));
        assert_eq!(said(&status), ["True", "PackagesCurrent", "no package had to be updated by apt"]);
        assert_eq!((lab.ran("update"), lab.ran("update_reboot")), (2, 1));
    });
}

#[test]
fn an_update_that_fails_is_told_and_the_worker_is_used_all_the_same() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"fails": "404  Not Found"}), json!({})).await;
        let status = lab.tested().await;
        let [answer, reason, message] = said(&status);
        assert_eq!((answer, reason), ("False", "UpdateFailed"));
        assert!(message.contains("the update of the packages by apt failed: 404  Not Found"), "{message}");
        assert_eq!(status.last_update.unwrap().result, "Failed");
    });
}

#[test]
fn where_that_is_declared_an_update_that_fails_fails_the_test_behind_checks_that_passed() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"fails": "404  Not Found"}), json!({"onFailure": "Fail"})).await;
        let status = lab.failed().await;
        let checks = status.last_test.clone().unwrap().checks;
        let (last, others) = checks.split_last().unwrap();
        assert_eq!((last.name.as_str(), last.result.as_str()), ("updates", "Failed"));
        assert!(last.message.as_ref().unwrap().contains("404  Not Found"), "{last:?}");
        assert!(others.len() > 3 && others.iter().all(|check| check.result == "Passed"), "{others:?}");
        assert_eq!(said(&status)[1], "UpdateFailed");
        assert!(!status.vm.unwrap().addresses.is_empty());
        // A later edit of that wish alone is enough.
        lab.world.edit("w1", json!({"spec": {"updates": {"onFailure": "Warn"}}})).await;
        lab.tested().await;
    });
}

#[test]
fn an_update_has_its_time_and_no_more() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"lock": "1234 (unattended-upgr)"}), json!({"timeout": "2m"})).await;
        let status = lab.tested().await;
        assert_eq!(status.last_update.as_ref().unwrap().result, "TimedOut");
        let message = said(&status)[2];
        assert!(message.contains("longer than updates.timeout: Could not get lock"), "{message}");
        assert!(message.ends_with("held by process 1234 (unattended-upgr)"), "{message}");
    });
}

#[test]
fn without_the_wish_there_is_no_update_and_no_word_of_one() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"pending": 2}), json!({"policy": "Never"})).await;
        let status = lab.tested().await;
        assert!(packages(&status).is_none() && status.last_update.is_none());
        assert_eq!(lab.ran("update"), 0);
        lab.world.edit("w1", json!({"spec": {"updates": {"policy": "OnLaunch"}}})).await;
        let status = lab.asked("now").await;
        assert_eq!(said(&status)[0], "True");
        lab.world.edit("w1", json!({"spec": {"updates": {"policy": "Never"}}})).await;
        lab.until(|worker| packages(worker.status.as_ref().unwrap()).is_none()).await;
    });
}

#[test]
fn a_login_for_the_proxy_comes_out_of_its_secret_and_is_nowhere_else() {
    const PASSWORD: &str = "hunter2 & more";
    in_virtual_time(async {
        let way = "http://ann:hunter2%20%26%20more@proxy.lab:3128/";
        let proxy = json!({"url": "http://proxy.lab:3128", "credentialsSecretRef": {"name": "proxy-login"}});
        let mut lab = Lab::of(json!({"pending": 1, "proxy": way}), json!({"proxy": proxy})).await;
        let status = lab.tested().await;
        let [answer, reason, message] = said(&status);
        assert_eq!((answer, reason), ("False", "UpdateFailed"));
        assert!(message.contains("there is no Secret proxy-login"), "{message}");
        assert_eq!(lab.ran("update"), 0);
        lab.world
            .create(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "proxy-login", "namespace": NAMESPACE},
                "data": {"username": base64("ann"), "password": base64(PASSWORD)},
            }))
            .await;
        let status = lab.asked("now").await;
        assert_eq!(said(&status)[0], "True", "{:?}", said(&status));
        for write in lab.world.kube.writes() {
            let text = format!("{:?}", write.call);
            assert!(!text.contains(PASSWORD) && !text.contains("hunter2%20"), "{text}");
        }
        let calls = lab.world.effects();
        let params: Vec<&(String, String)> = calls.iter().flat_map(|call| &call.params).collect();
        let told = params.iter().filter(|(_, value)| value.contains("hunter2"));
        // What goes to a program's standard input is not written down there.
        assert!(params.iter().any(|(name, _)| name == "input-data"));
        assert_eq!(told.count(), 0);
    });
}

#[test]
fn a_worker_is_updated_before_its_first_task_runs() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"pending": 1, "takes": 300}), json!({})).await;
        lab.world.edit("w1", json!({"spec": {"test": {"maxAge": "24h"}}})).await;
        lab.tested().await;
        let before = lab.world.effects().len();
        lab.world
            .create(json!({
                "apiVersion": "stevedore.dev/v1alpha1", "kind": "WorkerSession",
                "metadata": {"name": "nightly", "namespace": NAMESPACE},
                "spec": {
                    "type": "Backup", "hypervisorRef": {"name": "lab"}, "run": {"command": ["sleep", "60"]},
                    "virtualMachines": [{"id": "101"}],
                },
            }))
            .await;
        let succeeded = async |world: &World| {
            let session = world.all_sessions().into_iter().next().and_then(|session| session.status);
            session.is_some_and(|status| status.phase.as_deref() == Some("Succeeded"))
        };
        assert!(lab.operator.run(LONG, succeeded).await, "{:#?}", lab.world.all_sessions());
        let inside: Vec<&str> = lab.world.effects()[before..]
            .iter()
            .filter_map(|call| ["update", "task_start"].into_iter().find(|script| runs(call, script)))
            .collect();
        assert_eq!(inside, ["update", "task_start"]);
        let status = lab.world.worker("w1").await.unwrap().status.unwrap();
        assert_eq!(status.last_update.unwrap().packages, 0, "the test had updated it");
        assert_eq!(lab.world.guests.cut_off(), 0);
    });
}

#[test]
fn an_edit_does_not_power_a_worker_off_in_the_middle_of_its_update() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"pending": 1, "takes": 900}), json!({})).await;
        let updating = async |world: &World| !world.guests.updates().is_empty();
        assert!(lab.operator.run(LONG, updating).await);
        lab.world.edit("w1", json!({"spec": {"resources": {"memory": "7Gi"}}})).await;
        let status = lab.tested().await;
        assert_eq!(status.resources.unwrap().memory.to_string(), "7Gi");
        assert_eq!(lab.world.guests.cut_off(), 0);
        assert_eq!(lab.ran("update"), 2);
    });
}

#[test]
fn who_has_lost_the_operation_waits_for_its_update_before_it_powers_off() {
    in_virtual_time(async {
        let mut lab = Lab::of(json!({"pending": 1, "takes": 900}), json!({})).await;
        let updating = async |world: &World| !world.guests.updates().is_empty();
        assert!(lab.operator.run(LONG, updating).await);
        erase(&lab.world, Loss::Operation).await;
        let waits = |worker: &Worker| {
            let conditions = worker.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            conditions.iter().any(|condition| condition.message.contains("stevedore-update-"))
        };
        lab.until(waits).await;
        lab.tested().await;
        assert_eq!(lab.world.guests.cut_off(), 0);
    });
}
