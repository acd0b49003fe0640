//! A session of six tasks in two real guests: each command comes to its own end, whatever is killed meanwhile; and one
//! whose guest is rebooted under it is done again in the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::Api;
use serde_json::Value;
use stevedore::api::{WorkerSession, WorkerTask};
use stevedore::simulator::fault::{Effect, Rule};
use stevedore::simulator::scenario::{MachineSpec, Scenario};
use tokio::time::sleep;

use super::lab::report;
use super::site::Site;
use super::stage::scenario;
use super::tasks::{PASSWORD, UNSEEN};
use crate::installed::stage::NAMESPACE;

/// The protected VMs: an id, a host, and a name that says what their command does.
const VMS: [(u32, &str, &str); 7] = [
    (101, "pve1", "said"),
    (102, "pve1", "failed"),
    (103, "pve1", "long"),
    (104, "pve2", "signalled"),
    (105, "pve2", "endless"),
    (106, "pve2", "much"),
    (107, "pve1", "cut-off"),
];

/// What each command does. Each start is written down in the guest.
const COMMAND: &str = r#"echo "$STEVEDORE_VM_NAME $STEVEDORE_ATTEMPT" >>/root/begun; sync
case $STEVEDORE_VM_NAME in
said) printf 'gr\303\274\303\237e \342\234\223 %s\n' "$PASSWORD" ;;
failed) exit 3 ;;
long) sleep 150; echo "${#PASSWORD} letters" ;;
signalled) kill -KILL $$ ;;
endless) sleep 3000 ;;
much) head -c 104857600 /dev/zero | tr '\000' x; echo; echo the end ;;
cut-off) [ "$STEVEDORE_ATTEMPT" = 2 ] || sleep 3000; echo at last ;;
esac"#;

/// Waits until nothing is staged any more.
const STARTED: &str = "while find /run/stevedore/tasks -name command -size +0 | grep -q .; do sleep 1; done";

/// The small cluster with the protected VMs, which are off.
fn cluster() -> Scenario {
    let mut scenario = scenario(None);
    scenario.machines.extend(VMS.map(|(vmid, host, name)| MachineSpec {
        vmid,
        node: host.into(),
        running: false,
        config: [("name", name), ("net0", "virtio,bridge=vmbr0")].map(|(key, value)| (key.into(), value.into())).into(),
    }));
    scenario
}

fn session(name: &str, vms: &[(u32, &str, &str)]) -> String {
    let ids: Vec<String> = vms.iter().map(|(vmid, ..)| format!("{{id: \"{vmid}\"}}")).collect();
    let command = COMMAND.lines().flat_map(|line| ["        ", line, "\n"]).collect::<String>();
    format!(
        "apiVersion: stevedore.dev/v1alpha1\nkind: WorkerSession\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec:\n  type: Backup\n  hypervisorRef: {{name: pve}}\n  virtualMachines: [{}]\n\
         \x20 run:\n    timeout: 4m\n    secretEnv: {{name: login}}\n    command:\n      - /bin/sh\n      - -c\n      - |\n{command}",
        ids.join(", ")
    )
}

impl Site {
    async fn phase(&self, session: &str) -> Option<String> {
        let api = Api::<WorkerSession>::namespaced(self.stage.plane.client().await.unwrap(), NAMESPACE);
        api.get(session).await.unwrap().status?.phase
    }

    /// The tasks of a session, by the name of their VM.
    async fn of(&self, session: &str) -> BTreeMap<String, WorkerTask> {
        let api = Api::<WorkerTask>::namespaced(self.stage.plane.client().await.unwrap(), NAMESPACE);
        let mut tasks = api.list(&kube::api::ListParams::default()).await.unwrap().items;
        tasks.retain(|task| task.spec.session_ref.name == session);
        tasks.into_iter().map(|task| (task.spec.virtual_machine.name.clone().unwrap_or_default(), task)).collect()
    }

    /// Whether the task of this VM is in this phase.
    async fn is(&self, session: &str, vm: &str, phase: &str) -> bool {
        let tasks = self.of(session).await;
        let status = tasks.get(vm).and_then(|task| task.status.as_ref());
        status.is_some_and(|status| status.phase.as_deref() == Some(phase))
    }

    /// The VM of a worker.
    async fn vm_of(&self, worker: &str) -> u32 {
        self.named(worker).await.status.unwrap().vm.unwrap().id.unwrap().parse().unwrap()
    }
}

