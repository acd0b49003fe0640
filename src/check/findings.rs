//! What is found out about an image, one thing after the other.

use std::fmt;
use std::time::Duration;

use super::remedy::{AGENT, CLOCK, CLOUD_INIT, CONNECTORS, GROWPART, PROGRAMS, SSH};
use super::trial::{Trial, TrialError, Wish};
use crate::clock::{Clock as _, SystemClock};
use crate::guest::channel::{GuestChannel, Output, Script};
use crate::guest::checks::{
    AddressWanted, CheckPlan, CheckResult, ConnectTarget, ExpectedNetwork, Outcome, run_checks,
};
use crate::guest::facts::Facts;
use crate::guest::image::{ImageFacts, OLDEST_SYSTEMD};
use crate::guest::reach::{Endpoint, Lookup, read_lookups};
use crate::guest::scripts::{FACTS, IMAGE, RESOLVE};
use crate::hypervisor::Hypervisor as _;

/// For one question to a guest that may run in software emulation.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long a guest may take to power off.
const GRACE: Duration = Duration::from_secs(180);
/// The last lines of a console that are shown.
const CONSOLE_LINES: usize = 12;

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// As it should be.
    Good,
    /// Works, but not as well as it could.
    Advice,
    /// Keeps the image from being a worker.
    Fault,
}

/// One thing that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    weight: Weight,
    name: String,
    text: String,
}

impl Finding {
    fn new(weight: Weight, name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { weight, name: name.into(), text: text.into() }
    }

    /// As it should be.
    pub(super) fn good(name: &str, text: impl Into<String>) -> Self {
        Self::new(Weight::Good, name, text)
    }

    /// Good if `fits`, else of that weight with what to do.
    fn judged(name: &str, fits: bool, good: impl Into<String>, weight: Weight, bad: impl Into<String>) -> Self {
        if fits { Self::new(Weight::Good, name, good) } else { Self::new(weight, name, bad) }
    }

    /// Whether it keeps the image from being a worker.
    pub(super) fn is_fault(&self) -> bool {
        self.weight == Weight::Fault
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.weight {
            Weight::Good => "ok",
            Weight::Advice => "advice",
            Weight::Fault => "FAULT",
        };
        write!(f, "{word:<7} {:<16} {}", self.name, self.text)
    }
}

impl From<&CheckResult> for Finding {
    fn from(result: &CheckResult) -> Self {
        let weight = if result.outcome == Outcome::Passed { Weight::Good } else { Weight::Fault };
        Self::new(weight, result.name.clone(), result.message.clone())
    }
}

/// Boots the image and finds out what there is to find out, telling each finding as it comes.
pub(super) async fn collect(
    trial: &Trial,
    wish: &Wish,
    unit: Option<&str>,
    patience: Duration,
    mut tell: impl FnMut(Finding),
) -> Result<(), TrialError> {
    trial.deploy(wish).await?;
    let begun = SystemClock.boot();
    trial.start(wish).await?;
    if !trial.agent_comes(wish, patience).await {
        tell(silent(&trial.console(wish), patience));
        return Ok(());
    }
    let took = SystemClock.boot().since(begun).as_secs();
    let how = trial.acceleration().unwrap_or_default();
    tell(Finding::new(Weight::Good, "boot", format!("its agent answers {took} s after power-on (by {how})")));
    let guest = trial.guest(wish);
    let facts = match ask(&*guest, FACTS, &["100".to_owned()], Facts::read).await {
        Ok(facts) => facts,
        Err(why) => {
            tell(Finding::new(Weight::Fault, "commands", format!("{why}; {COMMANDS}")));
            return Ok(());
        }
    };
    tell(Finding::new(Weight::Good, "commands", format!("the agent runs programs; this is {}", facts.os_name)));
    let mut asked = vec![Wish::user().to_owned()];
    asked.extend(PROGRAMS.iter().map(|(name, _)| (*name).to_owned()));
    asked.extend(CONNECTORS.map(str::to_owned));
    match ask(&*guest, IMAGE, &asked, ImageFacts::read).await {
        Ok(image) => inside(wish, &facts, &image).into_iter().for_each(&mut tell),
        Err(why) => tell(Finding::new(Weight::Fault, "image", why)),
    }
    tell(names(&*guest).await);
    for result in run_checks(&*guest, &plan(trial, wish, unit).await, &[], &SystemClock, DEADLINE).await {
        tell(check(&result, &facts));
    }
    tell(shut_down(trial, wish).await?);
    Ok(())
}

