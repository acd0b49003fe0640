//! The demo with real guests: two workers whose VMs are processes of QEMU that boot one image by URL. The VMs that their
//! session is about are only declared: nobody reads what is in them.

use std::path::Path;

use super::DemoError;
use crate::simulator::image_server::ImageServer;
use crate::simulator::qemu::ImageInfo;
use crate::simulator::scenario::{MachineSpec, QemuSpec, Release, Scenario};

/// The router of the guests' network, at which they reach the simulated API.
const ROUTER: &str = "10.77.0.1";
/// More than a small worker needs, and little enough for two of them on a small machine.
const MEMORY_MIB: u64 = 1024;

/// An image behind a URL.
#[derive(Debug)]
pub(super) struct Image {
    server: ImageServer,
    info: ImageInfo,
}

impl Image {
    /// Serves a file.
    pub(super) async fn serve(file: &Path) -> Result<Self, DemoError> {
        let info = ImageInfo::of(file)?;
        let what = || format!("serving {}", file.display());
        let server = ImageServer::start(file).await.map_err(|source| DemoError::Io { what: what(), source })?;
        Ok(Self { server, info })
    }

    /// The two workers: one that is tested at once, and one that is made when a session needs it. The guests' network
    /// leads to no package repository.
    pub(super) fn workers(&self) -> String {
        let dhcp = "{name: lan, bridge: vmbr0}";
        let fixed = format!(
            "{{name: lan, bridge: vmbr0, ipv4: {{method: Static, address: 10.77.0.42/24, gateway: {ROUTER}}}}}"
        );
        let first = self.worker(("real-1", "pve1", "OnChange"), dhcp, "");
        first + &self.worker(("real-2", "pve2", "Manual"), &fixed, &format!("[{ROUTER}]"))
    }

    fn worker(&self, (name, host, policy): (&str, &str, &str), network: &str, dns: &str) -> String {
        let (url, checksum) = (self.server.url(), &self.info.checksum);
        let dns = if dns.is_empty() { String::new() } else { format!("\n  dns: {{servers: {dns}}}") };
        format!(
            "---
apiVersion: stevedore.dev/v1alpha1
kind: Worker
metadata: {{name: {name}, namespace: {}}}
spec:
  hypervisorRef: {{name: pve}}
  proxmox: {{host: {host}, storage: local-lvm, imageStorage: local}}
  image: {{url: {url:?}, checksum: {checksum:?}}}
  resources: {{cpus: 1, memory: {MEMORY_MIB}Mi, disk: 8Gi}}
  networks: [{network}]{dns}
  service: {{unit: ssh.service}}
  checks: {{connect: [{{name: repository, host: repo.lab, port: 443}}]}}
  test: {{policy: {policy}}}
  updates: {{policy: Never}}
",
            super::EXAMPLES
        )
    }
}

/// The world of the examples with real machines, and of those that were there before only the VMs of the session. They are
/// off, and have no disks.
pub(super) fn scenario() -> Scenario {
    let machines = Scenario::default_demo().machines.into_iter().filter(|machine| [101, 102].contains(&machine.vmid));
    let machines = machines.map(|machine| {
        let mut config = machine.config;
        config.retain(|key, _| key == "name" || key == "memory");
        MachineSpec { running: false, config, ..machine }
    });
    let qemu = QemuSpec { max_memory_mib: Some(MEMORY_MIB), max_cores: Some(1), ..QemuSpec::default() };
    Scenario { qemu: Some(qemu), machines: machines.collect(), ..Scenario::with_real_guests(Release::V9, None) }
}

/// The endpoints of the Hypervisor: the operator reaches the first, the guests the second.
pub(super) fn endpoints(first: &str) -> String {
    let port = first.rsplit_once(':').map_or("8006", |(_, port)| port);
    format!("{first}\n    - https://{ROUTER}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_reach_the_api_at_their_router() {
        assert_eq!(endpoints("127.0.0.1:4711"), "127.0.0.1:4711\n    - https://10.77.0.1:4711");
    }

    #[test]
    fn the_vms_of_the_session_are_there_and_need_no_room() {
        let machines = scenario().machines;
        let example = include_str!("../../examples/sessions/10-commands.yaml");
        assert!(example.contains("- name: files") && example.contains("- id: \"102\""));
        assert_eq!(
            machines.iter().map(|one| (one.vmid, one.node.as_str())).collect::<Vec<_>>(),
            [(101, "pve1"), (102, "pve2")]
        );
        assert_eq!(machines[0].config["name"], "files");
        assert!(machines.iter().all(|one| !one.running && one.config.len() == 2), "{machines:?}");
    }
}
