//! What a guest is, as the script [`FACTS`] tells it.

use std::net::IpAddr;

use super::channel::Output;
use super::records::{BadAnswer, Record, read};
use super::scripts::FACTS;

/// What a guest says of itself. Texts that the guest does not know are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its host name.
    pub hostname: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its operating system: `ID` of os-release, such as `debian`.
    pub os_id: String,
    /// `VERSION_ID` of os-release, such as `12`.
    pub os_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// Changes with each boot.
    pub boot_id: String,
    /// Its wall clock when the script began, seconds since 1970.
    pub clock_begin: i64,
    /// Its wall clock when the script ended, seconds since 1970.
    pub clock_end: i64,
    /// Whether and how cloud-init finished: `done`, `running`, `error`, `disabled`, `not-run`, `absent`, `unknown` …
    pub cloud_init: String,
    /// Free space of the file systems of `/` and `/var/lib`.
    pub disks: Vec<Disk>,
    /// Network interfaces, the loopback too.
    pub links: Vec<Link>,
    /// Addresses of the interfaces.
    pub addresses: Vec<Address>,
    /// Default routes.
    pub routes: Vec<Route>,
    /// The name servers it asks; those behind systemd-resolved's own address if it is used.
    pub nameservers: Vec<IpAddr>,
    /// Programs that were missing or of no use, each with what went wrong.
    pub problems: Vec<(String, String)>,
}

/// The space of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// A folder on it.
    pub folder: String,
    /// Its size, bytes.
    pub total_bytes: u64,
    /// What an ordinary user can still write, bytes.
    pub free_bytes: u64,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name in the guest, such as `eth0`.
    pub name: String,
    /// Its MAC address, upper case; `-` if it has none.
    pub mac: String,
    /// `UP`, `DOWN` or `UNKNOWN`.
    pub state: String,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface's name.
    pub link: String,
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length, bits.
    pub prefix: u8,
    /// Whether another machine on the network has it too, so that it is not used (IPv6 only).
    pub duplicate: bool,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whether it is IPv6's.
    pub v6: bool,
    /// The gateway; none for a route straight to the interface.
    pub gateway: Option<IpAddr>,
    /// The interface's name.
    pub link: String,
}

impl Facts {
    /// Reads the output of [`FACTS`].
    pub fn read(output: &Output) -> Result<Self, BadAnswer> {
        let mut reading = Reading::default();
        for record in read(FACTS, output)? {
            reading.take(&record)?;
        }
        reading.finish()
    }

    /// The addresses of the interface with this MAC address, in any spelling; none if there is no such interface.
    pub fn addresses_of(&self, mac: &str) -> Option<Vec<&Address>> {
        let mut links = self.links.iter().filter(|link| link.mac.eq_ignore_ascii_case(mac)).peekable();
        links.peek()?;
        // A bridge or a VLAN on top of a card bears the card's MAC address.
        let names: Vec<&str> = links.map(|link| link.name.as_str()).collect();
        Some(self.addresses.iter().filter(|address| names.contains(&address.link.as_str())).collect())
    }

    /// Whether cloud-init still works on this guest.
    pub fn is_being_set_up(&self) -> bool {
        self.cloud_init == "running" || self.cloud_init.starts_with("not-")
    }

    /// What was wrong with a program that the script needs; none if nothing was.
    pub fn problem_of(&self, program: &str) -> Option<&str> {
        self.problems.iter().find(|(name, _)| name == program).map(|(_, text)| text.as_str())
    }
}

/// Facts while their records come in.
#[derive(Default)]
struct Reading {
    facts: Facts,
    begin: Option<i64>,
    end: Option<i64>,
    configured: Vec<IpAddr>,
    resolved: Vec<IpAddr>,
}

impl Reading {
    fn take(&mut self, record: &Record) -> Result<(), BadAnswer> {
        let facts = &mut self.facts;
        match record.key() {
            "clock" => self.clock(record)?,
            "hostname" => facts.hostname = one(record)?,
            "kernel" => facts.kernel = one(record)?,
            "boot" => facts.boot_id = one(record)?,
            "cloud-init" => facts.cloud_init = one(record)?,
            "os" => [facts.os_id, facts.os_version, facts.os_name] = record.exactly()?.map(str::to_owned),
            "disk" => facts.disks.push(disk(record)?),
            "link" => facts.links.push(link(record)?),
            "address" => facts.addresses.push(address(record)?),
            "route" => facts.routes.push(route(record)?),
            "nameserver" => self.nameserver(record)?,
            "problem" => {
                let [program, text] = record.exactly()?;
                facts.problems.push((program.to_owned(), text.to_owned()));
            }
            _ => return Err(record.bad("nothing of that name is known")),
        }
        Ok(())
    }

    fn clock(&mut self, record: &Record) -> Result<(), BadAnswer> {
        let [when, epoch] = record.exactly()?;
        match when {
            "begin" => self.begin = Some(record.parsed(epoch)?),
            "end" => self.end = Some(record.parsed(epoch)?),
            _ => return Err(record.bad("neither begin nor end")),
        }
        Ok(())
    }

