//! The guests as seen from their hypervisor: booting, addresses, powering off, and the facts that their inside gets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::Timestamp;

use super::World;
use super::config::Config;
use super::engine::Due;
use super::prop::{Net, Props};
use super::vm::{Guest, Run};
use super::vmm::Nudge;
use crate::clock::BootTime;
use crate::simulator::guest_exec::{GuestEnd, GuestFacts, GuestInterface, ReachableTarget};
use crate::simulator::scenario::{AgentPresence, BridgeSpec, GuestBehaviour, SegmentSpec};

impl World {
    /// Starts a machine's process. `settled` is for machines that have been up for long, `real`
    /// for those whose process a monitor runs.
    pub(crate) fn boot_up(&mut self, vmid: u32, settled: bool, real: bool) {
        let number = 1 + self.draw(u64::MAX - 1);
        let pid = 1000 + u32::try_from(self.draw(30_000)).unwrap_or(0);
        let Some(vm) = self.vms.get(&vmid) else { return };
        let config = vm.config.clone();
        let guest = self.boot_guest(vmid, &config, settled);
        let now = self.now();
        if let Some(vm) = self.vm_mut(vmid) {
            vm.boots += 1;
            vm.run = Some(Run { number, since: now, pid, paused: false, real, started_with: config, guest });
        }
        self.note(vmid);
    }

    fn boot_guest(&self, vmid: u32, config: &Config, settled: bool) -> Guest {
        let behaviour = self.behaviour(config);
        let boot = behaviour.boot.unwrap_or(self.scenario.timings.boot).span();
        let boot = if settled { Duration::ZERO } else { boot };
        let agent = match behaviour.agent {
            AgentPresence::Absent => None,
            AgentPresence::Present => Some(self.now().plus(boot)),
            AgentPresence::Slow => Some(self.now().plus(boot * 5)),
        };
        let name = config.get("name").unwrap_or("localhost").split('.').next().unwrap_or("localhost");
        let cloud_init = config.values.iter().filter(|(key, _)| is_cloud_init(key));
        Guest {
            booted_at: self.now(),
            up_at: (!behaviour.hangs).then(|| self.now().plus(boot)),
            agent_at: agent.filter(|_| !behaviour.hangs),
            down_at: None,
            interfaces: self.interfaces(vmid, config, &behaviour),
            disk_bytes: config.boot_disk_bytes(),
            cloud_init: cloud_init.map(|(key, value)| (key.clone(), value.clone())).collect(),
            hostname: name.to_owned(),
            next_pid: 111,
            programs: BTreeMap::new(),
        }
    }

    pub(crate) fn behaviour(&self, config: &Config) -> GuestBehaviour {
        self.scenario.behaviour_of(config.get("name").unwrap_or(""))
    }

    fn interfaces(&self, vmid: u32, config: &Config, behaviour: &GuestBehaviour) -> Vec<GuestInterface> {
        let nets: BTreeMap<u32, _> =
            config.nets().filter_map(|(key, net)| Some((key.strip_prefix("net")?.parse().ok()?, net))).collect();
        let cards = nets.into_iter().enumerate().map(|(place, (index, net))| {
            let bridge = net.bridge().unwrap_or("").to_owned();
            let spec = self.segment(&net);
            let down = net.rest.get("link_down") == Some("1");
            let wanted = config.get(&format!("ipconfig{index}"));
            let cloud_init = config.drives().any(|(_, drive)| drive.is_cloudinit());
            let (addresses, gateway) = match (wanted.filter(|_| cloud_init), spec) {
                (Some(text), spec) => address_of(text, vmid, spec.filter(|_| !down).as_ref(), behaviour.no_dhcp),
                // Without cloud-init the guest is taken to ask for an address by itself.
                (None, Some(spec)) if place == 0 && !down => lease(vmid, &spec, behaviour.no_dhcp),
                (None, _) => (Vec::new(), None),
            };
            let mac = net.mac.unwrap_or_default().to_lowercase();
            GuestInterface { name: format!("eth{place}"), mac, bridge, addresses, gateway }
        });
        cards.collect()
    }

    /// The network that a card is in; none if there is no such bridge.
    fn segment(&self, net: &Net) -> Option<SegmentSpec> {
        let bridge = self.scenario.bridges.iter().find(|spec| Some(spec.name.as_str()) == net.bridge())?;
        Some(bridge.segment(net.rest.get("tag").and_then(|tag| tag.parse().ok())))
    }

    /// The address that DHCP gives each network card; of two in one network, the first.
    pub(crate) fn leases(&self, vmid: u32, config: &Config) -> BTreeMap<String, Ipv4Addr> {
        let mut given = BTreeMap::new();
        for (key, net) in config.nets() {
            let Some((addresses, _)) = self.segment(&net).map(|segment| lease(vmid, &segment, false)) else { continue };
            if let Some((IpAddr::V4(address), _)) = addresses.first()
                && !given.values().any(|other| other == address)
            {
                given.insert(key.to_owned(), *address);
            }
        }
        given
    }