const COMMANDS: &str = "the agent must be allowed to run programs: on Rocky Linux, take guest-exec and guest-exec-status \
                        out of what /etc/sysconfig/qemu-ga blocks (or into what it allows)";

/// What a guest without an agent has shown instead.
fn silent(console: &str, patience: Duration) -> Finding {
    let shown = console.replace(['\r', '\u{1b}'], "");
    let lines: Vec<&str> = shown.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n    ");
    let why = if lines.iter().any(|line| line.contains("login:")) {
        format!("it boots, but has no guest agent that answers: {}, and enable it", AGENT.command("none"))
    } else if lines.is_empty() {
        "nothing came from its serial console either: it does not boot by this firmware, or its kernel has no \
         console=ttyS0"
            .to_owned()
    } else {
        "it seems not to have booted to its end".to_owned()
    };
    let seconds = patience.as_secs();
    let text = format!("no guest agent answered within {seconds} s; {why}; its console ends with\n    {last}");
    Finding::new(Weight::Fault, "boot", text)
}

async fn ask<T>(
    guest: &dyn GuestChannel,
    script: Script,
    args: &[String],
    read: impl Fn(&Output) -> Result<T, crate::guest::records::BadAnswer>,
) -> Result<T, String> {
    let output = guest.run(script, args, &[], DEADLINE).await.map_err(|fault| fault.to_string())?;
    read(&output).map_err(|bad| bad.to_string())
}

/// What cloud-init did, and what the image brings.
fn inside(wish: &Wish, facts: &Facts, image: &ImageFacts) -> Vec<Finding> {
    let packages = image.packages.as_str();
    let mut all = vec![
        systemd(image),
        Finding::judged(
            "cloud-init",
            facts.cloud_init == "done" && facts.hostname == wish.name,
            format!("has applied its drive: the host name is {}", facts.hostname),
            Weight::Fault,
            format!(
                "is {:?} and the host name {:?}, not {:?}: {}, enable it, and let it look for NoCloud and ConfigDrive",
                facts.cloud_init,
                facts.hostname,
                wish.name,
                CLOUD_INIT.command(packages)
            ),
        ),
        user(image),
        Finding::judged(
            "root-grows",
            facts.disks.iter().any(|disk| disk.folder == "/" && disk.total_bytes >> 30 >= wish.disk_gib - 2),
            "the root file system has grown with the disk",
            Weight::Fault,
            format!(
                "the root file system has not grown to the {} GiB of the disk: {}, and let it be the last partition",
                wish.disk_gib,
                GROWPART.command(packages)
            ),
        ),
    ];
    all.extend(programs(image));
    all.extend(manners(image));
    all
}

fn systemd(image: &ImageFacts) -> Finding {
    let text = match image.systemd {
        _ if image.init != "systemd" => {
            format!("process 1 is {}: commands and services are run by systemd", image.init)
        }
        None => return Finding::new(Weight::Good, "systemd", "process 1 is systemd"),
        Some(version) if version >= OLDEST_SYSTEMD => {
            return Finding::new(Weight::Good, "systemd", format!("process 1 is systemd {version}"));
        }
        Some(version) => format!(
            "process 1 is systemd {version}, and {OLDEST_SYSTEMD} is the oldest that runs commands and updates: take a \
             newer release of the distribution"
        ),
    };
    Finding::new(Weight::Fault, "systemd", text)
}

