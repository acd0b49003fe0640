//! What a cloud-init drive says, in Proxmox VE's own words (qemu-server 9.2.6, `QemuServer/Cloudinit.pm`).
//!
//! One source for the calls that show it and for the drive that a real guest reads.

use std::fmt::Write as _;

use super::World;
use super::config::{Config, is_numbered};
use super::prop::{Net, Props};

/// The texts of a drive and the label by which cloud-init finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    pub(crate) label: &'static str,
    /// Path in the drive and content.
    pub(crate) files: Vec<(&'static str, String)>,
}

/// How a drive is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    NoCloud,
    ConfigDrive,
}

impl Layout {
    /// Windows reads nothing but the second, so that is its default.
    fn of(config: &Config) -> Result<Self, String> {
        let windows = config.get("ostype").is_some_and(|ostype| ostype.starts_with('w'));
        match config.get("citype") {
            None if windows => Ok(Self::ConfigDrive),
            None | Some("nocloud") => Ok(Self::NoCloud),
            Some("configdrive2") => Ok(Self::ConfigDrive),
            Some(other) => {
                Err(format!("cloud-init drives of citype '{other}' are not simulated: use nocloud or configdrive2"))
            }
        }
    }
}

/// Name service of the node, which guests get that are told nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub(crate) servers: Vec<String>,
}

/// User data.
pub(crate) fn user(vmid: u32, config: &Config) -> String {
    let name = config.get("name").map_or_else(|| format!("VM{vmid}"), str::to_owned);
    let (host, full) = match (name.split_once('.'), config.get("searchdomain")) {
        (Some((host, _)), _) => (host.to_owned(), name.clone()),
        (None, Some(domain)) => (name.clone(), format!("{name}.{domain}")),
        (None, None) => (name.clone(), name.clone()),
    };
    let mut text = format!("#cloud-config\nhostname: {host}\nmanage_etc_hosts: true\nfqdn: {full}\n");
    let user = config.get("ciuser");
    if let Some(user) = user {
        let _ = writeln!(text, "user: {user}");
    }
    if user == Some("root") {
        text.push_str("disable_root: False\n");
    }
    if let Some(password) = config.get("cipassword") {
        let _ = writeln!(text, "password: {password}");
    }
    if let Some(keys) = config.get("sshkeys") {
        text.push_str("ssh_authorized_keys:\n");
        let keys = percent_encoding::percent_decode_str(keys).decode_utf8_lossy().into_owned();
        for key in keys.lines().filter(|key| !key.trim().is_empty()) {
            let _ = writeln!(text, "  - {key}");
        }
    }
    text.push_str("chpasswd:\n  expire: False\n");
    if user != Some("root") {
        text.push_str("users:\n  - default\n");
    }
    if config.get("ciupgrade") != Some("0") {
        text.push_str("package_upgrade: true\n");
    }
    text
}

/// The cards that have an `ipconfigN`, in the order of their names; the others are left out of network data.
fn cards(config: &Config) -> Vec<(String, Net, Props)> {
    let cards = config.values.iter().filter(|(key, _)| is_numbered(key, "net")).filter_map(|(key, net)| {
        let id = &key[3..];
        Some((id.to_owned(), Net::parse(net), Props::parse(config.get(&format!("ipconfig{id}"))?)))
    });
    cards.collect()
}

