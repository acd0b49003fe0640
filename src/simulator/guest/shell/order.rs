//! What the stand-in for systemd-run asks for: a unit with its properties.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A transient unit that is to be run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) input: Option<PathBuf>,
    /// Where both streams of output go.
    pub(super) output: Option<PathBuf>,
    pub(super) user: String,
    /// How long it may run.
    pub(super) limit: Option<Duration>,
    /// How long it has between being asked to end and being killed.
    pub(super) grace: Duration,
    /// Before the command, after it has begun, and after its end.
    pub(super) before: Vec<Vec<String>>,
    pub(super) begun: Vec<Vec<String>>,
    pub(super) after: Vec<Vec<String>>,
    /// The command.
    pub(super) command: Vec<String>,
}

impl Order {
    pub(super) fn read(text: &str) -> Self {
        let (properties, words) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut order = Self { command: words.lines().map(str::to_owned).collect(), ..Self::default() };
        properties.lines().filter_map(|line| line.split_once('=')).for_each(|(name, value)| order.set(name, value));
        order
    }

    /// Properties that no unit of ours needs played are left out: all programs run as the same user.
    fn set(&mut self, name: &str, value: &str) {
        let words = || value.trim_start_matches(['-', '+']).split(' ').map(str::to_owned).collect();
        let seconds = || value.parse().map(Duration::from_secs).ok();
        match name {
            "StandardInput" => self.input = path("file:", value),
            "StandardOutput" => self.output = path("append:", value),
            "User" => value.clone_into(&mut self.user),
            "RuntimeMaxSec" => self.limit = seconds(),
            "TimeoutStopSec" => self.grace = seconds().unwrap_or_default(),
            "ExecStartPre" => self.before.push(words()),
            "ExecStartPost" => self.begun.push(words()),
            "ExecStopPost" => self.after.push(words()),
            _ => {}
        }
    }
}

fn path(kind: &str, value: &str) -> Option<PathBuf> {
    value.strip_prefix(kind).map(|path| Path::new(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read() {
        let text = "User=root\nRuntimeMaxSec=60\nTimeoutStopSec=30\nStandardInput=file:/a\nStandardOutput=append:/b\n\
                    ExecStartPre=+/bin/sh x\nExecStartPre=/bin/sh -s\nExecStartPost=-+/bin/z\nExecStopPost=+/bin/y\nMemoryMax=1\n\n/bin/sh\n-s\nrun\n";
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expected = Order {
            input: Some("/a".into()),
            output: Some("/b".into()),
            user: "root".into(),
            limit: Some(Duration::from_secs(60)),
            grace: Duration::from_secs(30),
            before: vec![words(&["/bin/sh", "x"]), words(&["/bin/sh", "-s"])],
            begun: vec![words(&["/bin/z"])],
            after: vec![words(&["/bin/y"])],
            command: words(&["/bin/sh", "-s", "run"]),
        };
        assert_eq!(Order::read(text), expected);
    }
}
