//! Checking parameters against the table, with the real server's texts.

use std::collections::BTreeMap;

use super::formats;
use super::request::{Params, Value};
use super::schema::{self, Endpoint, Spec};
use crate::simulator::scenario::Release;
use crate::simulator::world::refusal::Refusal;

/// Refuses unknown, missing and malformed parameters.
pub(crate) fn check(endpoint: &'static Endpoint, release: Release, params: &Params) -> Result<(), Refusal> {
    let mut errors = BTreeMap::new();
    for (name, value) in &params.0 {
        if name == "node" && endpoint.path.contains("{node}") {
            continue;
        }
        let Some(spec) = endpoint.param(release, name) else {
            let text = "property is not defined in schema and the schema does not allow additional properties";
            errors.insert(name.clone(), text.to_owned());
            continue;
        };
        if let Err(text) = check_param(release, name, spec, value) {
            errors.insert(name.clone(), text);
        } else if let Some(other) = spec.requires.as_ref().filter(|other| !params.0.contains_key(*other)) {
            errors.insert(other.clone(), format!("missing property - '{name}' requires this property"));
        }
    }
    for name in endpoint.required(release) {
        if !params.0.contains_key(name) {
            errors.insert(name.to_owned(), "property is missing and it is not optional".to_owned());
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Refusal::params(errors)) }
}

fn check_param(release: Release, name: &str, spec: &Spec, value: &Value) -> Result<(), String> {
    let is_list = spec.format.as_ref().is_some_and(|format| format.ends_with("-list"));
    match value {
        Value::List(items) if spec.kind() == 'a' || is_list => {
            items.iter().try_for_each(|item| check_text(release, name, spec, item))
        }
        Value::List(_) => Err(format!("type check ('{}') failed - got ARRAY", type_name(spec))),
        Value::Text(text) => check_text(release, name, spec, text),
    }
}

fn type_name(spec: &Spec) -> &'static str {
    match spec.kind() {
        'i' => "integer",
        'n' => "number",
        'b' => "boolean",
        'a' => "array",
        _ => "string",
    }
}

/// Checks one value: type, format, lengths, bounds, allowed values, in this order.
pub(crate) fn check_text(release: Release, path: &str, spec: &Spec, text: &str) -> Result<(), String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let typed = match spec.kind() {
        'i' => is_integer(text),
        'n' => number.is_some(),
        'b' => matches!(text, "0" | "1"),
        _ => true,
    };
    if !typed {
        return Err(format!("type check ('{}') failed - got '{text}'", type_name(spec)));
    }
    if let Some(format) = &spec.format {
        check_format(release, path, format, text)?;
    }
    let length = text.chars().count();
    if let Some(longest) = spec.longest.filter(|longest| length > *longest) {
        return Err(format!("value may only be {longest} characters long"));
    }
    if let Some(shortest) = spec.shortest.filter(|shortest| length < *shortest) {
        return Err(format!("value must be at least {shortest} characters long"));
    }
    if let Some(min) = spec.min.filter(|min| number.is_some_and(|number| number < *min)) {
        return Err(format!("value must have a minimum value of {min}"));
    }
    if let Some(max) = spec.max.filter(|max| number.is_some_and(|number| number > *max)) {
        return Err(format!("value must have a maximum value of {max}"));
    }
    if !spec.values.is_empty() && !spec.values.iter().any(|value| value == text) {
        let values = spec.values.join(", ");
        return Err(format!("value '{text}' does not have a value in the enumeration '{values}'"));
    }
    Ok(())
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_format(release: Release, path: &str, format: &str, text: &str) -> Result<(), String> {
    if let Some(pattern) = format.strip_prefix("re:") {
        let fits = formats::fits(pattern, text);
        return if fits { Ok(()) } else { Err("value does not match the regex pattern".to_owned()) };
    }
    if let Some(parts) = schema::format(format) {
        return check_props(release, path, parts, text);
    }
    if let Some(parts) = formats::parts(format) {
        return check_props(release, path, parts, text);
    }
    formats::check(format, text).map_err(|error| format!("invalid format - {error}\n"))
}