fn words(text: Option<&str>) -> Vec<String> {
    text.map(|text| text.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
}

fn servers(config: &Config, resolver: &Resolver) -> Vec<String> {
    config.get("nameserver").map_or_else(|| resolver.servers.clone(), |text| words(Some(text)))
}

/// Network data for `NoCloud`, version 1.
fn network_v1(config: &Config, resolver: &Resolver) -> String {
    let mut text = "version: 1\nconfig:\n".to_owned();
    for (id, net, ip) in cards(config) {
        let mac = net.mac.unwrap_or_default().to_lowercase();
        let _ = write!(text, "    - type: physical\n      name: eth{id}\n      mac_address: '{mac}'\n      subnets:\n");
        match ip.get("ip") {
            None => {}
            Some("dhcp") => text.push_str("      - type: dhcp4\n"),
            Some(cidr) => {
                let (address, mask) = address_and_mask(cidr);
                let _ = write!(text, "      - type: static\n        address: '{address}'\n        netmask: '{mask}'\n");
                write_gateway(&mut text, ip.get("gw"));
            }
        }
        match ip.get("ip6") {
            None => {}
            Some("dhcp") => text.push_str("      - type: dhcp6\n"),
            Some("auto") => text.push_str("      - type: ipv6_slaac\n"),
            Some(cidr) => {
                let _ = write!(text, "      - type: static6\n        address: '{cidr}'\n");
                write_gateway(&mut text, ip.get("gw6"));
            }
        }
    }
    text.push_str("    - type: nameserver\n");
    for (key, list) in [("address", servers(config, resolver)), ("search", words(config.get("searchdomain")))] {
        if !list.is_empty() {
            let _ = writeln!(text, "      {key}:");
            for entry in list {
                let _ = writeln!(text, "      - '{entry}'");
            }
        }
    }
    text
}

fn write_gateway(text: &mut String, gateway: Option<&str>) {
    if let Some(gateway) = gateway {
        let _ = writeln!(text, "        gateway: '{gateway}'");
    }
}

/// Network data for a config drive, in the form of `/etc/network/interfaces`.
fn interfaces(config: &Config, resolver: &Resolver) -> String {
    let mut text = "auto lo\niface lo inet loopback\n\n".to_owned();
    for (key, list) in
        [("dns_nameservers", servers(config, resolver)), ("dns_search", words(config.get("searchdomain")))]
    {
        if !list.is_empty() {
            let _ = writeln!(text, "        {key} {}", list.join(" "));
        }
    }
    for (id, _, ip) in cards(config) {
        let _ = writeln!(text, "auto eth{id}");
        match ip.get("ip") {
            None => {}
            Some("dhcp") => {
                let _ = writeln!(text, "iface eth{id} inet dhcp");
            }
            Some(cidr) => write_static(&mut text, &format!("eth{id} inet"), address_and_mask(cidr), ip.get("gw")),
        }
        match ip.get("ip6") {
            None => {}
            Some(word @ ("auto" | "dhcp")) => {
                let _ = writeln!(text, "iface eth{id} inet6 {word}");
            }
            Some(cidr) => {
                let (address, prefix) = cidr.split_once('/').unwrap_or((cidr, ""));
                let both = (address.to_owned(), prefix.to_owned());
                write_static(&mut text, &format!("eth{id} inet6"), both, ip.get("gw6"));
            }
        }
    }
    text
}

fn write_static(text: &mut String, card: &str, (address, mask): (String, String), gateway: Option<&str>) {
    let _ = write!(text, "iface {card} static\n        address {address}\n        netmask {mask}\n");
    if let Some(gateway) = gateway {
        let _ = writeln!(text, "        gateway {gateway}");
    }
}

/// `10.0.0.5/24` as `10.0.0.5` and `255.255.255.0`.
fn address_and_mask(cidr: &str) -> (String, String) {
    let (address, prefix) = cidr.split_once('/').unwrap_or((cidr, "32"));
    let prefix: u32 = prefix.parse().unwrap_or(32).min(32);
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    (address.to_owned(), std::net::Ipv4Addr::from(mask).to_string())
}

/// A new instance for cloud-init whenever user or network data differ: their SHA-1.
fn instance(user: &str, network: &str) -> String {
    sha1_smol::Sha1::from(format!("{user}{network}")).digest().to_string()
}

fn meta(layout: Layout, user: &str, network: &str) -> String {
    let id = instance(user, network);
    match layout {
        Layout::NoCloud => format!("instance-id: {id}\n"),
        Layout::ConfigDrive => {
            format!(
                "{{\n     \"uuid\": \"{id}\",\n     \"network_config\": {{ \"content_path\": \"/content/0000\" }}\n}}\n"
            )
        }
    }
}

/// What `cloudinit/dump` shows: `user`, `network` or `meta`. Snippets are not looked at.
pub(crate) fn dump(kind: &str, vmid: u32, config: &Config, resolver: &Resolver) -> String {
    let layout = Layout::of(config).unwrap_or(Layout::ConfigDrive);
    let (user, network) = (user(vmid, config), network(layout, config, resolver));
    match kind {
        "user" => user,
        "network" => network,
        _ => meta(layout, &user, &network),
    }
}

fn network(layout: Layout, config: &Config, resolver: &Resolver) -> String {
    match layout {
        Layout::NoCloud => network_v1(config, resolver),
        Layout::ConfigDrive => interfaces(config, resolver),
    }
}

impl World {
    /// The node's name service: what answers on the first bridge with a router.
    pub(crate) fn resolver(&self) -> Resolver {
        let gateway = self.scenario.bridges.iter().find_map(|bridge| bridge.gateway);
        Resolver { servers: gateway.map(|gateway| gateway.to_string()).into_iter().collect() }
    }

    /// What a machine's cloud-init drive holds, snippets in place of what they replace.
    pub(crate) fn seed(&self, vmid: u32, node: &str, config: &Config) -> Result<Seed, String> {
        let layout = Layout::of(config)?;
        let snippets = config.get("cicustom").map(Props::parse).unwrap_or_default();
        let snippet = |kind: &str| snippets.get(kind).map(|volid| self.snippet(node, volid)).transpose();
        let user = snippet("user")?.unwrap_or_else(|| user(vmid, config));
        let network = snippet("network")?.unwrap_or_else(|| network(layout, config, &self.resolver()));
        let meta = snippet("meta")?.unwrap_or_else(|| meta(layout, &user, &network));
        let vendor = snippet("vendor")?.unwrap_or_default();
        let (label, names) = match layout {
            Layout::NoCloud => ("cidata", ["user-data", "network-config", "meta-data", "vendor-data"]),
            Layout::ConfigDrive => (
                "config-2",
                [
                    "openstack/latest/user_data",
                    "openstack/content/0000",
                    "openstack/latest/meta_data.json",
                    "openstack/latest/vendor_data.json",
                ],
            ),
        };
        Ok(Seed { label, files: names.into_iter().zip([user, network, meta, vendor]).collect() })
    }

    fn snippet(&self, node: &str, volid: &str) -> Result<String, String> {
        let file = self.file_of(node, volid)?;
        std::fs::read_to_string(&file).map_err(|error| format!("can't open '{}' - {error}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::of([
            ("name", "ci"),
            ("searchdomain", "example.test"),
            ("ciuser", "adm"),
            ("sshkeys", "ssh-ed25519%20AAAA%20me%0A"),
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
            ("net1", "virtio=BC:24:11:00:00:02,bridge=vmbr1"),
            ("net2", "virtio=BC:24:11:00:00:03,bridge=vmbr1"),
            ("ipconfig0", "ip=dhcp,ip6=auto"),
            ("ipconfig1", "ip=10.77.1.9/22,gw=10.77.1.1,ip6=fd00::9/64,gw6=fd00::1"),
        ])
    }

    fn resolver() -> Resolver {
        Resolver { servers: vec!["10.77.0.1".into()] }
    }

    #[test]
    fn user_data_reads_as_recorded() {
        // Recorded 533, without the password.
        let text = "#cloud-config\nhostname: ci\nmanage_etc_hosts: true\nfqdn: ci.example.test\nuser: adm\n\
                    ssh_authorized_keys:\n  - ssh-ed25519 AAAA me\nchpasswd:\n  expire: False\nusers:\n  - default\n\
                    package_upgrade: true\n";
        assert_eq!(dump("user", 201, &config(), &resolver()), text);
    }

    #[test]
    fn a_name_with_a_domain_and_root_are_told_their_own_way() {
        let config = Config::of([("name", "a.b.c"), ("ciuser", "root"), ("ciupgrade", "0"), ("searchdomain", "x")]);
        let text = "#cloud-config\nhostname: a\nmanage_etc_hosts: true\nfqdn: a.b.c\nuser: root\n\
                    disable_root: False\nchpasswd:\n  expire: False\n";
        assert_eq!(user(1, &config), text);
    }

    #[test]
    fn network_data_leaves_out_cards_without_ipconfig() {
        let text = dump("network", 1, &config(), &resolver());
        let expected = "version: 1\nconfig:\n    - type: physical\n      name: eth0\n      \
            mac_address: 'bc:24:11:00:00:01'\n      subnets:\n      - type: dhcp4\n      - type: ipv6_slaac\n    \
            - type: physical\n      name: eth1\n      mac_address: 'bc:24:11:00:00:02'\n      subnets:\n      \
            - type: static\n        address: '10.77.1.9'\n        netmask: '255.255.252.0'\n        \
            gateway: '10.77.1.1'\n      - type: static6\n        address: 'fd00::9/64'\n        \
            gateway: 'fd00::1'\n    - type: nameserver\n      address:\n      - '10.77.0.1'\n      search:\n      \
            - 'example.test'\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_instance_is_new_when_user_or_network_data_are() {
        let (mut other, first) = (config(), dump("meta", 1, &config(), &resolver()));
        assert_eq!(dump("meta", 1, &other, &resolver()), first);
        assert_eq!(first.len(), "instance-id: \n".len() + 40);
        other.set("nameserver", "10.77.0.2");
        assert_ne!(dump("meta", 1, &other, &resolver()), first);
    }

    #[test]
    fn a_config_drive_speaks_of_interfaces() {
        let mut config = config();
        config.set("citype", "configdrive2");
        config.set("nameserver", "10.77.0.2 10.77.0.3");
        let text = dump("network", 1, &config, &resolver());
        assert!(
            text.contains("        dns_nameservers 10.77.0.2 10.77.0.3\n        dns_search example.test\n"),
            "{text}"
        );
        assert!(text.contains("iface eth1 inet static\n        address 10.77.1.9\n        netmask 255.255.252.0\n"));
        assert!(dump("meta", 1, &config, &resolver()).contains("\"content_path\": \"/content/0000\""));
    }

    #[test]
    fn an_unknown_layout_is_named() {
        let config = Config::of([("citype", "opennebula")]);
        assert!(Layout::of(&config).unwrap_err().contains("opennebula"));
    }
}
