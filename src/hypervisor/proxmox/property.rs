//! Property strings: `key=value` parts joined by commas, the form of `net0`, `scsi0`, `ipconfig0`, `agent` …
//!
//! Proxmox VE reorders and normalises them when it writes a configuration, so they are compared part by part, never as
//! text. Parts that are not ours are kept when a string is written back.

use std::fmt;

/// A parsed property string. Parts keep their order; a key stands in it once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Properties(Vec<(String, String)>);

impl Properties {
    /// Parses `text`; a part without a key gets `default_key`, as the schema's `default_key` says.
    pub(super) fn parse(text: &str, default_key: &str) -> Self {
        let mut parsed = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) => parsed.set(key.trim(), value.trim()),
                None => parsed.set(default_key, part),
            }
        }
        parsed
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Sets `key`, at its place if it is there already.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
    }

    /// Sets `key`, or removes it.
    pub(super) fn put(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.set(key, value),
            None => self.0.retain(|(name, _)| name != key),
        }
    }

    /// Whether both say the same, in whatever order.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|(key, value)| other.get(key) == Some(value))
    }

    fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.parts().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// The models of network cards that may stand as a key of `netN` (schema: `net[n].model`).
const MODELS: [&str; 14] = [
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
];

/// A network card: `netN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetCard {
    /// Such as `virtio`; empty if it is not given.
    pub(super) model: String,
    /// As it stands there, usually upper case. Written without one, Proxmox VE draws another at each write.
    pub(super) mac: Option<String>,
    /// All other parts.
    pub(super) rest: Properties,
}

impl NetCard {
    /// Parses `virtio=BC:24:11:00:00:01,bridge=vmbr0` and its other spellings (`virtio,…`, `model=virtio,macaddr=…`).
    pub(super) fn parse(text: &str) -> Self {
        let mut card = Self { model: String::new(), mac: None, rest: Properties::default() };
        for (key, value) in Properties::parse(text, "model").parts() {
            match key {
                "model" => value.clone_into(&mut card.model),
                "macaddr" => card.mac = Some(value.to_owned()),
                model if MODELS.contains(&model) => {
                    model.clone_into(&mut card.model);
                    card.mac = Some(value.to_owned());
                }
                _ => card.rest.set(key, value),
            }
        }
        card
    }
}

impl fmt::Display for NetCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        if let Some(mac) = &self.mac {
            write!(f, "={mac}")?;
        }
        if !self.rest.0.is_empty() {
            write!(f, ",{}", self.rest)?;
        }
        Ok(())
    }
}

/// Reads a size such as `196M` or `3G` into bytes; a number without a unit counts bytes. Units are powers of 1024.
pub(super) fn bytes_of(size: &str) -> Option<u64> {
    let size = size.trim();
    let digits = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
    let (number, unit) = size.split_at(digits);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(1 << shift),
        Some((whole, part)) => {
            let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
            let part = part.parse::<u64>().ok()?.checked_mul(1 << shift)? / scale;
            whole.parse::<u64>().ok()?.checked_mul(1 << shift)?.checked_add(part)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_strings_are_read() {
        let disk = Properties::parse("store2:200/vm-200-disk-0.qcow2,size=196M", "file");
        assert_eq!(disk.get("file"), Some("store2:200/vm-200-disk-0.qcow2"));
        assert_eq!(disk.get("size").and_then(bytes_of), Some(196 << 20));
        let agent = Properties::parse("1", "enabled");
        assert_eq!(agent.get("enabled"), Some("1"));
        assert!(Properties::parse("b=2,a=1", "").same_as(&Properties::parse("a=1,b=2", "")));
        assert!(!Properties::parse("a=1", "").same_as(&Properties::parse("a=1,b=2", "")));
    }

    #[test]
    fn a_card_is_read_in_each_spelling() {
        let text = "virtio=BC:24:11:88:AE:09,bridge=vmbr0,firewall=1";
        let card = NetCard::parse(text);
        assert_eq!((card.model.as_str(), card.mac.as_deref()), ("virtio", Some("BC:24:11:88:AE:09")));
        assert_eq!(card.to_string(), text);
        assert_eq!(NetCard::parse("model=virtio,bridge=vmbr0,macaddr=BC:24:11:88:AE:09,firewall=1"), card);
        assert_eq!(NetCard::parse("virtio,bridge=vmbr0").mac, None);
        assert_eq!(NetCard::parse("virtio,bridge=vmbr0").to_string(), "virtio,bridge=vmbr0");
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("0", 0), ("512K", 512 << 10), ("1.5G", 3 << 29), ("4T", 4 << 40)] {
            assert_eq!(bytes_of(text), Some(bytes), "{text}");
        }
        for bad in ["", "G", "1X", "1.G", "99999999999T"] {
            assert_eq!(bytes_of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(
            parts in proptest::collection::btree_map("[a-z][a-z0-9_-]{0,8}", "[A-Za-z0-9:/._;+-]{1,12}", 0..6)
        ) {
            let mut properties = Properties::default();
            for (key, value) in &parts {
                properties.set(key, value);
            }
            prop_assert_eq!(Properties::parse(&properties.to_string(), "file"), properties);
        }

        #[test]
        fn a_card_that_is_printed_is_read_again(
            model in proptest::sample::select(&MODELS[..]),
            mac in proptest::option::of("([0-9A-F]{2}:){5}[0-9A-F]{2}"),
            bridge in "vmbr[0-9]{1,3}",
            tag in proptest::option::of(1_u16..4095),
        ) {
            let mut rest = Properties::default();
            rest.set("bridge", &bridge);
            rest.put("tag", tag.map(|tag| tag.to_string()).as_deref());
            let card = NetCard { model: model.to_owned(), mac, rest };
            prop_assert_eq!(NetCard::parse(&card.to_string()), card);
        }

        #[test]
        fn nothing_makes_the_parsers_panic(text in "\\PC{0,60}") {
            let _ = (Properties::parse(&text, "x"), NetCard::parse(&text), bytes_of(&text));
        }
    }
}
