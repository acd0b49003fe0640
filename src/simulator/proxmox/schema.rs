//! The calls that the simulator knows, with their parameters and rights, for both releases.
//!
//! The table beside this file holds facts of the releases' own schemas. Keys are short: `t` type (first letter,
//! text if absent), `o` optional, `e` allowed values, `min`/`max`, `lmin`/`lmax` lengths, `f` format, `r` another
//! parameter that must be there, `d` the part that may stand without its key, `v` the only release that knows it,
//! `v8` what 8.4 says instead.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::simulator::scenario::Release;

/// One parameter, or one part of a property string.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Spec {
    #[serde(rename = "t", default)]
    kind: Option<char>,
    #[serde(rename = "o", default)]
    optional: u8,
    #[serde(rename = "e", default)]
    pub(crate) values: Vec<String>,
    #[serde(default)]
    pub(crate) min: Option<f64>,
    #[serde(default)]
    pub(crate) max: Option<f64>,
    #[serde(rename = "lmin", default)]
    pub(crate) shortest: Option<usize>,
    #[serde(rename = "lmax", default)]
    pub(crate) longest: Option<usize>,
    #[serde(rename = "f", default)]
    pub(crate) format: Option<String>,
    #[serde(rename = "r", default)]
    pub(crate) requires: Option<String>,
    #[serde(rename = "d", default)]
    default_key: u8,
    #[serde(default)]
    pub(crate) alias: Option<String>,
    #[serde(rename = "v", default)]
    only: Option<u8>,
    #[serde(default)]
    v8: Option<Box<Spec>>,
}

impl Spec {
    pub(crate) fn kind(&self) -> char {
        self.kind.unwrap_or('s')
    }

    pub(crate) fn is_optional(&self) -> bool {
        self.optional == 1
    }

    pub(crate) fn is_default_key(&self) -> bool {
        self.default_key == 1
    }

    fn in_release(&self, release: Release) -> Option<&Self> {
        let v8 = release == Release::V8;
        if self.only.is_some_and(|only| (only == 8) != v8) {
            return None;
        }
        Some(self.v8.as_deref().filter(|_| v8).unwrap_or(self))
    }
}

/// One call.
#[derive(Debug, Deserialize)]
pub(crate) struct Endpoint {
    #[serde(rename = "m")]
    pub(crate) method: String,
    #[serde(rename = "p")]
    pub(crate) path: String,
    perm: String,
    #[serde(default)]
    perm8: Option<String>,
    #[serde(rename = "prot", default)]
    protected: u8,
    params: BTreeMap<String, Spec>,
    /// The options of a virtual machine are parameters, too.
    #[serde(rename = "use", default)]
    with_options: u8,
    /// The path in parts.
    #[serde(skip)]
    parts: Vec<String>,
}

impl Endpoint {
    /// Handed to the daemon that runs as root.
    pub(crate) fn is_protected(&self) -> bool {
        self.protected == 1
    }

    /// Who may call: `user=all`, `user=world`, or a path with the privileges of which one is needed.
    pub(crate) fn permission(&self, release: Release) -> &str {
        self.perm8.as_deref().filter(|_| release == Release::V8).unwrap_or(&self.perm)
    }

    /// The parameter called `name`, numbered families included.
    pub(crate) fn param(&'static self, release: Release, name: &str) -> Option<&'static Spec> {
        let own = find(&self.params, name);
        let shared = || if self.with_options == 1 { option(name) } else { None };
        own.or_else(shared).and_then(|spec| spec.in_release(release))
    }

    /// Parameters that must be given.
    pub(crate) fn required(&self, release: Release) -> impl Iterator<Item = &str> {
        let asked = self
            .params
            .iter()
            .filter(move |(_, spec)| spec.in_release(release).is_some_and(|spec| !spec.is_optional()));
        asked.map(|(name, _)| name.as_str())
    }
}

#[derive(Debug, Deserialize)]
struct Table {
    formats: BTreeMap<String, BTreeMap<String, Spec>>,
    options: BTreeMap<String, Spec>,
    endpoints: Vec<Endpoint>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let empty = Table { formats: BTreeMap::new(), options: BTreeMap::new(), endpoints: Vec::new() };
        let mut table: Table = serde_json::from_str(include_str!("schema/parameters.json")).unwrap_or(empty);
        for endpoint in &mut table.endpoints {
            endpoint.parts = endpoint.path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        }
        table
    })
}

/// The parts of a property string.
pub(crate) fn format(name: &str) -> Option<&'static BTreeMap<String, Spec>> {
    table().formats.get(name)
}

/// The option of a virtual machine called `name`.
pub(crate) fn option(name: &str) -> Option<&'static Spec> {
    find(&table().options, name)
}

/// How many members the numbered families have.
fn members(stem: &str) -> u32 {
    match stem {
        "ide" | "serial" => 4,
        "sata" => 6,
        "scsi" => 31,
        "virtio" | "hostpci" => 16,
        "unused" => 256,
        "parallel" => 3,
        "usb" => 14,
        "numa" => 8,
        "virtiofs" => 10,
        _ => 32,
    }
}

fn find(specs: &'static BTreeMap<String, Spec>, name: &str) -> Option<&'static Spec> {
    if let Some(spec) = specs.get(name) {
        return Some(spec);
    }
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number: u32 = name[stem.len()..].parse().ok()?;
    let tidy = number.to_string() == name[stem.len()..] && number < members(stem);
    specs.get(&format!("{stem}[n]")).filter(|_| tidy)
}

/// The call behind a method and path, with the values that stand in the path.
pub(crate) fn route(method: &str, path: &[String]) -> Option<(&'static Endpoint, BTreeMap<String, String>)> {
    let fits = |endpoint: &&Endpoint| {
        endpoint.method == method
            && endpoint.parts.len() == path.len()
            && endpoint.parts.iter().zip(path).all(|(name, part)| name.starts_with('{') || name == part)
    };
    let endpoint = table().endpoints.iter().find(fits)?;
    let values = endpoint.parts.iter().zip(path).filter(|(name, _)| name.starts_with('{'));
    Some((endpoint, values.map(|(name, part)| (name.trim_matches(['{', '}']).to_owned(), part.clone())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let path = ["nodes", "pve1", "qemu", "100", "config"].map(String::from);
        let (endpoint, values) = route("PUT", &path).unwrap();
        assert_eq!(values["vmid"], "100");
        assert!(endpoint.is_protected());
        assert!(endpoint.param(Release::V9, "net31").is_some());
        assert!(endpoint.param(Release::V9, "net32").is_none());
        assert!(endpoint.param(Release::V9, "nosuch").is_none());
    }

    #[test]
    fn releases_know_different_parameters() {
        let path = ["nodes", "pve1", "qemu"].map(String::from);
        let (endpoint, _) = route("POST", &path).unwrap();
        assert!(endpoint.param(Release::V9, "ha-managed").is_some());
        assert!(endpoint.param(Release::V8, "ha-managed").is_none());
        let ping = ["nodes", "pve1", "qemu", "1", "agent", "ping"].map(String::from);
        let (endpoint, _) = route("POST", &ping).unwrap();
        assert_eq!(endpoint.permission(Release::V8), "/vms/{vmid}: VM.Monitor");
    }
}
