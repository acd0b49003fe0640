//! Thousands of machines.

use std::time::Duration;

use stevedore::simulator::scenario::MachineSpec;

use super::probe::Probe;

#[tokio::test(start_paused = true)]
async fn ten_thousand_machines_fit_into_one_world() {
    let probe = Probe::demo();
    probe.simulator.world(|world| {
        for vmid in 10_000..20_000u32 {
            let options =
                [("name", format!("worker-{vmid}")), ("scsi0", format!("local-lvm:vm-{vmid}-disk-0,size=8G"))];
            let config = options.map(|(key, value)| (key.to_owned(), value)).into();
            world.add_machine(&MachineSpec {
                vmid,
                node: format!("pve{}", vmid % 3 + 1),
                running: vmid % 2 == 0,
                config,
            });
        }
    });
    tokio::time::sleep(Duration::from_secs(15)).await;
    let all = probe.send("GET", "/cluster/resources", &[("type", "vm")]).await.ok();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 10_006);
    let running = all.iter().filter(|entry| entry["status"] == "running").count();
    assert_eq!(running, 5002);
    assert_eq!(probe.run("DELETE", "/nodes/pve3/qemu/10001", &[]).await, "OK");
}
