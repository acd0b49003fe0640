//! `dns`: the guest resolves the names that it needs, or at least has a name server.

use std::net::IpAddr;

use super::super::facts::Facts;
use super::super::reach::{Lookup, Lookups};
use super::Verdict;

/// Judges a guest that needs no name.
pub(super) fn judge_servers(facts: &Facts) -> Verdict {
    if facts.nameservers.is_empty() {
        return Err(format!(
            "expected a name server in /etc/resolv.conf, found none; {}",
            "set dns.servers of the worker, or let DHCP tell one"
        ));
    }
    Ok(format!("uses {}", list(&facts.nameservers)))
}

/// Judges the look-ups; `servers` are for the message.
pub(super) fn judge_lookups(lookups: &Lookups, servers: Option<&[IpAddr]>) -> Verdict {
    let failed: Vec<String> =
        lookups.iter().filter_map(|(name, lookup)| Some(format!("{name} {}", why(lookup)?))).collect();
    if failed.is_empty() {
        return Ok(format!("resolves {}", lookups.keys().map(String::as_str).collect::<Vec<_>>().join(", ")));
    }
    let servers = match servers {
        Some([]) => "the guest has no name server: set dns.servers of the worker, or let DHCP tell one".to_owned(),
        Some(servers) => {
            format!("look whether the guest's name servers ({}) answer and know the names", list(servers))
        }
        None => "look at the guest's name servers".to_owned(),
    };
    Err(format!("expected all names to resolve, but {}; {servers}", failed.join(", ")))
}

fn why(lookup: &Lookup) -> Option<&'static str> {
    match lookup {
        Lookup::Found(_) => None,
        Lookup::NotFound => Some("was not found"),
        Lookup::TimedOut => Some("got no answer in time"),
        Lookup::Failed => Some("could not be looked up"),
        Lookup::NoTool => Some("could not be looked up (the image has no getent)"),
    }
}

fn list(servers: &[IpAddr]) -> String {
    servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
