//! The shapes of single fields: bounds and rules, each with a message that says what is wanted.
//!
//! A rule with a message is used instead of a `pattern`, whose failure shows nothing but the regular expression, and
//! instead of `minLength`, which would only add a second, poorer message. Every text keeps its `maxLength`: the API
//! server estimates the cost of a rule from it.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A rule and what to say when it is broken.
pub(super) type Rule<'a> = (&'a str, &'a str);

pub(super) fn text(max_length: usize, rules: &[Rule<'_>]) -> Schema {
    let mut schema = json_schema!({"type": "string", "maxLength": max_length});
    if !rules.is_empty() {
        let rules: Vec<Value> = rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
        schema.insert("x-kubernetes-validations".to_owned(), Value::Array(rules));
    }
    schema
}

/// A text that the operator writes: bounded, otherwise free.
pub(super) fn free(max_length: usize) -> Schema {
    text(max_length, &[])
}

pub(super) fn list(kind: &str, max_items: usize, items: &Schema) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": max_items,
        "x-kubernetes-list-type": kind,
        "items": items,
    })
}

// References

pub(super) fn hypervisor_name(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        &[("self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "must be the name of a Hypervisor in this namespace")],
    )
}

pub(super) fn secret_name(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &[("self.matches(r'^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')", "must be the name of a Secret in this namespace")],
    )
}

pub(super) fn ca_object_name(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &[(
            "self.matches(r'^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
            "must be the name of a ConfigMap or Secret in this namespace",
        )],
    )
}

pub(super) fn ca_object_key(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &[(
            "self.matches(r'^[-._a-zA-Z0-9]+$')",
            "must be a key of the ConfigMap or Secret: letters, digits, -, _ and . only",
        )],
    )
}

// The way to a hypervisor

pub(super) fn endpoints(_: &mut SchemaGenerator) -> Schema {
    let endpoint = text(
        300,
        &[(
            r"isURL(self) && url(self).getScheme() == 'https' && url(self).getHostname() != '' && self.matches(r'^https://[^/?#@\s]+/?$')",
            "must be https://host[:port] alone, such as https://pve1.example.org:8006",
        )],
    );
    let mut schema = list("set", 16, &endpoint);
    schema.insert("minItems".to_owned(), json!(1));
    schema
}

pub(super) fn fingerprints(_: &mut SchemaGenerator) -> Schema {
    let fingerprint = text(
        95,
        &[(
            "self.matches(r'^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$')",
            "must be a SHA-256 fingerprint: 32 pairs of hex digits with colons between them",
        )],
    );
    list("set", 8, &fingerprint)
}

pub(super) fn host(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        &[("self.matches(r'^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$')", "must be the name of a host, such as pve1")],
    )
}

pub(super) fn unschedulable_hosts(generator: &mut SchemaGenerator) -> Schema {
    list("set", 100, &host(generator))
}

// Durations

/// The hours, minutes and seconds of a duration; six digits each keep `duration()` from overflowing.
const SPAN: &str = "self.size() > 1 && self.matches(r'^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$')";

pub(super) fn span(shortest: &str, longest: &str) -> Schema {
    let rule = format!("{SPAN} && duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}')");
    let message = format!("must be a duration between {shortest} and {longest}, such as 90s, 30m or 1h30m");
    text(16, &[(&rule, &message)])
}

pub(super) fn idle_interval(_: &mut SchemaGenerator) -> Schema {
    span("10s", "10m")
}

pub(super) fn busy_interval(_: &mut SchemaGenerator) -> Schema {
    span("1s", "1m")
}

pub(super) fn grace_period(_: &mut SchemaGenerator) -> Schema {
    span("0s", "1h")
}

pub(super) fn warm_time(_: &mut SchemaGenerator) -> Schema {
    span("0s", "24h")
}

pub(super) fn test_age(_: &mut SchemaGenerator) -> Schema {
    span("0s", "720h")
}

pub(super) fn update_timeout(_: &mut SchemaGenerator) -> Schema {
    span("1m", "4h")
}

// What a VM is made of

pub(super) fn proxmox_host(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        &[(
            "self.matches(r'^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$')",
            "must be the name of a Proxmox VE node, such as pve1",
        )],
    )
}

pub(super) fn proxmox_storage(_: &mut SchemaGenerator) -> Schema {
    text(
        64,
        &[(
            "self.matches(r'^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]$')",
            "must be the name of a storage, such as local-lvm",
        )],
    )
}

