//! The guests' network: a network namespace of the simulator's own, with a bridge for each bridge and VLAN of the
//! scenario.
//!
//! On each segment answers dnsmasq, by DHCP and for names. Targets that the scenario opens are real listeners; a target
//! that is filtered for a guest is a routing rule that swallows its packets, so that no firewall is needed. Bridges with
//! a VLAN tag in their name are what Proxmox VE itself makes for a bridge that is not VLAN aware; nobody sees a
//! difference from within a guest.

mod namespace;
mod rules;
mod segment;
mod targets;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use self::namespace::Namespace;
use self::segment::Segment;
use self::targets::Targets;
use super::error::QemuError;
use super::machine::tap;
use super::tools::Tools;
use crate::simulator::scenario::{BridgeSpec, GuestBehaviour, NetworkSpec, Scenario};
use crate::simulator::world::prop::Net;
use crate::simulator::world::vmm::PowerOn;
use crate::watchdog::Watchdog;

/// A bridge and a VLAN tag on it.
type Place = (String, Option<u16>);

/// The network. Dropping it ends all that answers there; the namespace goes with its last process.
#[derive(Debug)]
pub(super) struct Network {
    // Ended before the thread that they were started on.
    segments: Mutex<BTreeMap<Place, Segment>>,
    _targets: Targets,
    /// Rules that hold for one guest, and the taps of its cards.
    guests: Mutex<BTreeMap<u32, Guest>>,
    namespace: Arc<Namespace>,
    bridges: Vec<BridgeSpec>,
    offers: NetworkSpec,
    folder: PathBuf,
    tools: Tools,
    watchdog: Arc<Watchdog>,
}

/// What one guest has in the network.
#[derive(Debug, Default)]
struct Guest {
    taps: Vec<String>,
    rules: Vec<String>,
}

impl Network {
    /// Builds the network of a scenario; its files lie in `folder`.
    pub(super) fn build(
        scenario: &Scenario,
        tools: &Tools,
        folder: PathBuf,
        watchdog: &Arc<Watchdog>,
    ) -> Result<Self, QemuError> {
        File::options().read(true).write(true).open("/dev/net/tun").map_err(QemuError::Tun)?;
        let namespace = Arc::new(Namespace::make(tools)?);
        let offers = scenario.network.clone();
        namespace.ip(&rules::first())?;
        namespace.forward()?;
        namespace.ip(&own_addresses(&offers, &scenario.bridges))?;
        let targets = Targets::open(&namespace, &offers)?;
        let network = Self {
            segments: Mutex::default(),
            _targets: targets,
            guests: Mutex::default(),
            namespace,
            bridges: scenario.bridges.clone(),
            offers,
            folder,
            tools: tools.clone(),
            watchdog: watchdog.clone(),
        };
        for bridge in &scenario.bridges {
            for tag in std::iter::once(None).chain(bridge.vlans.keys().copied().map(Some)) {
                network.need((bridge.name.clone(), tag))?;
            }
        }
        Ok(network)
    }

    /// The thread whose processes are in the namespace.
    pub(super) fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Listens on `port` of every router, so that guests reach what the machine around them serves.
    pub(super) fn listen_on_gateways(&self, port: u16) -> Result<Vec<TcpListener>, QemuError> {
        let addresses: Vec<_> = self.gateways().into_iter().map(|gateway| SocketAddr::new(gateway, port)).collect();
        addresses.into_iter().map(|address| self.namespace.listen(address)).collect()
    }