/// What is told of a task's end: phase, reason, exit code, and the last line of its output.
fn end(task: &WorkerTask) -> (String, String, Option<i32>, String) {
    let status = task.status.clone().unwrap_or_default();
    let output = status.output.unwrap_or_default();
    let last = output.lines().last().unwrap_or_default().to_owned();
    (status.phase.unwrap_or_default(), status.reason.unwrap_or_default(), status.exit_code, last)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn six_tasks_in_two_guests_come_to_their_ends() {
    let site = Site::open(cluster(), 2).await;
    let warm = "shutdown: {gracePeriod: 10m, delay: 1h}\n  maxConcurrentTasks: 3";
    let workers = [("w1", "pve1"), ("w2", "pve2")].map(|(name, host)| site.worker(name, host, "Manual", warm));
    let login = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: login, namespace: {NAMESPACE}}}\nstringData: {{PASSWORD: {PASSWORD}}}\n---\n"
    );
    site.stage.apply(&[login, workers.concat(), session("night", &VMS[..6])].concat()).await;
    all_come_to_their_ends(&site).await;
    what_is_cut_off_is_done_elsewhere(&site).await;

    let begun = Instant::now();
    let _operator = site.operator().await;
    for worker in ["w1", "w2"] {
        let patch = r#"{"spec": {"shutdown": {"delay": "0s"}}}"#;
        site.stage.kubectl(&["-n", NAMESPACE, "patch", "worker", worker, "--type=merge", "-p", patch]).await;
    }
    site.until("workers that are off", async || site.stage.running().is_empty()).await;
    report("sessions: the workers went down", begun);
    assert_eq!(site.calls("POST", "/status/stop").len(), 0, "each by itself");
    site.stage.plane.stop().await;
}

async fn all_come_to_their_ends(site: &Site) {
    let begun = Instant::now();
    let mut operator = site.operator().await;
    site.until("the long command", async || site.is("night", "long", "Running").await).await;
    report("sessions: two workers deployed, launched and tested, and a command that runs", begun);
    // Whatever can be away is: the operator, the guest's agent, and the hypervisor.
    operator.process.kill9();
    let w1 = site.vm_of("w1").await;
    // What a command is started by goes when it has started. What it prints is kept as it is, for root.
    site.machines.script(w1, STARTED, 0).await;
    site.machines.script(w1, &UNSEEN.replacen("grep", "grep --exclude=output", 1), 0).await;
    site.machines.script(w1, "systemd-run --quiet --on-active=1 systemctl restart qemu-guest-agent", 0).await;
    let refused = Rule::every("*", "*", Effect::DropBefore);
    site.stage.pve.faults().add(refused);
    let operator = site.stage.operator(0).await;
    sleep(Duration::from_secs(20)).await;
    site.stage.pve.faults().clear();

    let over = async || site.phase("night").await.as_deref() == Some("Failed");
    site.until("the end of the session", over).await;
    report("sessions: six tasks have ended", begun);
    let tasks = site.of("night").await;
    let ends: Vec<_> = VMS[..6].iter().map(|(_, _, name)| end(&tasks[*name])).collect();
    let told =
        |phase: &str, reason: &str, code, last: &str| (phase.to_owned(), reason.to_owned(), code, last.to_owned());
    assert_eq!(
        ends,
        [
            told("Succeeded", "Succeeded", Some(0), "grüße ✓ ***"),
            told("Failed", "CommandFailed", Some(3), ""),
            told("Succeeded", "Succeeded", Some(0), "20 letters"),
            told("Failed", "CommandFailed", None, ""),
            told("Failed", "TimedOut", None, ""),
            told("Succeeded", "Succeeded", Some(0), "the end"),
        ]
    );
    let signal = tasks["signalled"].status.clone().unwrap().message.unwrap();
    assert!(signal.contains("KILL"), "{signal}");
    let homes: Vec<Option<bool>> = tasks.values().map(|task| task.status.as_ref().unwrap().local).collect();
    assert_eq!(homes, [Some(true); 6]);
    for (worker, vms) in [("w1", "failed 1\nlong 1\nsaid 1"), ("w2", "endless 1\nmuch 1\nsignalled 1")] {
        let begun = site.machines.script(site.vm_of(worker).await, "sort /root/begun", 0).await;
        assert_eq!(begun, vms, "each was begun once, where its VM is");
    }
    drop(operator);
}

async fn what_is_cut_off_is_done_elsewhere(site: &Site) {
    let begun = Instant::now();
    let _operator = site.operator().await;
    site.stage.apply(&session("again", &VMS[6..])).await;
    site.until("a command in a warm worker", async || site.is("again", "cut-off", "Running").await).await;
    report("sessions: a command runs in a worker that was kept warm", begun);
    let w1 = site.vm_of("w1").await;
    site.machines.script(w1, "until grep -q cut-off /root/begun; do sleep 1; done", 0).await;
    site.stage.pve.world(|world| world.reboot_machine(w1));
    site.until("the second attempt", async || site.phase("again").await.as_deref() == Some("Succeeded")).await;
    report("sessions: its guest was rebooted, and the other did it", begun);
    let task = &site.of("again").await["cut-off"];
    assert_eq!(end(task).3, "at last");
    let status = serde_json::to_value(task.status.clone().unwrap()).unwrap();
    let told = ["worker", "attempt", "lostAttempts"].map(|field| status[field].clone());
    assert_eq!(told, [Value::from("w2"), Value::from(2), Value::from(1)]);
    let count = site.machines.script(site.vm_of("w2").await, "grep -c cut-off /root/begun", 0).await;
    assert_eq!(count, "1");
}