pub(super) fn image_storage(_: &mut SchemaGenerator) -> Schema {
    text(
        64,
        &[("self.matches(r'^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]$')", "must be the name of a storage, such as local")],
    )
}

pub(super) fn image_url(_: &mut SchemaGenerator) -> Schema {
    let is_url = r"isURL(self) && url(self).getHostname() != '' && self.matches(r'^https?://[^\s@]+$')";
    text(
        2048,
        &[
            (
                is_url,
                "must be an http or https URL without user and password, such as https://images.example.org/worker.qcow2",
            ),
            (
                r"!self.matches(r'(?i)^[^?#]*[.](xz|gz|bz2|zst|lz4|lzo|zip|7z|tar|tgz|ova|ovf|iso)([?#].*)?$')",
                "is compressed, an archive or a CD: Proxmox VE can import the plain image of a disk alone, so unpack it and serve that",
            ),
        ],
    )
}

pub(super) fn image_checksum(_: &mut SchemaGenerator) -> Schema {
    text(
        135,
        &[(
            "self.matches(r'^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$')",
            "must be sha256: and 64 or sha512: and 128 hex digits in lower case",
        )],
    )
}

pub(super) fn vm_name(_: &mut SchemaGenerator) -> Schema {
    text(
        40,
        &[(
            "self.matches(r'^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$')",
            "has at most 40 of a-z, A-Z, 0-9 and -, and neither begins nor ends with -",
        )],
    )
}

pub(super) fn vm_description(_: &mut SchemaGenerator) -> Schema {
    text(
        1024,
        &[("!self.contains('stevedore.dev/')", "must not contain the text stevedore.dev/, which marks the VM as ours")],
    )
}

pub(super) fn memory(_: &mut SchemaGenerator) -> Schema {
    quantity(
        ("512Mi", "16Ti"),
        1_048_576,
        "must be a whole number of MiB, written without a fraction (1536Mi, not 1.5Gi)",
    )
}

pub(super) fn disk(_: &mut SchemaGenerator) -> Schema {
    quantity(("2Gi", "64Ti"), 1_073_741_824, "must be a whole number of GiB, such as 100Gi")
}

/// A quantity between two others, a multiple of `unit` bytes. `asInteger` fails above 2^63, so that rule comes last
/// and looks only at what the others let pass.
fn quantity((least, most): (&str, &str), unit: u64, not_whole: &str) -> Schema {
    let range = format!(
        "!isQuantity(self) || (quantity(self).compareTo(quantity('{least}')) >= 0 \
         && quantity(self).compareTo(quantity('{most}')) <= 0)"
    );
    let whole = format!(
        "!isQuantity(self) || quantity(self).compareTo(quantity('{most}')) > 0 \
         || (quantity(self).isInteger() && quantity(self).asInteger() % {unit} == 0)"
    );
    text(
        20,
        &[
            ("isQuantity(self)", "must be a quantity such as 8Gi"),
            (&range, &format!("must be between {least} and {most}")),
            (&whole, not_whole),
        ],
    )
}

pub(super) fn template(_: &mut SchemaGenerator) -> Schema {
    text(128, &[("self.matches(r'^[A-Za-z0-9][A-Za-z0-9 ._-]*$')", "must be the name or the id of a template")])
}

// Networks

pub(super) fn network_name(_: &mut SchemaGenerator) -> Schema {
    text(
        15,
        &[(
            "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "a network name has at most 15 of a-z, 0-9 and -, and neither begins nor ends with -",
        )],
    )
}

pub(super) fn bridge(_: &mut SchemaGenerator) -> Schema {
    text(
        15,
        &[(
            "self.matches(r'^[A-Za-z0-9_.-]+$')",
            "must be the name of a bridge, such as vmbr0 (the VLAN goes into vlan)",
        )],
    )
}

pub(super) fn ipv4_address(_: &mut SchemaGenerator) -> Schema {
    interface_address(4, 18, "10.0.0.5/24")
}

pub(super) fn ipv6_address(_: &mut SchemaGenerator) -> Schema {
    interface_address(6, 49, "2001:db8::5/64")
}

