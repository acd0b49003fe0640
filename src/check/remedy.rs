//! What to install in an image, by the package manager that it has.

/// How a program or a service gets into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remedy {
    apt: &'static str,
    dnf: &'static str,
}

/// The guest agent.
pub(super) const AGENT: Remedy = Remedy { apt: "qemu-guest-agent", dnf: "qemu-guest-agent" };
/// What sets addresses, users and names.
pub(super) const CLOUD_INIT: Remedy = Remedy { apt: "cloud-init", dnf: "cloud-init" };
/// What grows the root file system.
pub(super) const GROWPART: Remedy = Remedy { apt: "cloud-guest-utils", dnf: "cloud-utils-growpart" };
/// SSH.
pub(super) const SSH: Remedy = Remedy { apt: "openssh-server", dnf: "openssh-server" };
/// What keeps the clock.
pub(super) const CLOCK: Remedy = Remedy { apt: "chrony", dnf: "chrony" };

/// Programs that the operator's scripts use, each with what brings it.
pub(super) const PROGRAMS: &[(&str, Remedy)] = &[
    ("systemctl", Remedy { apt: "systemd", dnf: "systemd" }),
    ("systemd-run", Remedy { apt: "systemd", dnf: "systemd" }),
    ("ip", Remedy { apt: "iproute2", dnf: "iproute" }),
    ("getent", Remedy { apt: "libc-bin", dnf: "glibc-common" }),
    ("df", Remedy { apt: "coreutils", dnf: "coreutils" }),
    ("timeout", Remedy { apt: "coreutils", dnf: "coreutils" }),
];

/// Programs of which one is enough to connect to a target.
pub(super) const CONNECTORS: [&str; 4] = ["nc", "bash", "python3", "curl"];

impl Remedy {
    /// The command that installs it, for the image's package manager: `apt`, `dnf` or something else.
    pub(super) fn command(self, packages: &str) -> String {
        match packages {
            "apt" => format!("apt-get install {}", self.apt),
            "dnf" => format!("dnf install {}", self.dnf),
            _ if self.apt == self.dnf => format!("install {}", self.apt),
            _ => format!("install {} (Debian) or {} (Rocky Linux)", self.apt, self.dnf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_manager_has_its_names() {
        assert_eq!(GROWPART.command("apt"), "apt-get install cloud-guest-utils");
        assert_eq!(GROWPART.command("dnf"), "dnf install cloud-utils-growpart");
        assert_eq!(
            GROWPART.command("none"),
            "install cloud-guest-utils (Debian) or cloud-utils-growpart (Rocky Linux)"
        );
        assert_eq!(AGENT.command("none"), "install qemu-guest-agent");
    }
}
