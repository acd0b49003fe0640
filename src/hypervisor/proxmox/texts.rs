//! What error texts mean. Proxmox VE has few status codes (not found is 500, locked is 500), so its texts are read:
//! their stable middle parts, never a VMID. The same texts come from calls and as the end of tasks.

use std::collections::BTreeMap;

use crate::domain::fault::FaultKind;

/// The kind of fault that an error text stands for, if it is one of those that matter. The numbers name recordings.
pub(super) fn kind_of_text(text: &str) -> Option<FaultKind> {
    let has = |part: &str| text.contains(part);
    let kind = if let Some(lock) = between(text, "is locked (", ")") {
        FaultKind::Locked(lock.to_owned())
    } else if has("QEMU guest agent is not running")
        || has("No QEMU guest agent configured")
        || vm_is(text, "is not running")
    {
        // 247, 288, 361. Before the test for "already stopped", whose text is nearly the same.
        FaultKind::GuestAway
    } else if is_taken(text) {
        FaultKind::AlreadyExists
    } else if has("does not exist") && has("Configuration file") || has("unable to find configuration file for VM") {
        // 182, 319: deleted or moved.
        FaultKind::NotFound
    } else if has("can't lock file") || has("got lock request timeout") || has("got no worker upid") {
        // 335, 383: an operation holds the lock file; the last is a worker that could not be forked.
        FaultKind::Busy
    } else if has("checksum mismatch (") || has("detected modified configuration") {
        // 188: somebody changed the configuration since it was read. Worth another look and another try. A download of
        // the wrong file ends with "checksum mismatch: got …", and is not.
        FaultKind::Busy
    } else if vm_is(text, "already running") || vm_is(text, "not running") {
        // 246, 314
        FaultKind::AlreadyDone
    } else if has("protection mode enabled") {
        FaultKind::Protected
    } else if has("no quorum") || (has("/etc/pve/") && has("Permission denied")) {
        // 704; 706, 713: without quorum /etc/pve can only be read.
        FaultKind::NoQuorum
    } else if has("RPCEnvironment init request failed") {
        // 670–677: the node's cluster file system is down, every call fails before it begins.
        FaultKind::Unreachable
    } else if has("hostname lookup") || has("no such cluster node") || has("is running - destroy failed") {
        FaultKind::Refused
    } else {
        return None;
    };
    Some(kind)
}

/// The VMID is taken: by the same node's file (120, 368), another node's (740, 741), or as a parameter error (739).
fn is_taken(text: &str) -> bool {
    (text.contains("unable to create VM") && text.contains("already exists"))
        || (text.contains("close (rename) atomic file") && text.contains("File exists"))
        || vm_is(text, "already exists")
}

/// Whether `text` is `VM <id> <state>`.
fn vm_is(text: &str, state: &str) -> bool {
    let rest = text.trim().strip_prefix("VM ").unwrap_or_default();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.trim_start() == state
}

/// A text with the queries of its URLs cut off: they may hold a signature or a token, and the text is shown to many.
pub(super) fn without_queries(text: &str) -> String {
    let cut = |word: &str| {
        let (url, query) = word.split_once('?').filter(|(url, _)| url.contains("://"))?;
        // What follows the URL, such as the end of a quotation, stays.
        let end = query.trim_end_matches(['\'', '"', ',', ';', ':', ')', '\n']).len();
        Some(format!("{url}?…{}", &query[end..]))
    };
    text.split(' ').map(|word| cut(word).unwrap_or_else(|| word.to_owned())).collect::<Vec<_>>().join(" ")
}

/// The privilege and path of a 403 such as `Permission check failed (/vms/104, VM.Audit)`. Empty where the text does
/// not say (recorded 020, 138).
pub(super) fn forbidden(text: &str) -> FaultKind {
    let inside = between(text, "Permission check failed (", ")").filter(|inside| inside.starts_with('/'));
    let (path, privilege) = inside.and_then(|inside| inside.split_once(", ")).unwrap_or_default();
    // "…, Sys.Modify for modifying tag 'x'"
    let privilege = privilege.split(' ').next().unwrap_or_default();
    FaultKind::Forbidden { privilege: privilege.to_owned(), path: path.to_owned() }
}

/// Signs that the API has too much to do: lock time-outs, workers that cannot be forked, calls that did not end in
/// time or ran into each other.
pub(super) fn shows_overload(status: u16, text: &str) -> bool {
    status == 596
        || status == 599
        || ["got timeout", "got lock request timeout", "got no worker upid", "overlap"]
            .iter()
            .any(|sign| text.contains(sign))
            && !text.contains("powerdown failed")
}

/// One line of what an answer says: its message and, by parameter, what is wrong with it.
pub(super) fn joined(message: &str, errors: &BTreeMap<String, String>) -> String {
    let errors = errors.iter().map(|(name, error)| format!("{name}: {}", one_line(error)));
    let message = one_line(message);
    let parts: Vec<String> = std::iter::once(message).filter(|text| !text.is_empty()).chain(errors).collect();
    parts.join("; ")
}