/// An address with its prefix length. Prefixes of one or two addresses have no address of the subnet itself.
/// `!(a == b)` stands where `a != b` would be refused: the API server prices `!=` on addresses too high.
fn interface_address(family: u8, max_length: usize, example: &str) -> Schema {
    let point_to_point = if family == 4 { 31 } else { 127 };
    let is_address = format!("isCIDR(self) && cidr(self).ip().family() == {family}");
    let not_subnet = format!(
        "!isCIDR(self) || cidr(self).prefixLength() >= {point_to_point} || !(cidr(self).masked().ip() == cidr(self).ip())"
    );
    text(
        max_length,
        &[
            (&is_address, &format!("must be an IPv{family} address with prefix length, such as {example}")),
            (
                &not_subnet,
                &format!("is the address of the subnet itself; give the worker's address, such as {example}"),
            ),
            (
                "!isCIDR(self) || cidr(self).ip().isGlobalUnicast()",
                "must be a unicast address, not loopback, link-local, multicast or unspecified",
            ),
        ],
    )
}

pub(super) fn ipv4_gateway(_: &mut SchemaGenerator) -> Schema {
    text(15, &[("isIP(self) && ip(self).family() == 4", "must be an IPv4 address, without prefix length")])
}

pub(super) fn ipv6_gateway(_: &mut SchemaGenerator) -> Schema {
    text(45, &[("isIP(self) && ip(self).family() == 6", "must be an IPv6 address, without prefix length")])
}

pub(super) fn dns_servers(_: &mut SchemaGenerator) -> Schema {
    list("atomic", 3, &text(45, &[("isIP(self)", "must be an IP address, such as 10.0.0.53")]))
}

pub(super) fn search_domains(_: &mut SchemaGenerator) -> Schema {
    let domain = text(
        253,
        &[("self.matches(r'^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$')", "must be a DNS domain, such as example.org")],
    );
    list("atomic", 6, &domain)
}

// The inside of a worker

pub(super) const LINUX_USER: Rule<'_> = (
    "self.matches(r'^[a-z_][a-z0-9_-]*$')",
    "must be a Linux user name: a-z, 0-9, _ and -, beginning with a letter or _",
);

pub(super) fn linux_user(_: &mut SchemaGenerator) -> Schema {
    text(32, &[LINUX_USER, ("self != 'root'", "root is not allowed: name another user, who may use sudo")])
}

pub(super) fn authorized_keys(_: &mut SchemaGenerator) -> Schema {
    let key = text(
        4096,
        &[(
            r"self.matches(r'^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( [^\n\r]*)?$')",
            "must be one OpenSSH public key on one line, such as ssh-ed25519 AAAA… name",
        )],
    );
    list("atomic", 16, &key)
}

pub(super) fn systemd_unit(_: &mut SchemaGenerator) -> Schema {
    text(
        255,
        &[(
            "self.matches(r'^[A-Za-z0-9:_.@-]+[.](service|socket|target|timer)$')",
            "must be the full name of a systemd unit, such as backup-agent.service",
        )],
    )
}

pub(super) fn check_name(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        &[(
            "self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "a check name has at most 63 of a-z, 0-9 and -, and neither begins nor ends with -",
        )],
    )
}

pub(super) fn network_host(_: &mut SchemaGenerator) -> Schema {
    text(253, &[("self.matches(r'^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$')", "must be a DNS name or an IP address")])
}

pub(super) fn proxy_url(_: &mut SchemaGenerator) -> Schema {
    text(
        300,
        &[(
            r"isURL(self) && url(self).getHostname() != '' && self.matches(r'^https?://[A-Za-z0-9.:_\[\]-]+/?$')",
            "must be a URL such as http://proxy.example.org:3128; user and password go into credentialsSecretRef",
        )],
    )
}

// What the operator writes

pub(super) fn word(_: &mut SchemaGenerator) -> Schema {
    free(32)
}

pub(super) fn id(_: &mut SchemaGenerator) -> Schema {
    free(36)
}

pub(super) fn short(_: &mut SchemaGenerator) -> Schema {
    free(64)
}

pub(super) fn name(_: &mut SchemaGenerator) -> Schema {
    free(253)
}

/// `namespace/name`, each as long as Kubernetes allows.
pub(super) fn namespaced_name(_: &mut SchemaGenerator) -> Schema {
    free(317)
}

pub(super) fn sentence(_: &mut SchemaGenerator) -> Schema {
    free(1024)
}

pub(super) fn names(_: &mut SchemaGenerator) -> Schema {
    list("atomic", 64, &free(253))
}

pub(super) fn addresses(_: &mut SchemaGenerator) -> Schema {
    list("atomic", 32, &free(49))
}

/// Field paths of the spec and the values that a VM was given for them.
pub(super) fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "additionalProperties": free(1024)})
}

/// An object whose fields the API server keeps without knowing them.
pub(super) fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
