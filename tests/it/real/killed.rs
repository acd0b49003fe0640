//! The operator is killed while a real guest boots, while it is checked and while it goes down, and started again each
//! time.

use std::ops::Deref;
use std::time::{Duration, Instant};

use stevedore::api::Worker;
use stevedore::controlplane::Replica;
use stevedore::domain::declare;
use tokio::time::sleep;

use super::lab::report;
use super::site::{PATIENCE, Site};
use super::stage::{disk_files, is_there, scenario};
use crate::installed::stage::{NAMESPACE, is_tested, is_worked_on};

const WORKER: &str = "w1";
const HOST: &str = "pve1";
/// Makes a guest take this long to go down, and no less, so that the next operator finds it on its way.
const LINGER: &str = "systemd-run --quiet --unit=lingers --property=Type=oneshot --property=RemainAfterExit=yes \
                      --property=ExecStop='/bin/sleep 45' --property=TimeoutStopSec=120 /bin/true";

/// The worker that all of it happens to.
struct Story(Site);

impl Deref for Story {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.0
    }
}

impl Story {
    async fn begin() -> Self {
        let site = Site::open(scenario(None), 1).await;
        site.stage.apply(&site.worker(WORKER, HOST, "OnChange", "shutdown: {gracePeriod: 10m}")).await;
        Self(site)
    }