    /// The first IPv4 address of each network card, as its guest will have it.
    pub(crate) fn addresses(
        &self,
        vmid: u32,
        config: &Config,
        behaviour: &GuestBehaviour,
    ) -> BTreeMap<String, Ipv4Addr> {
        let keys = config.nets().map(|(key, _)| key.to_owned());
        let cards = keys.zip(self.interfaces(vmid, config, behaviour));
        cards
            .filter_map(|(key, card)| {
                let first = card.addresses.iter().find_map(|(address, _)| match address {
                    IpAddr::V4(address) => Some(*address),
                    IpAddr::V6(_) => None,
                });
                Some((key, first?))
            })
            .collect()
    }

    /// Asks a guest to go down; false if it does not react.
    pub(crate) fn ask_down(&mut self, vmid: u32) -> bool {
        let now = self.now();
        let Some(vm) = self.vms.get(&vmid) else { return false };
        let behaviour = self.behaviour(&vm.config);
        let span = behaviour.shutdown.unwrap_or(self.scenario.timings.shutdown).span();
        let Some(run) = self.vm_mut(vmid).and_then(|vm| vm.run.as_mut()) else { return false };
        if behaviour.ignores_shutdown || !run.is_up(now) {
            return false;
        }
        if run.guest.down_at.is_none() {
            run.guest.down_at = Some(now.plus(span));
            // The agent stops early on the way down.
            run.guest.agent_at = None;
            let number = run.number;
            self.plan(span, Due::GuestDown(vmid, number));
        }
        true
    }

    pub(super) fn guest_is_down(&mut self, vmid: u32, number: u64) {
        let gone = self.vms.get(&vmid).and_then(|vm| vm.run.as_ref()).is_some_and(|run| run.number == number);
        if gone {
            self.power_off(vmid);
        }
    }

    /// The process ends, whoever ended it; waiting changes are done.
    pub(crate) fn power_off(&mut self, vmid: u32) {
        self.end_process(vmid);
        self.lose_guest(vmid);
        let now = self.now();
        let Some(vm) = self.vm_mut(vmid) else { return };
        vm.exited_at = Some(now);
        vm.run = None;
        for (_, drive) in vm.config.apply_pending() {
            let key = vm.config.free_unused();
            let file = super::config::Drive::parse(&drive).file;
            vm.config.set(&key, file);
        }
        self.note(vmid);
    }

    /// Notes that what runs in a guest is gone, if a guest runs.
    pub(crate) fn lose_guest(&mut self, vmid: u32) {
        let now = self.now();
        let Some(vm) = self.vms.get(&vmid) else { return };
        let Some(run) = &vm.run else { return };
        let uptime = now.since(run.guest.booted_at);
        self.ended_guests.push(GuestEnd { life: vm.life.clone(), boots: vm.boots, uptime });
    }

    /// Ends the real process of a machine, if there is one.
    pub(crate) fn end_process(&mut self, vmid: u32) {
        if let Some(vmm) = self.vmm_of(vmid) {
            vmm.power_cut(vmid);
        }
    }

    /// The guest boots anew in the same process: a reset, or a reboot from inside.
    pub(crate) fn reboot_guest(&mut self, vmid: u32) {
        if let Some(vmm) = self.vmm_of(vmid) {
            vmm.nudge(vmid, Nudge::Reset);
        }
        self.lose_guest(vmid);
        let Some(run) = self.vms.get(&vmid).and_then(|vm| vm.run.as_ref()) else { return };
        let guest = self.boot_guest(vmid, &run.started_with, false);
        if let Some(vm) = self.vm_mut(vmid) {
            vm.boots += 1;
            if let Some(run) = vm.run.as_mut() {
                run.guest = guest;
            }
        }
    }

