//! The folder that stands for a simulated guest's root: stand-ins for its programs, and the facts that they tell.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::inside::{Inside, KERNEL, OS};
use super::updates::Updates;
use crate::clock::{Clock, SystemClock};
use crate::simulator::guest_exec::GuestFacts;

/// Tells the drafts of this process apart.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

macro_rules! stand_ins {
    ($($name:literal),*) => { [$(($name, include_str!(concat!("stand_ins/", $name, ".sh")))),*] };
}

/// Programs that tell the facts of the guest instead of those of this machine.
const STAND_INS: [(&str, &str); 14] = stand_ins![
    "apt-get",
    "cloud-init",
    "date",
    "df",
    "dnf",
    "getent",
    "ip",
    "nc",
    "needs-restarting",
    "poweroff",
    "reboot",
    "systemctl",
    "systemd-run",
    "uname"
];

/// Programs of this machine that a guest may use: they depend on nothing but what they are given.
const BORROWED: [&str; 33] = [
    "awk", "base64", "basename", "cat", "cut", "dirname", "echo", "env", "expr", "false", "grep", "head", "ls",
    "mkdir", "mv", "od", "printenv", "printf", "rm", "rmdir", "sed", "seq", "sh", "sleep", "sort", "stat", "sync",
    "tail", "timeout", "touch", "tr", "true", "wc",
];

