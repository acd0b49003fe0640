//! Calls about cloud-init.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::answer::Reply;
use super::config::shown;
use super::routes::Call;
use crate::simulator::world::World;
use crate::simulator::world::config::Config;
use crate::simulator::world::prop::Props;
use crate::simulator::world::refusal::Refusal;

/// Options that the list of settings shows.
const LISTED: [&str; 8] =
    ["cicustom", "cipassword", "citype", "ciuser", "ciupgrade", "nameserver", "searchdomain", "sshkeys"];

pub(crate) fn pending(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    let set =
        LISTED.iter().filter_map(|key| config.get(key).map(|value| json!({"key": key, "value": shown(key, value)})));
    Ok(set.collect::<Value>().into())
}

/// Rebuilds the drive; the guest reads it at its next boot.
pub(crate) fn regenerate(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    if config.drives().any(|(_, drive)| drive.is_cloudinit()) {
        return Ok(Value::Null.into());
    }
    Err(Refusal::error("VM has no cloudinit drive"))
}

pub(crate) fn dump(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    let text = match call.params.text("type") {
        Some("user") => user(call.vmid, config),
        Some("network") => network(config),
        _ => format!("instance-id: {}\n", config.digest()),
    };
    Ok(text.into())
}

fn user(vmid: u32, config: &Config) -> String {
    let name = config.get("name").map_or_else(|| format!("VM{vmid}"), str::to_owned);
    let domain = config.get("searchdomain").map_or_else(String::new, |domain| format!(".{domain}"));
    let mut text = format!("#cloud-config\nhostname: {name}\nmanage_etc_hosts: true\nfqdn: {name}{domain}\n");
    if let Some(user) = config.get("ciuser") {
        let _ = writeln!(text, "user: {user}");
    }
    if config.get("cipassword").is_some() {
        text.push_str("password: $5$simulated\n");
    }
    let keys = config.get("sshkeys").unwrap_or("");
    let keys = percent_encoding::percent_decode_str(keys).decode_utf8_lossy().into_owned();
    if !keys.trim().is_empty() {
        text.push_str("ssh_authorized_keys:\n");
        for key in keys.lines().filter(|key| !key.trim().is_empty()) {
            let _ = writeln!(text, "  - {key}");
        }
    }
    text.push_str("chpasswd:\n  expire: False\nusers:\n  - default\n");
    let upgrade = config.get("ciupgrade") != Some("0");
    let _ = writeln!(text, "package_upgrade: {upgrade}");
    text
}

fn network(config: &Config) -> String {
    let mut text = "version: 1\nconfig:\n".to_owned();
    for (place, (key, net)) in config.nets().enumerate() {
        let mac = net.mac.unwrap_or_default().to_lowercase();
        let _ =
            write!(text, "    - type: physical\n      name: eth{place}\n      mac_address: '{mac}'\n      subnets:\n");
        let ip = config.get(&format!("ipconfig{}", &key[3..])).map(Props::parse).unwrap_or_default();
        match ip.get("ip") {
            Some("dhcp") | None => text.push_str("      - type: dhcp4\n"),
            Some(cidr) => {
                let _ = writeln!(text, "      - type: static\n        address: '{cidr}'");
                if let Some(gateway) = ip.get("gw") {
                    let _ = writeln!(text, "        gateway: '{gateway}'");
                }
            }
        }
    }
    text
}
