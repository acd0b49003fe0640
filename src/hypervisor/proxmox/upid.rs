//! UPIDs: the names of tasks. `UPID:node:pid:pstart:starttime:type:id:user:`, the three numbers in hex.

use crate::domain::fault::{Fault, FaultKind};

/// A parsed UPID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upid<'a> {
    /// The node the task runs on: the one to ask.
    pub(super) node: &'a str,
    /// When it started, seconds since 1970 by the node's clock.
    pub(super) started: i64,
    /// Such as `qmclone`.
    pub(super) kind: &'a str,
    /// What it works on, usually a VMID (for a clone the *source*); may be empty.
    pub(super) id: &'a str,
    /// `user@realm` or `user@realm!token`.
    pub(super) user: &'a str,
}

impl<'a> Upid<'a> {
    /// Reads a UPID.
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        Self::read(text)
            .ok_or_else(|| Fault::new(FaultKind::Refused, format!("{text:?} is not a Proxmox VE task id (UPID)")))
    }

    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("UPID:")?.splitn(7, ':');
        let node = parts.next().filter(|node| !node.is_empty())?;
        hex(parts.next()?, 8..=8)?;
        hex(parts.next()?, 8..=9)?;
        let started = hex(parts.next()?, 8..=8)?;
        let kind = parts.next().filter(|kind| !kind.is_empty())?;
        let id = parts.next()?;
        let user = parts.next()?.strip_suffix(':').filter(|user| !user.is_empty() && !user.contains(':'))?;
        Some(Self { node, started, kind, id, user })
    }
}

fn hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let fits = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| i64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_upids_are_read() {
        let upid = Upid::parse("UPID:pve1:0000025B:00039E36:6B025509:qmcreate:100:dev@pve!t1:").unwrap();
        assert_eq!((upid.node, upid.kind, upid.id, upid.user), ("pve1", "qmcreate", "100", "dev@pve!t1"));
        assert_eq!(upid.started, 1_795_314_953);
        let long = Upid::parse("UPID:pve9:000F0000:100010000:60000000:imgdel::root@pam:").unwrap();
        assert_eq!((long.id, long.user), ("", "root@pam"));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "garbage",
            "UPID:",
            "UPID:pve1:25B:00039E36:6B025509:qmcreate:100:dev@pve:",
            "UPID:pve1:0000025B:00039E36:6B025509:qmcreate:100:dev@pve",
            "UPID:pve1:0000025B:00039E36:6B025509:qmcreate:100:",
            "UPID:pve1:0000025G:00039E36:6B025509:qmcreate:100:dev@pve:",
        ] {
            assert_eq!(Upid::parse(bad).unwrap_err().kind, FaultKind::Refused, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_upid_is_read_and_nothing_panics(pid: u32, start: u32, id in "[0-9]{0,9}", other in "\\PC{0,60}") {
            let text = format!("UPID:node-1:{pid:08X}:{:09X}:{start:08X}:qmstart:{id}:a@b!c:", u64::from(pid) * 2);
            let upid = Upid::parse(&text).unwrap();
            prop_assert_eq!(upid.started, i64::from(start));
            prop_assert_eq!(upid.id, id);
            let _ = Upid::parse(&other);
        }
    }
}
