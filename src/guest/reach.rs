//! What a guest can resolve and connect to, as the scripts [`RESOLVE`] and [`CONNECT`] tell it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::channel::Output;
use super::records::{BadAnswer, Record, read};
use super::scripts::{CONNECT, RESOLVE};

/// What looking up one name gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The name's addresses, at least one.
    Found(Vec<IpAddr>),
    /// Name service knows no such name, or does not answer: the C library tells both alike.
    NotFound,
    /// No answer in time.
    TimedOut,
    /// The look-up broke.
    Failed,
    /// The guest has no program to look names up.
    NoTool,
}

/// The look-ups by name.
pub type Lookups = BTreeMap<String, Lookup>;

/// Reads the output of [`RESOLVE`]; every one of `names` must have an answer.
pub fn read_lookups(output: &Output, names: &[String]) -> Result<Lookups, BadAnswer> {
    let mut lookups = Lookups::new();
    for record in read(RESOLVE, output)? {
        let (name, lookup) = lookup(&record)?;
        lookups.insert(name, lookup);
    }
    match names.iter().find(|name| !lookups.contains_key(*name)) {
        Some(name) => Err(BadAnswer::new(RESOLVE, format!("did not say what became of the name {name}"))),
        None => Ok(lookups),
    }
}

fn lookup(record: &Record) -> Result<(String, Lookup), BadAnswer> {
    let ("name", [name, word, addresses @ ..]) = (record.key(), record.values()) else {
        return Err(record.bad("a name and a result belong there"));
    };
    let lookup = match (word.as_str(), addresses) {
        ("ok", [_, ..]) => Lookup::Found(addresses.iter().map(|text| address(record, text)).collect::<Result<_, _>>()?),
        ("not-found", []) => Lookup::NotFound,
        ("timed-out", []) => Lookup::TimedOut,
        ("failed", []) => Lookup::Failed,
        ("no-tool", []) => Lookup::NoTool,
        _ => return Err(record.bad("an unknown result")),
    };
    Ok((name.clone(), lookup))
}

/// An address, without the zone that a link-local one may carry.
fn address(record: &Record, text: &str) -> Result<IpAddr, BadAnswer> {
    record.parsed(text.split('%').next().unwrap_or_default())
}

/// A TCP target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// Puts the two together; brackets around an IPv6 address are taken off.
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Self { host: bare.to_owned(), port }
    }

    /// The host if it is a name, which must be resolved.
    pub fn name(&self) -> Option<&str> {
        self.host.parse::<IpAddr>().is_err().then_some(self.host.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How an attempt to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The connection stood.
    Ok,
    /// The target's machine refused it: nothing listens there.
    Refused,
    /// No answer: a firewall drops it, or the machine is off.
    TimedOut,
    /// The host's name has no address.
    Unresolved,
    /// There is no way there.
    Unreachable,
    /// Something else went wrong.
    Failed,
    /// The guest has no program that connects.
    NoTool,
}

/// One attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its end.
    pub reached: Reached,
    /// The program that tried, such as `nc`; `-` for none.
    pub tool: String,
    /// What that program said.
    pub said: String,
}

/// The attempts by target.
pub type Attempts = BTreeMap<Endpoint, Attempt>;

/// Reads the output of [`CONNECT`]; every one of `targets` must have an answer.
pub fn read_attempts(output: &Output, targets: &[Endpoint]) -> Result<Attempts, BadAnswer> {
    let mut attempts = Attempts::new();
    for record in read(CONNECT, output)? {
        let (target, attempt) = attempt(&record)?;
        attempts.insert(target, attempt);
    }
    match targets.iter().find(|target| !attempts.contains_key(*target)) {
        Some(target) => Err(BadAnswer::new(CONNECT, format!("did not say what became of {target}"))),
        None => Ok(attempts),
    }
}

fn attempt(record: &Record) -> Result<(Endpoint, Attempt), BadAnswer> {
    if record.key() != "target" {
        return Err(record.bad("nothing of that name is known"));
    }
    let [host, port, word, tool, said] = record.exactly()?;
    let reached = match word {
        "ok" => Reached::Ok,
        "refused" => Reached::Refused,
        "timed-out" => Reached::TimedOut,
        "unresolved" => Reached::Unresolved,
        "unreachable" => Reached::Unreachable,
        "failed" => Reached::Failed,
        "no-tool" => Reached::NoTool,
        _ => return Err(record.bad("an unknown result")),
    };
    let target = Endpoint { host: host.to_owned(), port: record.parsed(port)? };
    Ok((target, Attempt { reached, tool: tool.to_owned(), said: said.to_owned() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::records::tests::printed;
    use super::*;

    #[test]
    fn a_name_without_an_answer_makes_the_whole_answer_bad() {
        let output = printed("script\tresolve\t1\nname\ta\tok\t10.0.0.1\tfe80::1%eth0\nend\n");
        let found = read_lookups(&output, &["a".to_owned()]).unwrap();
        assert_eq!(found["a"], Lookup::Found(vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()]));
        let text = read_lookups(&output, &["b".to_owned()]).unwrap_err().to_string();
        assert!(text.ends_with("did not say what became of the name b"), "{text}");
    }

    #[test]
    fn targets_are_known_by_host_and_port() {
        let output = printed("script\tconnect\t1\ntarget\t::1\t22\trefused\tnc\tConnection refused\nend\n");
        let target = Endpoint::new("[::1]", 22);
        let attempts = read_attempts(&output, std::slice::from_ref(&target)).unwrap();
        assert_eq!(attempts[&target].reached, Reached::Refused);
        assert_eq!(target.to_string(), "[::1]:22");
        assert!(read_attempts(&output, &[Endpoint::new("::1", 23)]).is_err());
    }

    #[test]
    fn only_names_need_name_service() {
        assert_eq!(Endpoint::new("pve1.lab", 8006).name(), Some("pve1.lab"));
        assert_eq!(Endpoint::new("10.0.0.1", 8006).name(), None);
        assert_eq!(Endpoint::new("[2001:db8::1]", 8006).name(), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(lines in "(?:(?:name|target)(?:\t(?:ok|refused|[ -~]{0,9})){0,6}\n){0,4}") {
            let _ = read_lookups(&printed(format!("script\tresolve\t1\n{lines}end\n")), &[]);
            let _ = read_attempts(&printed(format!("script\tconnect\t1\n{lines}end\n")), &[]);
        }
    }
}