    /// Addresses of the routers.
    pub(super) fn gateways(&self) -> Vec<IpAddr> {
        let vlans = self.bridges.iter().flat_map(|bridge| bridge.vlans.values().filter_map(|vlan| vlan.gateway));
        let mut all: Vec<IpAddr> = self.bridges.iter().filter_map(|bridge| bridge.gateway).chain(vlans).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Makes the segment of a place unless it is there.
    fn need(&self, place: Place) -> Result<(), QemuError> {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if segments.contains_key(&place) {
            return Ok(());
        }
        let spec = self.bridges.iter().find(|bridge| bridge.name == place.0);
        let spec = spec.map(|bridge| bridge.segment(place.1)).unwrap_or_default();
        let name = segment::name(&place.0, place.1);
        let folder = self.folder.join(&name);
        let segment =
            Segment::start(&self.namespace, &self.tools, &name, &spec, &self.offers, &folder, &self.watchdog)?;
        segments.insert(place, segment);
        Ok(())
    }

    /// Makes the taps of a machine and what its guest is to find in the network.
    pub(super) fn plug(&self, order: &PowerOn) -> Result<(), QemuError> {
        self.unplug(order.vmid);
        let mut guest = Guest { rules: self.rules(order), taps: Vec::new() };
        let mut commands = Vec::new();
        for (key, net) in order.config.nets() {
            let place = place(&net);
            self.need(place.clone())?;
            let tap = tap(order.vmid, key);
            commands.push(format!("tuntap add {tap} mode tap"));
            commands.push(format!("link set {tap} master {} up", segment::name(&place.0, place.1)));
            guest.taps.push(tap);
            self.register(&place, &net, order.leases.get(key).copied(), &order.behaviour)?;
        }
        commands.extend(guest.rules.iter().map(|rule| format!("rule add {rule}")));
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).insert(order.vmid, guest);
        self.namespace.ip(&commands)
    }

    /// Tells the DHCP server of a segment what it does about a card.
    fn register(
        &self,
        place: &Place,
        net: &Net,
        lease: Option<Ipv4Addr>,
        behaviour: &GuestBehaviour,
    ) -> Result<(), QemuError> {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let mac = net.mac.as_deref().unwrap_or("").to_lowercase();
        match segments.get_mut(place) {
            Some(segment) => segment.register(&mac, lease, behaviour.no_dhcp),
            None => Ok(()),
        }
    }

    /// What is swallowed for a guest: by the address that it has on each card.
    fn rules(&self, order: &PowerOn) -> Vec<String> {
        let filtered = order.behaviour.more.get("filtered").and_then(serde_json::Value::as_array);
        let filtered: Vec<&str> = filtered.into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        let addresses = order.addresses.values().copied();
        addresses.flat_map(|from| rules::of_guest(from, order.behaviour.dns_dead, &filtered, &self.offers)).collect()
    }

    /// Takes away what a machine had.
    pub(super) fn unplug(&self, vmid: u32) {
        let guest = self.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(&vmid);
        let Some(guest) = guest else { return };
        let taps = guest.taps.iter().map(|tap| format!("link del {tap}"));
        let commands: Vec<_> = taps.chain(guest.rules.iter().map(|rule| format!("rule del {rule}"))).collect();
        self.namespace.ip_all(&commands);
    }
}

fn place(net: &Net) -> Place {
    let tag = net.rest.get("tag").and_then(|tag| tag.parse().ok());
    (net.bridge().unwrap_or("").to_owned(), tag)
}

/// Names that resolve are machines that are there: their addresses are the namespace's own, on no wire in particular.
fn own_addresses(offers: &NetworkSpec, bridges: &[BridgeSpec]) -> Vec<String> {
    let gateways: Vec<IpAddr> = bridges.iter().filter_map(|bridge| bridge.gateway).collect();
    let numbers = offers.open.iter().filter_map(|target| target.rsplit_once(':')?.0.parse().ok());
    let mut all: Vec<IpAddr> = offers.hosts.values().flatten().copied().chain(numbers).collect();
    all.retain(|address| !gateways.contains(address) && !address.is_loopback());
    all.sort_unstable();
    all.dedup();
    all.iter().map(|address| format!("addr add {address} dev lo")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_address_once() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let offers = NetworkSpec {
            hosts: BTreeMap::from([("a".into(), vec![at("10.77.0.3")]), ("b".into(), vec![at("10.77.0.3")])]),
            open: vec!["10.77.0.4:80".into(), "a:443".into(), "10.77.0.1:8006".into(), "127.0.0.1:8006".into()],
        };
        let bridges = [BridgeSpec { gateway: Some(at("10.77.0.1")), ..BridgeSpec::default() }];
        let commands = own_addresses(&offers, &bridges);
        assert_eq!(commands, ["addr add 10.77.0.3 dev lo", "addr add 10.77.0.4 dev lo"]);
    }
}
