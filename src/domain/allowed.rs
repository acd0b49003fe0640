//! What hypervisors and images may be reached at: host names and networks, as the flag `--allowed-endpoints` lists them.
//!
//! A name is judged as a name and an address as an address; no name is resolved. What a name leads to when it is
//! resolved elsewhere, or later, nobody here could promise.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// Host names and networks; everything, if none are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedEndpoints(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// This host.
    Host(String),
    /// All hosts below this domain.
    Below(String),
    /// All addresses that have these first bits.
    Network(IpAddr, u8),
}

impl AllowedEndpoints {
    /// Reads entries such as `pve1.example.org`, `*.example.org`, `10.0.0.7`, `10.0.0.0/8` or `2001:db8::/32`.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        let rules = entries.iter().map(|entry| Rule::parse(entry.trim()));
        rules.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a URL's host is among them. A URL that names no host is not.
    pub fn allows(&self, url: &str) -> bool {
        self.0.is_empty() || host_of(url).is_some_and(|host| self.0.iter().any(|rule| rule.covers(&host)))
    }
}

impl fmt::Display for AllowedEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, rule) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Network(address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

/// The host of a URL, in lower case, without the brackets of an IPv6 address and the dot that may end a name.
pub fn host_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let host = host.strip_suffix('.').unwrap_or(host).to_lowercase();
    (!host.is_empty()).then_some(host)
}

impl Rule {
    fn parse(entry: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{entry:?} is neither a host name (pve1.example.org, *.example.org) nor a network (10.0.0.0/8) or address"
            )
        };
        if let Some((address, prefix)) = entry.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| bad())?;
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= width(address)).ok_or_else(bad)?;
            return Ok(Self::Network(address, prefix));
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Ok(Self::Network(address, width(address)));
        }
        let (name, below) = entry.strip_prefix("*.").map_or((entry, false), |domain| (domain, true));
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
        if name.is_empty() || !name.chars().all(fits) {
            return Err(bad());
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        Ok(if below { Self::Below(name) } else { Self::Host(name) })
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Host(name) => host == name,
            Self::Below(domain) => host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.')),
            Self::Network(network, prefix) => {
                host.parse().is_ok_and(|address| bits(*network, *prefix) == bits(address, *prefix))
            }
        }
    }
}

/// Bits of an address of this family.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `prefix` bits, with the family.
fn bits(address: IpAddr, prefix: u8) -> (bool, u128) {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    (address.is_ipv4(), value.checked_shr(u32::from(width - prefix.min(width))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(entries: &[&str]) -> AllowedEndpoints {
        AllowedEndpoints::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn nothing_listed_allows_everything() {
        assert!(AllowedEndpoints::default().allows("http://anywhere:1/x"));
    }

    #[test]
    fn hosts_are_judged_by_name_and_addresses_by_network() {
        let allowed = allowed(&["images.example.org", "*.lab", "10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]);
        for url in [
            "https://images.example.org/a.img",
            "https://IMAGES.example.org.:8443/a?b=c",
            "http://a.b.lab/x",
            "https://10.200.3.4:8006",
            "http://192.0.2.7/x",
            "https://[2001:db8:1::5]:8006/",
        ] {
            assert!(allowed.allows(url), "{url}");
        }
        for url in [
            "https://images.example.org.evil.example/a.img",
            "https://evil-images.example.org/",
            "https://example.org/",
            "https://lab/",
            "https://notlab/",
            "https://11.0.0.1/",
            "https://192.0.2.8/",
            "https://[2001:db9::1]/",
            // What some programs take for 10.0.0.1.
            "http://167772161/x",
            "http://0x0a000001/x",
            "http://images.example.org@evil.example/x",
            "not a url",
        ] {
            assert!(!allowed.allows(url), "{url}");
        }
    }

    #[test]
    fn a_wide_network_and_an_odd_entry() {
        assert!(allowed(&["0.0.0.0/0"]).allows("https://10.0.0.1/"));
        assert!(!allowed(&["0.0.0.0/0"]).allows("https://[::1]/"));
        assert!(allowed(&["::/0"]).allows("https://[::1]/"));
        for bad in ["", "*.", "10.0.0.0/33", "a b", "http://x", "10.0.0/8"] {
            assert!(AllowedEndpoints::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert_eq!(allowed(&["*.LAB", "10.0.0.0/8"]).to_string(), "*.lab,10.0.0.0/8");
    }
}