/// `text` on one line, at most 600 characters of it.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_texts_have_their_kinds() {
        let cases = [
            ("Configuration file 'nodes/pve1/qemu-server/300.conf' does not exist\n", Some(FaultKind::NotFound)),
            ("unable to find configuration file for VM 99999 on node 'pve1'", Some(FaultKind::NotFound)),
            ("unable to create VM 100 - VM 100 already exists on node 'pve1'\n", Some(FaultKind::AlreadyExists)),
            ("unable to create VM 202: config file already exists", Some(FaultKind::AlreadyExists)),
            (
                "close (rename) atomic file '/etc/pve/nodes/pve1/qemu-server/300.conf' failed: File exists",
                Some(FaultKind::AlreadyExists),
            ),
            ("VM 300 already exists", Some(FaultKind::AlreadyExists)),
            ("VM is locked (clone)\n", Some(FaultKind::Locked("clone".into()))),
            ("can't lock file '/var/lock/qemu-server/lock-200.conf' - got timeout", Some(FaultKind::Busy)),
            ("clone failed: cfs-lock 'storage-nfs' error: got lock request timeout", Some(FaultKind::Busy)),
            ("got no worker upid - start worker failed", Some(FaultKind::Busy)),
            ("checksum mismatch (file change by other user?)\n", Some(FaultKind::Busy)),
            ("VM 200 already running", Some(FaultKind::AlreadyDone)),
            ("VM 200 not running\n", Some(FaultKind::AlreadyDone)),
            ("VM 100 is not running\n", Some(FaultKind::GuestAway)),
            ("QEMU guest agent is not running\n", Some(FaultKind::GuestAway)),
            ("No QEMU guest agent configured\n", Some(FaultKind::GuestAway)),
            ("can't remove VM 201 - protection mode enabled\n", Some(FaultKind::Protected)),
            ("VM 200 is running - destroy failed\n", Some(FaultKind::Refused)),
            ("cluster not ready - no quorum?\n", Some(FaultKind::NoQuorum)),
            (
                "unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.2148' - Permission denied",
                Some(FaultKind::NoQuorum),
            ),
            (
                "RPCEnvironment init request failed: Unable to load access control list: Connection refused",
                Some(FaultKind::Unreachable),
            ),
            ("no such cluster node 'nowhere'", Some(FaultKind::Refused)),
            ("disk image '/var/lib/pvestore/images/100/vm-100-disk-7.raw' already exists", None),
            ("VM quit/powerdown failed - got timeout", None),
            ("checksum mismatch: got '0a' != expect '0b'", None),
            ("unable to create VM 201 - failed to stat '/var/lib/vz/import/none.qcow2'", None),
            ("start failed: QEMU exited with code 1", None),
        ];
        for (text, kind) in cases {
            assert_eq!(kind_of_text(text), kind, "{text}");
        }
    }

    #[test]
    fn queries_are_cut_off_urls() {
        for (text, shown) in [
            (
                "command '/usr/bin/wget -O x https://a.example.org/w.img?X-Sig=s3cr3t&b=c' failed: exit code 8",
                "command '/usr/bin/wget -O x https://a.example.org/w.img?…' failed: exit code 8",
            ),
            ("Location: http://b/x?t=1?u='2 [following]", "Location: http://b/x?… [following]"),
            ("--2026--  https://a/x?y\n", "--2026--  https://a/x?…\n"),
            ("is it there? see https://a/x", "is it there? see https://a/x"),
        ] {
            assert_eq!(without_queries(text), shown);
        }
    }

    #[test]
    fn a_refused_privilege_is_named() {
        let kind =
            |privilege: &str, path: &str| FaultKind::Forbidden { privilege: privilege.into(), path: path.into() };
        for (text, expected) in [
            ("Permission check failed (/vms/104, VM.Audit)\n", kind("VM.Audit", "/vms/104")),
            (
                "Permission check failed (/vms/200, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)",
                kind("VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted", "/vms/200"),
            ),
            ("Permission check failed (/, Sys.Modify for modifying tag 'x')", kind("Sys.Modify", "/")),
            ("Permission check failed", kind("", "")),
            ("Permission check failed (pool 'nope' does not exist)", kind("", "")),
        ] {
            assert_eq!(forbidden(text), expected, "{text}");
        }
    }

    #[test]
    fn overload_is_told_from_a_guest_that_does_not_shut_down() {
        assert!(shows_overload(500, "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout"));
        assert!(shows_overload(596, "Connection timed out"));
        assert!(!shows_overload(500, "VM quit/powerdown failed - got timeout"));
        assert!(!shows_overload(500, "VM is locked (backup)"));
    }

    #[test]
    fn parameters_are_named_in_one_line() {
        let errors = BTreeMap::from([("memory".to_owned(), "invalid format\nmemory.current: no".to_owned())]);
        assert_eq!(
            joined("Parameter verification failed.\n", &errors),
            "Parameter verification failed.; memory: invalid format memory.current: no"
        );
    }
}
