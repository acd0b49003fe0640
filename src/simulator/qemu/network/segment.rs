//! One segment: a Linux bridge, the router's address on it, and dnsmasq behind that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};

use super::super::error::QemuError;
use super::super::tools::Tools;
use super::namespace::Namespace;
use crate::simulator::scenario::{NetworkSpec, SegmentSpec};
use crate::simulator::world::guests::parse_cidr;
use crate::watchdog::Watchdog;

/// A segment. Dropping it ends its name and address service.
#[derive(Debug)]
pub(super) struct Segment {
    service: Option<Service>,
}

#[derive(Debug)]
struct Service {
    dnsmasq: Child,
    /// The file that says what each card gets, and its content by hardware address.
    hosts: PathBuf,
    cards: BTreeMap<String, String>,
    watchdog: Arc<Watchdog>,
}

/// The Linux bridge of a bridge and a VLAN tag on it.
pub(super) fn name(bridge: &str, tag: Option<u16>) -> String {
    tag.map_or_else(|| bridge.to_owned(), |tag| format!("{bridge}v{tag}"))
}

impl Segment {
    /// Makes the bridge and starts what answers on it; its files lie in `folder`.
    pub(super) fn start(
        namespace: &Arc<Namespace>,
        tools: &Tools,
        name: &str,
        spec: &SegmentSpec,
        offers: &NetworkSpec,
        folder: &Path,
        watchdog: &Arc<Watchdog>,
    ) -> Result<Self, QemuError> {
        let own = Own::of(spec);
        let mut commands = vec![format!("link add {name} type bridge")];
        commands.extend(own.as_ref().map(|own| format!("addr add {}/{} dev {name}", own.address, own.prefix)));
        commands.push(format!("link set {name} up"));
        namespace.ip(&commands)?;
        let Some(own) = own else { return Ok(Self { service: None }) };
        fs::create_dir_all(folder).map_err(QemuError::file("create", folder))?;
        let hosts = folder.join("dhcp-hosts");
        fs::write(&hosts, "").map_err(QemuError::file("write", &hosts))?;
        let log = folder.join("dnsmasq.log");
        let log = File::create(&log).map_err(QemuError::file("create", &log))?;
        let mut command = Command::new(&tools.dnsmasq);
        command.args(arguments(name, spec, &own, offers, folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let dnsmasq = namespace.spawn(command, watchdog).map_err(|error| QemuError::Network {
            command: tools.dnsmasq.display().to_string(),
            said: error.to_string(),
        })?;
        let service = Service { dnsmasq, hosts, cards: BTreeMap::new(), watchdog: watchdog.clone() };
        Ok(Self { service: Some(service) })
    }

    /// Says what DHCP gives to a card: this address, any, or no answer.
    pub(super) fn register(&mut self, mac: &str, lease: Option<Ipv4Addr>, ignore: bool) -> Result<(), QemuError> {
        let Some(service) = &mut self.service else { return Ok(()) };
        let answer = match (ignore, lease) {
            (true, _) => "ignore".to_owned(),
            (false, Some(address)) => address.to_string(),
            (false, None) => return Ok(()),
        };
        service.cards.insert(mac.to_owned(), answer);
        // Whose address another card has now, is gone.
        let lines = service.cards.iter().fold(String::new(), |mut text, (mac, answer)| {
            let _ = writeln!(text, "{mac},{answer}");
            text
        });
        fs::write(&service.hosts, lines).map_err(QemuError::file("write", &service.hosts))?;
        // Only a process that was not waited for yet still owns its number.
        if matches!(service.dnsmasq.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&service.dnsmasq), Signal::HUP);
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
        self.watchdog.forget(self.dnsmasq.id());
    }
}

/// The address that the segment's services have: the router's, or the first of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Own {
    address: Ipv4Addr,
    network: Ipv4Addr,
    prefix: u8,
}

impl Own {
    fn of(spec: &SegmentSpec) -> Option<Self> {
        let (IpAddr::V4(network), prefix @ 1..=30) = parse_cidr(spec.subnet.as_deref()?)? else { return None };
        let address = match spec.gateway {
            Some(IpAddr::V4(address)) => address,
            _ => Ipv4Addr::from(u32::from(network) + 1),
        };
        Some(Self { address, network, prefix })
    }

    fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX << (32 - self.prefix))
    }

    /// The upper half of the network, where leases come from.
    fn range(self) -> (Ipv4Addr, Ipv4Addr) {
        let size = 1u32 << (32 - u32::from(self.prefix));
        let at = |place| Ipv4Addr::from(u32::from(self.network) + place);
        (at(size / 2), at(size - 2))
    }
}

fn arguments(name: &str, spec: &SegmentSpec, own: &Own, offers: &NetworkSpec, folder: &Path) -> Vec<String> {
    let mut all: Vec<String> = [
        // In the foreground, as the user that started it.
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--except-interface=lo",
        "--pid-file=",
        // Names that are not named do not exist, and those that are have no addresses but these.
        "--local=/#/",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(format!("--interface={name}"));
    for (host, addresses) in &offers.hosts {
        all.extend(addresses.iter().map(|address| format!("--host-record={host},{address}")));
    }
    if spec.dhcp {
        let (first, last) = own.range();
        all.push(format!("--dhcp-range={first},{last},{},12h", own.mask()));
        all.push(format!("--dhcp-hostsfile={}", folder.join("dhcp-hosts").display()));
        all.push(format!("--dhcp-leasefile={}", folder.join("leases").display()));
        let router = spec.gateway.map(|gateway| format!(",{gateway}")).unwrap_or_default();
        all.push(format!("--dhcp-option=option:router{router}"));
        // Nobody else answers here: no waiting, no asking around.
        all.extend(["--dhcp-authoritative", "--no-ping"].map(str::to_owned));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::scenario::BridgeSpec;

    #[test]
    fn leases_come_from_the_upper_half() {
        let own =
            Own::of(&BridgeSpec { subnet: "10.77.4.0/22".into(), ..BridgeSpec::default() }.segment(None)).unwrap();
        assert_eq!(own.address, Ipv4Addr::new(10, 77, 4, 1));
        assert_eq!(own.range(), (Ipv4Addr::new(10, 77, 6, 0), Ipv4Addr::new(10, 77, 7, 254)));
        assert_eq!(own.mask(), Ipv4Addr::new(255, 255, 252, 0));
    }

    #[test]
    fn a_segment_without_a_network_has_no_services() {
        assert_eq!(Own::of(&SegmentSpec::default()), None);
    }

    #[test]
    fn dhcp_is_offered_only_where_the_scenario_says_so() {
        let (offers, folder) = (NetworkSpec::default(), Path::new("/x"));
        let bridge = BridgeSpec { gateway: Some(IpAddr::from([10, 77, 0, 1])), ..BridgeSpec::default() };
        let spec = bridge.segment(None);
        let own = Own::of(&spec).unwrap();
        let all = arguments("vmbr0", &spec, &own, &offers, folder);
        assert!(all.contains(&"--dhcp-range=10.77.0.128,10.77.0.254,255.255.255.0,12h".to_owned()), "{all:?}");
        assert!(all.contains(&"--dhcp-option=option:router,10.77.0.1".to_owned()), "{all:?}");
        let silent = arguments("vmbr0", &SegmentSpec { dhcp: false, ..spec }, &own, &offers, folder);
        assert!(!silent.iter().any(|argument| argument.contains("dhcp")), "{silent:?}");
    }
}
