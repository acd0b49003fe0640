//! Formats of single values and of the property strings that the table names only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use super::schema::Spec;

/// Whether `text` fits one of the patterns that the table names.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    match pattern {
        "size-change" => is_size(text.strip_prefix('+').unwrap_or(text)),
        "serial" => text == "socket" || text.starts_with("/dev/"),
        "vmgenid" => matches!(text, "0" | "1") || is_uuid(text),
        "uuid" => is_uuid(text),
        "url" => text.starts_with("http://") || text.starts_with("https://"),
        _ => true,
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn is_size(text: &str) -> bool {
    let number = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
    let mut parts = number.splitn(2, '.');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.next().is_some_and(digits) && parts.next().is_none_or(digits)
}

/// The parts of property strings whose format the table only names.
pub(crate) fn parts(format: &str) -> Option<&'static BTreeMap<String, Spec>> {
    static PARTS: OnceLock<BTreeMap<String, BTreeMap<String, Spec>>> = OnceLock::new();
    PARTS.get_or_init(|| serde_json::from_str(NAMED).unwrap_or_default()).get(format)
}

const NAMED: &str = r#"{
"pve-qm-ipconfig":{"gw":{"o":1,"f":"ipv4"},"gw6":{"o":1,"f":"ipv6"},"ip":{"o":1,"f":"pve-ipv4-config"},"ip6":{"o":1,"f":"pve-ipv6-config"}},
"pve-qm-smbios1":{"uuid":{"o":1,"f":"re:uuid"},"version":{"o":1},"serial":{"o":1},"manufacturer":{"o":1},"product":{"o":1},"sku":{"o":1},"family":{"o":1},"base64":{"t":"b","o":1}},
"pve-qm-cicustom":{"meta":{"o":1,"f":"pve-volume-id"},"network":{"o":1,"f":"pve-volume-id"},"user":{"o":1,"f":"pve-volume-id"},"vendor":{"o":1,"f":"pve-volume-id"}},
"pve-startup-order":{"order":{"o":1,"d":1},"up":{"o":1},"down":{"o":1}}
}"#;

/// Checks a value against a named format; the text is the real server's.
pub(crate) fn check(format: &str, text: &str) -> Result<(), String> {
    if let Some(stem) = format.strip_suffix("-list") {
        let split = text.split([',', ';', ' ', '\0']).filter(|part| !part.is_empty());
        return split.into_iter().try_for_each(|part| check(stem, part));
    }
    let looks =
        |good: bool, what: &str| if good { Ok(()) } else { Err(format!("value does not look like a valid {what}")) };
    match format {
        "pve-vmid" => looks(is_vmid(text), "VM ID"),
        "dns-name" => looks(is_dns_name(text), "DNS name"),
        "pve-node" => looks(is_label(text), "node name"),
        "pve-tag" => {
            if is_tag(text) {
                Ok(())
            } else {
                Err("invalid characters in tag".into())
            }
        }
        "pve-storage-id" => {
            if is_identifier(text, 2) {
                Ok(())
            } else {
                Err(format!("storage ID '{text}' contains illegal characters"))
            }
        }
        "pve-configid" => {
            if is_identifier(text, 2) {
                Ok(())
            } else {
                Err(format!("invalid configuration ID '{text}'"))
            }
        }
        "mac-addr" => looks(is_unicast_mac(text), "unicast MAC address"),
        "pve-bridge-id" | "pve-iface" => {
            if is_interface(text) {
                Ok(())
            } else {
                Err(format!("invalid bridge name '{text}'"))
            }
        }
        "urlencoded" => {
            if is_urlencoded(text) {
                Ok(())
            } else {
                Err(format!("invalid urlencoded string: {text}"))
            }
        }
        "ipv4" => looks(text.parse::<Ipv4Addr>().is_ok(), "ipv4 address"),
        "ipv6" => looks(text.parse::<Ipv6Addr>().is_ok(), "ipv6 address"),
        "address" => looks(text.parse::<IpAddr>().is_ok() || is_dns_name(text), "address"),
        "pve-ipv4-config" => looks(text == "dhcp" || is_cidr::<Ipv4Addr>(text, 8, 32), "ipv4 network configuration"),
        "pve-ipv6-config" => {
            looks(matches!(text, "dhcp" | "auto") || is_cidr::<Ipv6Addr>(text, 8, 128), "ipv6 network configuration")
        }
        "pve-volume-id" | "pve-volume-id-or-qm-path" | "pve-volume-id-or-absolute-path" => {
            let good = matches!(text, "none" | "cdrom") || text.starts_with('/') || text.contains(':');
            if good { Ok(()) } else { Err(format!("unable to parse volume ID '{text}'")) }
        }
        _ => Ok(()),
    }
}

fn is_vmid(text: &str) -> bool {
    text.len() <= 9 && !text.starts_with('0') && text.parse::<u32>().is_ok_and(|vmid| vmid >= 100)
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn is_dns_name(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_tag(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte))
}

fn is_identifier(text: &str, shortest: usize) -> bool {
    text.len() >= shortest
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn is_unicast_mac(text: &str) -> bool {
    let bytes: Vec<_> = text.split(':').collect();
    bytes.len() == 6
        && bytes.iter().all(|byte| byte.len() == 2)
        && bytes.iter().map(|byte| u8::from_str_radix(byte, 16)).enumerate().all(|(place, byte)| match byte {
            Ok(byte) => place != 0 || byte & 1 == 0,
            Err(_) => false,
        })
}

fn is_interface(text: &str) -> bool {
    text.len() >= 2 && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()) && !text.contains(' ')
}

fn is_urlencoded(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()%".contains(&byte))
}

fn is_cidr<A: std::str::FromStr>(text: &str, least: u8, most: u8) -> bool {
    text.split_once('/').is_some_and(|(address, prefix)| {
        address.parse::<A>().is_ok() && prefix.parse::<u8>().is_ok_and(|prefix| (least..=most).contains(&prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values() {
        assert!(check("pve-vmid", "100").is_ok() && check("pve-vmid", "50").is_err());
        assert!(check("pve-vmid", "1000000000").is_err());
        assert!(check("mac-addr", "01:11:22:33:44:55").is_err());
        assert!(check("dns-name", "a.example.test").is_ok() && check("dns-name", "-a").is_err());
        assert!(check("pve-tag-list", "up;low x,y").is_ok() && check("pve-tag-list", "-x").is_err());
        assert!(check("urlencoded", "ssh-ed25519 AAAA").is_err());
        assert!(fits("size-change", "+1.5G") && !fits("size-change", "-1G") && !fits("size-change", "big"));
    }

    #[test]
    fn the_named_property_strings_are_read() {
        assert!(parts("pve-qm-ipconfig").is_some_and(|parts| parts.contains_key("gw6")));
    }
}