/// Checks a property string part by part.
fn check_props(release: Release, path: &str, parts: &BTreeMap<String, Spec>, text: &str) -> Result<(), String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut errors = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None if parts.get(part).is_some_and(|spec| spec.alias.is_some()) => {
                found.insert("model".to_owned(), part.to_owned());
                continue;
            }
            None => match parts.iter().find(|(_, spec)| spec.is_default_key()) {
                Some((key, _)) => (key.clone(), part.to_owned()),
                None => {
                    return Err("invalid format - value without key, but schema does not define a default key\n".into());
                }
            },
        };
        let alias = parts.get(&key).and_then(|spec| spec.alias.clone());
        if alias.as_deref() == Some("macaddr") {
            found.insert("model".to_owned(), key.clone());
        }
        found.insert(alias.unwrap_or(key), value);
    }
    for (key, value) in &found {
        match parts.get(key) {
            None => {
                let text = "property is not defined in schema and the schema does not allow additional properties";
                errors.insert(key.clone(), text.to_owned());
            }
            Some(spec) => {
                let value = if spec.kind() == 'b' { boolean_word(value) } else { value.clone() };
                if let Err(error) = check_text(release, path, spec, &value) {
                    errors.insert(key.clone(), error);
                }
            }
        }
    }
    for (key, spec) in parts {
        if !spec.is_optional() && spec.alias.is_none() && !found.contains_key(key) {
            errors.insert(key.clone(), "property is missing and it is not optional".to_owned());
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = errors.into_iter().map(|(key, error)| format!("{path}.{key}: {error}\n")).collect();
    Err(format!("invalid format - format error\n{}", lines.concat()))
}

/// Property strings know more words for a boolean than forms do.
fn boolean_word(text: &str) -> String {
    match text.to_lowercase().as_str() {
        "on" | "yes" | "true" => "1".to_owned(),
        "off" | "no" | "false" => "0".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(params: &[(&str, &str)]) -> BTreeMap<String, String> {
        let path = ["nodes", "pve1", "qemu"].map(String::from);
        let (endpoint, _) = schema::route("POST", &path).unwrap();
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())));
        check(endpoint, Release::V9, &Params(params.collect())).err().map(|refusal| refusal.errors).unwrap_or_default()
    }

    #[test]
    fn the_texts_are_the_recorded_ones() {
        let cases = [
            (
                "memory",
                "abc",
                "invalid format - format error\nmemory.current: type check ('integer') failed - got 'abc'\n",
            ),
            ("cores", "0", "value must have a minimum value of 1"),
            ("foo", "bar", "property is not defined in schema and the schema does not allow additional properties"),
            ("name", "under_score", "invalid format - value does not look like a valid DNS name\n"),
            ("tags", "a b;c!", "invalid format - invalid characters in tag\n"),
            ("onboot", "yes", "type check ('boolean') failed - got 'yes'"),
            (
                "net0",
                "virtio=00:11:22:33:44,bridge=vmbr0",
                "invalid format - format error\nnet0.macaddr: invalid format - value does not look like a valid unicast MAC address\n\n",
            ),
            (
                "net0",
                "virtio,bridge=vmbr0,tag=5000",
                "invalid format - format error\nnet0.tag: value must have a maximum value of 4094\n",
            ),
            (
                "ipconfig0",
                "ip=300.1.1.1/24",
                "invalid format - format error\nipconfig0.ip: invalid format - value does not look like a valid ipv4 network configuration\n\n",
            ),
            (
                "smbios1",
                "uuid=xyz",
                "invalid format - format error\nsmbios1.uuid: value does not match the regex pattern\n",
            ),
        ];
        for (name, value, text) in cases {
            assert_eq!(
                errors_of(&[("vmid", "100"), (name, value)]).get(name).map(String::as_str),
                Some(text),
                "{name}"
            );
        }
        assert_eq!(errors_of(&[])["vmid"], "property is missing and it is not optional");
    }

    #[test]
    fn what_an_operator_sends_is_accepted() {
        let good = [
            ("vmid", "100"),
            ("name", "worker-1"),
            ("scsi0", "local-lvm:0,import-from=local:import/debian-12-worker.qcow2,discard=on,ssd=1"),
            ("ide2", "local-lvm:cloudinit,media=cdrom"),
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=0"),
            ("ipconfig0", "ip=10.0.0.2/24,gw=10.0.0.1"),
            ("smbios1", "uuid=437ff7b6-9e7a-4f36-9dce-5c16252b5fc0"),
            ("agent", "enabled=1,fstrim_cloned_disks=1"),
            ("sshkeys", "ssh-ed25519%20AAAA%20me%0A"),
            ("boot", "order=scsi0"),
            ("cpu", "x86-64-v2-AES"),
            ("tags", "stevedore;team-a"),
            ("memory", "2048"),
            ("serial0", "socket"),
            ("nameserver", "10.0.0.1 10.0.0.2"),
        ];
        assert_eq!(errors_of(&good), BTreeMap::new());
    }
}