fn user(image: &ImageFacts) -> Finding {
    let text = match image.user_keys {
        Some(1) => return Finding::new(Weight::Good, "user", "cloud-init has made the user and its key"),
        Some(keys) => format!("the user has {keys} SSH keys, not the one that was asked for"),
        None => "cloud-init has not made the user that was asked for".to_owned(),
    };
    Finding::new(Weight::Fault, "user", format!("{text}: see `cloud-init status --long` in the guest"))
}

fn programs(image: &ImageFacts) -> Vec<Finding> {
    let lacks = |name: &str| image.missing.iter().any(|missing| missing == name);
    let mut all: Vec<Finding> = PROGRAMS
        .iter()
        .filter(|(name, _)| lacks(name))
        .map(|(name, remedy)| {
            Finding::new(Weight::Fault, "programs", format!("there is no {name}: {}", remedy.command(&image.packages)))
        })
        .collect();
    if CONNECTORS.iter().all(|name| lacks(name)) {
        let text = format!("there is none of {}: install one of them", CONNECTORS.join(", "));
        all.push(Finding::new(Weight::Fault, "programs", text));
    }
    if all.is_empty() {
        all.push(Finding::new(Weight::Good, "programs", "all that the operator's scripts use is there"));
    }
    all
}

/// How the image behaves towards its surroundings.
fn manners(image: &ImageFacts) -> Vec<Finding> {
    let lock = image.lock_held.as_deref().unwrap_or_default();
    vec![
        Finding::judged(
            "packages",
            image.packages != "none",
            format!("updates are made by {}", image.packages),
            Weight::Advice,
            "neither apt nor dnf is there: such a worker cannot be updated",
        ),
        Finding::judged(
            "package-lock",
            image.lock_held.is_none(),
            "nobody holds the package manager's lock after boot",
            Weight::Advice,
            format!(
                "somebody holds {lock} after boot, so that updates have to wait: take unattended upgrades out, and \
                 package_update and package_upgrade out of cloud-init's configuration"
            ),
        ),
        Finding::judged(
            "host-keys",
            image.host_keys > 0,
            format!("{} SSH host keys were made", image.host_keys),
            Weight::Advice,
            format!("there are no SSH host keys: {}", SSH.command(&image.packages)),
        ),
    ]
}

/// Everything that a test of a worker looks at.
async fn plan(trial: &Trial, wish: &Wish, unit: Option<&str>) -> CheckPlan {
    let mac = trial.client.vm(&wish.at()).await.ok().and_then(|seen| seen.macs.into_iter().next());
    CheckPlan {
        networks: vec![ExpectedNetwork {
            name: "lan".to_owned(),
            mac: mac.unwrap_or_default(),
            ipv4: AddressWanted::Assigned,
            ipv6: AddressWanted::Nothing,
        }],
        endpoints: vec![Endpoint::new("pve1.lab", 8006)],
        connect: vec![ConnectTarget { name: "target".to_owned(), at: Endpoint::new("repo.lab", 2049) }],
        unit: unit.map(str::to_owned),
        ..CheckPlan::default()
    }
}

/// Whether name servers and search domains that are declared reach a card whose address comes from DHCP.
async fn names(guest: &dyn GuestChannel) -> Finding {
    let short = "pve1".to_owned();
    let asked = ["20".to_owned(), short.clone()];
    let found = ask(guest, RESOLVE, &asked, |output| read_lookups(output, std::slice::from_ref(&short))).await;
    let fits = found.is_ok_and(|lookups| matches!(lookups.get(&short), Some(Lookup::Found(_))));
    Finding::judged(
        "dns-settings",
        fits,
        "declared search domains are used",
        Weight::Advice,
        "declared search domains are not used beside DHCP: spec.dns of a worker has an effect on static addresses only \
         (cloud-init does so where it sets the network up by netplan)",
    )
}

fn check(result: &CheckResult, facts: &Facts) -> Finding {
    let mut finding = Finding::from(result);
    if finding.is_fault() && finding.name == "clock" {
        let packages = if facts.os_id == "debian" || facts.os_id == "ubuntu" { "apt" } else { "dnf" };
        finding.text = format!("{}; {}", finding.text, CLOCK.command(packages));
    }
    finding
}

