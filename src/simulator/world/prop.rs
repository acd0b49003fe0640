//! Property strings (`virtio=BC:24:…,bridge=vmbr0`) and sizes (`4G`), as Proxmox VE writes them.

use std::fmt::Write as _;

/// A parsed property string: its parts in order. A part without a key has an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Props(pub(crate) Vec<(String, String)>);

impl Props {
    pub(crate) fn parse(text: &str) -> Self {
        let parts = text.split(',').filter(|part| !part.is_empty()).map(|part| match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (String::new(), part.to_owned()),
        });
        Self(parts.collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value written without a key, or under `key`.
    pub(crate) fn head_or(&self, key: &str) -> Option<&str> {
        self.get("").or_else(|| self.get(key))
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some(part) => part.1 = value.into(),
            None => self.0.push((key.to_owned(), value.into())),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The first part, then the rest by name: the order in which Proxmox VE writes networks and disks.
    pub(crate) fn print(&self) -> String {
        let mut parts = self.0.clone();
        if let Some(rest) = parts.get_mut(1..) {
            rest.sort();
        }
        let mut text = String::new();
        for (key, value) in parts {
            let comma = if text.is_empty() { "" } else { "," };
            let equals = if key.is_empty() { "" } else { "=" };
            let _ = write!(text, "{comma}{key}{equals}{value}");
        }
        text
    }
}

/// Network card models; a net option begins with one, `model=MAC`.
pub(crate) const NET_MODELS: [&str; 14] = [
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

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Net {
    pub(crate) model: String,
    pub(crate) mac: Option<String>,
    pub(crate) rest: Props,
}

impl Net {
    pub(crate) fn parse(text: &str) -> Self {
        let mut net = Self::default();
        for (key, value) in Props::parse(text).0 {
            match key.as_str() {
                "" | "model" => net.model = value,
                "macaddr" => net.mac = Some(value.to_uppercase()),
                model if NET_MODELS.contains(&model) => {
                    net.model = key;
                    net.mac = Some(value.to_uppercase());
                }
                _ => net.rest.0.push((key, value)),
            }
        }
        net
    }

    pub(crate) fn bridge(&self) -> Option<&str> {
        self.rest.get("bridge")
    }

    pub(crate) fn print(&self) -> String {
        let mut props = self.rest.clone();
        props.0.insert(0, (self.model.clone(), self.mac.clone().unwrap_or_default()));
        props.print()
    }
}

/// Bytes of a size such as `4G`, `512M` or a number of bytes; absent if it is none.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    scale(digits, shift)
}

/// Bytes of a number of GiB, fractions allowed.
pub(crate) fn parse_gib(text: &str) -> Option<u64> {
    scale(text, 30)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes of disks"
)]
fn scale(digits: &str, shift: u32) -> Option<u64> {
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    Some((number * (1u64 << shift) as f64) as u64)
}

/// The shortest way to write a size.
pub(crate) fn print_size(bytes: u64) -> String {
    for (shift, unit) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_card_is_written_model_first() {
        let net = Net::parse("bridge=vmbr0,tag=5,virtio=bc:24:11:00:00:01,firewall=1");
        assert_eq!(net.print(), "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=5");
        assert_eq!(Net::parse("virtio,bridge=vmbr0").mac, None);
    }

    #[test]
    fn sizes_go_both_ways() {
        for (text, bytes) in [("4G", 4 << 30), ("196M", 196 << 20), ("1T", 1 << 40)] {
            assert_eq!(parse_size(text), Some(bytes));
            assert_eq!(print_size(bytes), text);
        }
        assert_eq!(parse_gib("0.5"), Some(512 << 20));
        assert_eq!(parse_size("4X"), None);
    }
}