    /// Waits until the VM was powered on so many times; its id.
    async fn until_powered_on(&self, times: usize) -> u32 {
        self.until_answered("POST", "/status/start", times).await;
        let vmid = self.the_vm();
        self.until("a process", async || self.machines.qemu().pid(vmid).is_some()).await;
        let begun = Instant::now();
        while self.tasks(HOST, vmid, "qmstart").await.iter().filter(|task| task["status"] == "OK").count() < times {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.tasks(HOST, vmid, "qmstart").await);
            sleep(Duration::from_millis(30)).await;
        }
        vmid
    }

    /// The id of the one VM that is there.
    fn the_vm(&self) -> u32 {
        let ours = self.stage.ours();
        assert_eq!(ours.len(), 1, "{ours:?}");
        ours.into_keys().next().unwrap()
    }

    async fn worker(&self) -> Worker {
        self.named(WORKER).await
    }

    /// Ends the operator at once; the operation that it leaves open is at this step.
    async fn kill(&self, operator: &mut Replica, kind: &str, step: &str) {
        operator.process.kill9();
        let worker = self.worker().await;
        assert!(is_worked_on(&worker), "{:?}", worker.status);
        let operation = worker.status.unwrap().operation.unwrap();
        let left = serde_json::to_value(operation).unwrap();
        assert_eq!((left["kind"].as_str(), left["step"].as_str()), (Some(kind), Some(step)), "{left}");
    }

    /// How many scripts were run in guests.
    fn execs(&self) -> usize {
        self.calls("POST", "/agent/exec").len()
    }

    async fn answers(&self, vmid: u32) -> bool {
        let path = format!("/nodes/{HOST}/qemu/{vmid}/agent/ping");
        self.machines.probe.send("POST", &path, &[]).await.status == 200
    }

    async fn orphans_and_deletions(&self) -> (usize, Vec<String>) {
        let status = self.stage.hypervisor().await.unwrap().status.unwrap();
        (status.orphans.len(), status.deletions.into_iter().map(|deletion| deletion.vm_id).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn killed_while_a_guest_boots_is_checked_and_goes_down() {
    let site = Story::begin().await;
    let vmid = tested(&site).await;
    came_to_rest(&site, vmid).await;
    deleted(&site, vmid).await;
    site.0.stage.plane.stop().await;
}

/// The test of the worker, under three operators that are killed and a fourth.
async fn tested(site: &Story) -> u32 {
    let begun = Instant::now();
    let mut operator = site.operator().await;
    let vmid = site.until_powered_on(1).await;
    let begun = reported("deployed and powered on; killed while the guest boots", begun);
    site.kill(&mut operator, "Test", "Start").await;
    assert!(!site.answers(vmid).await, "it booted too fast to be caught booting");

    let mut operator = site.operator().await;
    let booting = !site.answers(vmid).await;
    println!("           the next operator finds the guest {}", if booting { "booting" } else { "booted" });
    site.until_answered("POST", "/agent/exec", 1).await;
    let begun = reported("booted; killed while a check's script runs in the guest", begun);
    site.kill(&mut operator, "Test", "Start").await;
    // It asks one question after the other: of the first it did not see the end.
    assert_eq!(site.execs(), 1);
    assert!(site.worker().await.status.unwrap().last_test.is_none());
    site.machines.script(vmid, LINGER, 0).await;

    let mut operator = site.operator().await;
    let (begun, asked) = (reported("the guest made slow to go down, and an operator that leads", begun), site.execs());
    site.until_answered("POST", "/status/shutdown", 1).await;
    let asked = site.execs() - asked;
    let begun = reported(&format!("checked by {asked} scripts; killed while the guest goes down"), begun);
    site.kill(&mut operator, "Test", "ShutDown").await;
    assert_eq!(site.stage.running(), [vmid]);

    let operator = site.operator().await;
    println!("           the next operator finds {:?} running", site.stage.running());
    site.stage.until("a tested worker", |workers| workers.iter().all(is_tested)).await;
    reported("tested, and off", begun);
    drop(operator);
    vmid
}

/// Prints what took the time since `begun`; the time from which the next thing counts.
fn reported(what: &str, begun: Instant) -> Instant {
    report(&format!("killed: {what}"), begun);
    Instant::now()
}

/// Nothing is left of all the killing but one worker's VM, tested and off.
async fn came_to_rest(site: &Story, vmid: u32) {
    let worker = site.worker().await;
    let status = worker.status.clone().unwrap();
    let (test, mark) = (status.last_test.unwrap(), site.stage.pve.world(|world| world.option(vmid, "description")));
    let failed: Vec<_> = test.checks.iter().filter(|check| check.result != "Passed").collect();
    assert!(failed.is_empty(), "{failed:?}");
    let hash = declare::declared(&worker, "any").unwrap().spec_hash;
    assert_eq!(test.config_hash.as_deref(), Some(hash.as_str()));
    assert!(mark.unwrap().contains(&worker.metadata.uid.unwrap()));
    assert_eq!(site.the_vm(), vmid);
    assert_eq!(["/download-url", "/qemu", "/clone"].map(|end| site.calls("POST", end).len()), [1, 1, 0]);
    assert_eq!((site.stage.running(), site.machines.qemu().pid(vmid)), (vec![], None));
    // One power-on for one boot, however many operators saw to it; and the guest went down by itself.
    let starts = site.tasks(HOST, vmid, "qmstart").await;
    assert_eq!((starts.len(), site.calls("POST", "/status/start").len()), (1, 1), "{starts:?}");
    assert_eq!(site.calls("POST", "/status/stop").len(), 0);
    assert_eq!(site.orphans_and_deletions().await, (0, vec![]));
    let shutdowns = site.calls("POST", "/status/shutdown").len();
    println!(
        "           1 VM, 1 download, 1 create call, 1 power-on, {shutdowns} shutdown calls, {} checks passed",
        test.checks.len()
    );
}

/// A second test is under way when the Worker is deleted; the operator is killed as it boots the guest, and again as
/// it tells it to go down.
async fn deleted(site: &Story, vmid: u32) {
    let begun = Instant::now();
    let mut operator = site.operator().await;
    let request = "stevedore.dev/test-requested-at=again";
    site.stage.kubectl(&["-n", NAMESPACE, "annotate", "worker", WORKER, request]).await;
    site.until_powered_on(2).await;
    site.kill(&mut operator, "Test", "Start").await;
    assert!(!site.answers(vmid).await, "it booted too fast to be caught booting");
    let begun = reported("a second test: killed while the guest boots", begun);
    site.machines.wait_for_agent(vmid).await;
    let boots = site.machines.script(vmid, "journalctl --list-boots --no-pager | grep -c -v IDX", 0).await;
    assert_eq!(boots, "2", "the guest's own count of its boots");
    site.machines.script(vmid, LINGER, 0).await;
    site.stage.kubectl(&["-n", NAMESPACE, "delete", "worker", WORKER, "--wait=false"]).await;
    let process = site.machines.qemu().pid(vmid).unwrap();
    let before = site.calls("POST", "/status/shutdown").len();

    let mut operator = site.operator().await;
    site.until_answered("POST", "/status/shutdown", before + 1).await;
    let begun = reported("booted, and its Worker deleted; killed while the guest goes down", begun);
    site.kill(&mut operator, "Delete", "ShutDown").await;
    assert_eq!(site.stage.running(), [vmid]);

    let _operator = site.operator().await;
    println!("           the next operator finds {:?} running", site.stage.running());
    site.stage.until("no worker", <[Worker]>::is_empty).await;
    reported("deleted", begun);
    assert!(!is_there(process));
    let left = site.stage.pve.world(|world| world.volumes_of(vmid));
    assert_eq!((site.stage.ours().len(), left, disk_files(site.machines.qemu(), vmid)), (0, vec![], vec![]));
    assert_eq!(["/qemu", "/status/start"].map(|end| site.calls("POST", end).len()), [1, 2]);
    assert_eq!(site.calls("POST", "/status/stop").len(), 0);
    let deletes = site.calls("DELETE", &format!("/qemu/{vmid}"));
    assert_eq!((deletes.len(), site.orphans_and_deletions().await), (1, (0, vec![vmid.to_string()])));
}