    /// What the inside of a running guest gets to know.
    pub(crate) fn facts(&self, vmid: u32) -> Option<GuestFacts> {
        let vm = self.vms.get(&vmid)?;
        let run = vm.run.as_ref()?;
        let (guest, behaviour) = (&run.guest, self.behaviour(&vm.config));
        let hosts = if behaviour.dns_dead { BTreeMap::new() } else { self.scenario.network.hosts.clone() };
        let clock = self.timestamp(self.now());
        let clock = clock.checked_add(jiff::SignedDuration::from_secs(behaviour.clock_offset)).unwrap_or(clock);
        let total = guest.disk_bytes;
        Some(GuestFacts {
            life: vm.life.clone(),
            boots: vm.boots,
            node: vm.node.clone(),
            vmid,
            vm_name: vm.shown_name(vmid),
            hostname: guest.hostname.clone(),
            interfaces: guest.interfaces.clone(),
            nameservers: name_servers(guest, &self.scenario.bridges),
            search_domains: words(guest.cloud_init.get("searchdomain")),
            hosts,
            reachable: reachable(&self.scenario.network.open, &behaviour),
            units: self.scenario.units.clone().into_iter().chain(behaviour.units).collect(),
            clock,
            booted_at: self.timestamp(guest.booted_at),
            uptime: self.now().since(guest.booted_at),
            cores: u32::try_from(run.started_with.vcpus()).unwrap_or(1),
            memory_bytes: run.started_with.memory_bytes(),
            disk_total_bytes: total,
            disk_free_bytes: behaviour.free_bytes.unwrap_or(total / 2).min(total),
            cloud_init: guest.cloud_init.clone(),
            behaviours: behaviour.more.into_iter().collect(),
            root: self.scenario.guest_root.as_ref().map(|root| root.join(&vm.life)),
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a wall clock in milliseconds")]
    pub(crate) fn timestamp(&self, at: BootTime) -> Timestamp {
        Timestamp::from_millisecond((self.wall_at(at) * 1000.0) as i64).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Whether an option is one of cloud-init's.
pub(crate) fn is_cloud_init(key: &str) -> bool {
    matches!(
        key,
        "ciuser" | "cipassword" | "citype" | "ciupgrade" | "cicustom" | "sshkeys" | "nameserver" | "searchdomain"
    ) || super::config::is_numbered(key, "ipconfig")
}

type Addresses = (Vec<(IpAddr, u8)>, Option<IpAddr>);

fn address_of(text: &str, vmid: u32, segment: Option<&SegmentSpec>, no_dhcp: bool) -> Addresses {
    let props = Props::parse(text);
    let (mut addresses, mut gateway) = (Vec::new(), None);
    match (props.get("ip"), segment) {
        (Some("dhcp"), Some(segment)) => (addresses, gateway) = lease(vmid, segment, no_dhcp),
        (Some(cidr), _) => addresses.extend(parse_cidr(cidr)),
        (None, _) => {}
    }
    addresses.extend(props.get("ip6").and_then(parse_cidr));
    gateway = props.get("gw").and_then(|text| text.parse().ok()).or(gateway);
    (addresses, gateway)
}

/// The address that a network's DHCP server gives a machine: one of the upper half, by VMID.
fn lease(vmid: u32, segment: &SegmentSpec, no_dhcp: bool) -> Addresses {
    let subnet = segment.subnet.as_deref().and_then(parse_cidr);
    let Some((IpAddr::V4(network), prefix)) = subnet else { return (Vec::new(), None) };
    if no_dhcp || !segment.dhcp || prefix > 30 {
        return (Vec::new(), None);
    }
    let size = 1u32 << (32 - u32::from(prefix));
    let host = size / 2 + vmid % (size / 2 - 1);
    let address = Ipv4Addr::from(u32::from(network) + host);
    (vec![(IpAddr::V4(address), prefix)], segment.gateway)
}

pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}

fn words(text: Option<&String>) -> Vec<String> {
    text.map(|text| text.split([' ', ',', ';']).filter(|word| !word.is_empty()).map(String::from).collect())
        .unwrap_or_default()
}

fn name_servers(guest: &Guest, bridges: &[BridgeSpec]) -> Vec<IpAddr> {
    let asked: Vec<_> = words(guest.cloud_init.get("nameserver")).iter().filter_map(|text| text.parse().ok()).collect();
    if !asked.is_empty() {
        return asked;
    }
    let first = guest.interfaces.first().filter(|card| !card.addresses.is_empty());
    let bridge = first.and_then(|card| bridges.iter().find(|spec| spec.name == card.bridge));
    bridge.and_then(|spec| spec.gateway).into_iter().collect()
}

fn reachable(open: &[String], behaviour: &GuestBehaviour) -> Vec<ReachableTarget> {
    let targets = open.iter().filter_map(|text| {
        let (host, port) = text.rsplit_once(':')?;
        let refused = behaviour.refuse.iter().any(|refused| refused == text || refused == host);
        (!refused).then(|| Some(ReachableTarget { host: host.to_owned(), port: port.parse().ok()? }))?
    });
    targets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_follow_the_vmid() {
        let segment = BridgeSpec::default().segment(None);
        let (addresses, _) = lease(110, &segment, false);
        assert_eq!(addresses, vec![("10.77.0.238".parse().unwrap(), 24)]);
        assert!(lease(110, &segment, true).0.is_empty());
        assert!(
            lease(110, &BridgeSpec::default().segment(Some(20)), false).0.is_empty(),
            "an unknown VLAN has no server"
        );
    }

    #[test]
    fn a_static_address_is_taken_as_written() {
        let (addresses, gateway) = address_of("ip=10.77.1.9/24,gw=10.77.1.1", 1, None, false);
        assert_eq!(addresses, vec![("10.77.1.9".parse().unwrap(), 24)]);
        assert_eq!(gateway, Some("10.77.1.1".parse().unwrap()));
    }
}