    fn nameserver(&mut self, record: &Record) -> Result<(), BadAnswer> {
        let [address, source] = record.exactly()?;
        let list = match source {
            "resolv.conf" => &mut self.configured,
            "resolved" => &mut self.resolved,
            _ => return Err(record.bad("an unknown source")),
        };
        // The file may hold anything that a person wrote into it; what is no address is no name server.
        list.extend(address.split('%').next().and_then(|text| text.parse::<IpAddr>().ok()));
        Ok(())
    }

    fn finish(self) -> Result<Facts, BadAnswer> {
        let (Some(clock_begin), Some(clock_end)) = (self.begin, self.end) else {
            return Err(BadAnswer::new(FACTS, "did not tell its clock"));
        };
        let only_stub = self.configured.iter().all(|address| STUBS.contains(&address.to_string().as_str()));
        let nameservers = if only_stub && !self.configured.is_empty() { self.resolved } else { self.configured };
        Ok(Facts { clock_begin, clock_end, nameservers, ..self.facts })
    }
}

/// The addresses at which systemd-resolved answers inside a guest (systemd-resolved.service(8)).
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

fn one(record: &Record) -> Result<String, BadAnswer> {
    record.exactly().map(|[text]| text.to_owned())
}

fn disk(record: &Record) -> Result<Disk, BadAnswer> {
    let [folder, total, free] = record.exactly()?;
    Ok(Disk { folder: folder.to_owned(), total_bytes: record.parsed(total)?, free_bytes: record.parsed(free)? })
}

fn link(record: &Record) -> Result<Link, BadAnswer> {
    let [name, mac, state] = record.exactly()?;
    Ok(Link { name: name.to_owned(), mac: mac.to_ascii_uppercase(), state: state.to_owned() })
}

fn address(record: &Record) -> Result<Address, BadAnswer> {
    let [link, address, _scope, health] = record.exactly()?;
    let duplicate = match health {
        "ok" | "tentative" => false,
        "dadfailed" => true,
        _ => return Err(record.bad("an unknown state")),
    };
    let (ip, prefix) = address.split_once('/').ok_or_else(|| record.bad("no prefix length"))?;
    let (ip, prefix): (IpAddr, u8) = (record.parsed(ip)?, record.parsed(prefix)?);
    if prefix > if ip.is_ipv4() { 32 } else { 128 } {
        return Err(record.bad("the prefix is longer than the address"));
    }
    Ok(Address { link: link.to_owned(), ip, prefix, duplicate })
}

fn route(record: &Record) -> Result<Route, BadAnswer> {
    let [family, gateway, link] = record.exactly()?;
    let v6 = match family {
        "inet" => false,
        "inet6" => true,
        _ => return Err(record.bad("an unknown family")),
    };
    let gateway = if gateway == "-" { None } else { Some(record.parsed(gateway)?) };
    Ok(Route { v6, gateway, link: link.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::records::tests::printed;
    use super::*;

    fn facts(lines: &str) -> Result<Facts, BadAnswer> {
        let clock = "clock\tbegin\t100\nclock\tend\t101\n";
        Facts::read(&printed(format!("script\tfacts\t1\n{clock}{lines}end\n")))
    }

    #[test]
    fn addresses_are_found_by_mac_in_any_spelling() {
        let facts = facts(
            "link\teth0\tbc:24:11:00:00:01\tUP\nlink\tbr0\tbc:24:11:00:00:01\tUP\n\
             address\tbr0\t10.0.0.5/24\tglobal\tok\naddress\tlo\t127.0.0.1/8\thost\tok\n",
        )
        .unwrap();
        let found = facts.addresses_of("BC:24:11:00:00:01").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].ip.to_string().as_str(), found[0].prefix), ("10.0.0.5", 24));
        assert!(facts.addresses_of("BC:24:11:00:00:02").is_none());
    }

    #[test]
    fn name_servers_behind_the_stub_are_the_ones_that_count() {
        let stub = "nameserver\t127.0.0.53\tresolv.conf\n";
        assert!(facts(stub).unwrap().nameservers.is_empty());
        let behind = facts(&format!("{stub}nameserver\t10.0.0.53\tresolved\n")).unwrap();
        assert_eq!(behind.nameservers, ["10.0.0.53".parse::<IpAddr>().unwrap()]);
        let plain = facts("nameserver\tfe80::1%eth0\tresolv.conf\nnameserver\trubbish\tresolv.conf\n").unwrap();
        assert_eq!(plain.nameservers, ["fe80::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        for line in ["disk\t/\tmany\t1\n", "address\teth0\t10.0.0.5/33\tglobal\tok\n", "weather\tfine\n", "kernel\n"] {
            assert!(facts(line).is_err(), "{line}");
        }
        let clockless = Facts::read(&printed("script\tfacts\t1\nend\n")).unwrap_err();
        assert_eq!(clockless.to_string(), "the script \"facts\" in the guest did not tell its clock");
    }

    proptest! {
        #[test]
        fn reading_never_panics(lines in "(?:(?:clock|disk|link|address|route|nameserver|os)(?:\t[ -~]{0,12}){0,5}\n){0,6}") {
            let _ = facts(&lines);
        }
    }
}
