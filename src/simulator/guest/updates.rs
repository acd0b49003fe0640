//! What an update of packages does in a simulated guest: one answer for both kinds of guest.

use std::fmt::Write as _;

use serde::Deserialize;

use super::inside::Inside;

/// What a package manager complains of that finds no way to its repository.
const NO_WAY: &str =
    "Failed to fetch http://deb.lab/stable/InRelease  Could not connect to deb.lab:80, connection timed out";
/// What apt adds when a repository cannot be read.
pub(super) const IGNORED: &str =
    "Some index files failed to download. They have been ignored, or old ones used instead.";

/// What an update meets, as the facts say; the default finds everything current.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Updates {
    pub(super) manager: Manager,
    /// Packages of which there is a newer version, once.
    pub(super) pending: u32,
    /// Packages that stay as they are although there is a newer version.
    pub(super) held_back: u32,
    /// What is installed asks for a reboot.
    pub(super) reboot: bool,
    /// Why the repository cannot be read.
    pub(super) fails: Option<String>,
    /// How many seconds it takes to install.
    pub(super) takes: Option<u64>,
    /// Who holds the lock for ever: a number and a name, such as `1234 (unattended-upgr)`.
    pub(super) lock: Option<String>,
    /// The one proxy, with its credentials, through which the repository can be reached.
    pub(super) proxy: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Manager {
    #[default]
    Apt,
    Dnf,
    None,
}

impl Manager {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
            Self::None => "none",
        }
    }

    /// The programs that a guest with this one lacks.
    pub(super) const fn lacks(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["dnf", "needs-restarting"],
            Self::Dnf => &["apt-get"],
            Self::None => &["apt-get", "dnf", "needs-restarting"],
        }
    }
}

impl Updates {
    pub(super) fn of(inside: Inside<'_>) -> Self {
        let Some(value) = inside.0.behaviours.get("updates") else { return Self::default() };
        serde_json::from_value(value.clone())
            .unwrap_or_else(|error| Self { fails: Some(format!("the scenario is wrong: {error}")), ..Self::default() })
    }

    /// Why the repository cannot be read through this proxy; `None` if it can.
    pub(super) fn obstacle(&self, inside: Inside<'_>, proxy: Option<&str>) -> Option<&str> {
        let reached = self.proxy.as_deref().is_none_or(|only| proxy == Some(only));
        match &self.fails {
            Some(text) => Some(text),
            None if inside.is_offline() || !reached => Some(NO_WAY),
            None => None,
        }
    }

    /// The same for programs, a fact a line.
    pub(super) fn told(&self, inside: Inside<'_>) -> String {
        let mut text = format!("pending {}\nheld-back {}\n", self.pending, self.held_back);
        let _ = writeln!(text, "reboot {}\ntakes {}", self.reboot, self.takes.unwrap_or(0));
        let facts = [
            ("lock", self.lock.as_deref()),
            ("proxy", self.proxy.as_deref()),
            ("fails", self.obstacle(inside, self.proxy.as_deref())),
            ("no-way", Some(NO_WAY)),
        ];
        for (name, value) in facts {
            let _ = value.map(|value| writeln!(text, "{name} {value}"));
        }
        text
    }
}