async fn shut_down(trial: &Trial, wish: &Wish) -> Result<Finding, TrialError> {
    let begun = SystemClock.boot();
    let by_itself = trial.shuts_down(wish, GRACE).await?;
    let took = SystemClock.boot().since(begun).as_secs();
    Ok(Finding::judged(
        "shutdown",
        by_itself,
        format!("powers off by itself when asked to ({took} s)"),
        Weight::Fault,
        format!("did not power off within {} s of being asked to", GRACE.as_secs()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageFacts {
        ImageFacts {
            init: "systemd".to_owned(),
            systemd: Some(OLDEST_SYSTEMD),
            packages: "apt".to_owned(),
            user_keys: Some(1),
            host_keys: 3,
            ..ImageFacts::default()
        }
    }

    fn facts() -> Facts {
        let disk = crate::guest::facts::Disk { folder: "/".to_owned(), total_bytes: 9 << 30, free_bytes: 8 << 30 };
        Facts { hostname: "candidate".to_owned(), cloud_init: "done".to_owned(), disks: vec![disk], ..Facts::default() }
    }

    fn faults(facts: &Facts, image: &ImageFacts) -> Vec<String> {
        let all = inside(&Wish::of("candidate", 5000), facts, image);
        all.iter().filter(|finding| finding.weight != Weight::Good).map(Finding::to_string).collect()
    }

    #[test]
    fn a_good_image_has_no_faults() {
        assert_eq!(faults(&facts(), &image()), Vec::<String>::new());
    }

    #[test]
    fn a_systemd_that_is_too_old_is_a_fault_and_one_that_tells_no_version_is_not() {
        let old = faults(&facts(), &ImageFacts { systemd: Some(OLDEST_SYSTEMD - 1), ..image() });
        assert!(old.len() == 1 && old[0].contains("process 1 is systemd 244, and 245 is the oldest"), "{old:?}");
        assert_eq!(faults(&facts(), &ImageFacts { systemd: None, ..image() }), Vec::<String>::new());
        let other = faults(&facts(), &ImageFacts { init: "init".to_owned(), systemd: None, ..image() });
        assert!(other[0].contains("process 1 is init: commands and services are run by systemd"), "{other:?}");
    }

    #[test]
    fn what_is_missing_is_named_with_what_brings_it() {
        let bare = ImageFacts { missing: vec!["ip".to_owned()], packages: "dnf".to_owned(), ..image() };
        let found = faults(&facts(), &bare);
        assert_eq!(found, ["FAULT   programs         there is no ip: dnf install iproute"]);
        let deaf = ImageFacts { missing: CONNECTORS.map(str::to_owned).to_vec(), ..image() };
        assert!(faults(&facts(), &deaf)[0].contains("none of nc, bash, python3, curl"));
        let unset = Facts { cloud_init: "absent".to_owned(), hostname: "localhost".to_owned(), ..facts() };
        let found = faults(&unset, &ImageFacts { user_keys: None, ..image() });
        assert!(
            found[0].contains("apt-get install cloud-init") && found[1].contains("has not made the user"),
            "{found:?}"
        );
        let small = Facts { disks: vec![], ..facts() };
        assert!(faults(&small, &image())[0].contains("apt-get install cloud-guest-utils"));
    }

    #[test]
    fn a_silent_guest_is_judged_by_its_console() {
        let minute = Duration::from_secs(60);
        let booted = silent("Debian GNU/Linux 13 worker ttyS0\r\n\r\nworker login: ", minute);
        assert!(booted.is_fault() && booted.text.contains("install qemu-guest-agent"), "{booted}");
        assert!(silent("", minute).text.contains("does not boot by this firmware"));
        assert!(silent("[ 1.0] Kernel panic", minute).text.ends_with("Kernel panic"));
    }
}