/// Makes or refreshes the folder `root` for these facts.
pub(super) fn prepare(root: &Path, facts: &GuestFacts) -> io::Result<()> {
    let inside = Inside(facts);
    let boots = facts.boots.to_string();
    if fs::read_to_string(root.join("boots")).ok().as_deref() != Some(&boots) {
        match fs::remove_dir_all(root.join("run")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for folder in ["bin", "tools", "stand-ins", "etc", "facts", "run/units", "proc/sys/kernel/random", "tmp", "var/lib"]
    {
        fs::create_dir_all(root.join(folder))?;
    }
    programs(root, &inside.missing_programs())?;
    write(root, "boots", &boots)?;
    system(root, inside)?;
    network(root, inside)?;
    reach(root, inside)
}

/// The programs, once for each set of missing ones.
fn programs(root: &Path, missing: &BTreeSet<String>) -> io::Result<()> {
    let mark = format!("without: {missing:?}\n");
    if fs::read_to_string(root.join("programs")).ok().as_deref() == Some(&mark) {
        return Ok(());
    }
    for entry in fs::read_dir(root.join("bin"))? {
        fs::remove_file(entry?.path())?;
    }
    let mut copy = Command::new("/bin/cp");
    for (name, text) in STAND_INS.iter().filter(|(name, _)| !missing.contains(*name)) {
        let original = root.join("stand-ins").join(name);
        fs::write(&original, text)?;
        fs::set_permissions(&original, fs::Permissions::from_mode(0o755))?;
        copy.arg(original);
    }
    // Another process writes what will be run: a file that this one writes is open for a moment in whatever it forks
    // meanwhile, and the system refuses to run it then ("text file busy").
    if !copy.arg(root.join("bin")).env_clear().status()?.success() {
        return Err(io::Error::other("cp failed"));
    }
    for name in BORROWED.iter().filter(|name| !missing.contains(**name)) {
        if let Some(program) = of_this_machine(name) {
            symlink(program, root.join("bin").join(name))?;
        }
    }
    // The stand-in for date counts on from this machine's clock, out of reach by name.
    let date = root.join("tools/date");
    if let (Some(program), false) = (of_this_machine("date"), date.exists()) {
        symlink(program, date)?;
    }
    write(root, "programs", &mark)
}

fn of_this_machine(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}

fn system(root: &Path, inside: Inside<'_>) -> io::Result<()> {
    let facts = inside.0;
    let os = format!("PRETTY_NAME=\"{}\"\nID={}\nVERSION_ID=\"{}\"\n", OS[2], OS[0], OS[1]);
    write(root, "etc/os-release", &os)?;
    write(root, "etc/hostname", &format!("{}\n", facts.hostname))?;
    write(root, "proc/sys/kernel/random/boot_id", &format!("{}\n", inside.boot_id()))?;
    // Whatever it counts from, it never jumps; a guest's own clock would stand still between two programs.
    let uptime = root.join("proc/uptime");
    if !uptime.exists() {
        symlink("/proc/uptime", uptime)?;
    }
    write(root, "facts/kernel", &format!("{KERNEL}\n"))?;
    write(root, "facts/users", &format!("{}\n", inside.users().join("\n")))?;
    write(root, "facts/cloud-init", &format!("{}\n", inside.cloud_init()))?;
    let errors = match inside.cloud_init() {
        "done" => Some("[]"),
        "error" => Some("[\"failed\"]"),
        _ => None,
    };
    if let Some(errors) = errors {
        std::fs::create_dir_all(root.join("run/cloud-init"))?;
        let result = format!("{{\n \"v1\": {{\n  \"datasource\": \"none\",\n  \"errors\": {errors}\n }}\n}}\n");
        write(root, "run/cloud-init/result.json", &result)?;
    }
    let ahead = facts.clock.duration_since(SystemClock.wall()).as_secs_f64().round();
    write(root, "facts/clock-ahead", &format!("{ahead:.0}\n"))?;
    let [total, free] = [facts.disk_total_bytes, facts.disk_free_bytes].map(|bytes| bytes / 1024);
    write(root, "facts/disk", &format!("{total} {} {free}\n", total.saturating_sub(free)))?;
    write(root, "facts/updates", &Updates::of(inside).told(inside))?;
    let mut units = String::new();
    for (name, unit) in inside.units() {
        let words = [&unit.load, &unit.active, &unit.sub, &unit.result, &unit.main_status].map(String::as_str);
        let _ = writeln!(units, "{name} {}", words.join(" "));
    }
    write(root, "facts/units", &units)
}

fn network(root: &Path, inside: Inside<'_>) -> io::Result<()> {
    let mut links = "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 state UNKNOWN mode DEFAULT\\    link/loopback \
                     00:00:00:00:00:00 brd 00:00:00:00:00:00\n"
        .to_owned();
    let mut addresses = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n".to_owned();
    let (mut routes4, mut routes6) = (String::new(), String::new());
    for (index, card) in (2..).zip(&inside.0.interfaces) {
        let name = &card.name;
        let _ = writeln!(
            links,
            "{index}: {name}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP mode DEFAULT\\    link/ether {} brd \
             ff:ff:ff:ff:ff:ff",
            card.mac
        );
        for (address, prefix) in &card.addresses {
            let family = if address.is_ipv4() { "inet" } else { "inet6" };
            let _ = writeln!(
                addresses,
                "{index}: {name}    {family} {address}/{prefix} scope global {name}\\       valid_lft forever"
            );
        }
        if let Some(gateway) = card.gateway {
            let routes = if gateway.is_ipv4() { &mut routes4 } else { &mut routes6 };
            let _ = writeln!(routes, "default via {gateway} dev {name}");
        }
    }
    write(root, "facts/links", &links)?;
    write(root, "facts/addresses", &addresses)?;
    write(root, "facts/routes4", &routes4)?;
    write(root, "facts/routes6", &routes6)
}

fn reach(root: &Path, inside: Inside<'_>) -> io::Result<()> {
    let facts = inside.0;
    let servers = facts.nameservers.iter().map(|server| format!("nameserver {server}\n"));
    let search = if facts.search_domains.is_empty() {
        String::new()
    } else {
        format!("search {}\n", facts.search_domains.join(" "))
    };
    write(root, "etc/resolv.conf", &servers.chain([search]).collect::<String>())?;
    let hosts = inside.names().into_iter();
    let hosts = hosts.flat_map(|(name, list)| list.into_iter().map(move |address| format!("{name} {address}\n")));
    write(root, "facts/hosts", &hosts.collect::<String>())?;
    let open = inside.open().into_iter().map(|(host, port)| format!("{host} {port}\n"));
    write(root, "facts/open", &open.collect::<String>())?;
    let filtered = inside.filtered().into_iter().map(|target| format!("{target}\n"));
    write(root, "facts/filtered", &filtered.collect::<String>())?;
    write(root, "facts/offline", if inside.is_offline() { "yes\n" } else { "no\n" })
}

/// Writes a file unless it has that text; a program that reads it sees the old or the new text.
fn write(root: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = root.join(name);
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    // Several programs may run in one guest at once, so each writer has a file of its own.
    let draft = root.join(format!("{name}.{}", DRAFTS.fetch_add(1, Ordering::Relaxed)));
    fs::write(&draft, text)?;
    fs::rename(&draft, &path)
}
