//! The mark on a VM, and the question whether a VM is ours.
//!
//! A VM is ours when *all* of these agree: the tag, the block of lines in its description, and (on Proxmox VE) the
//! SMBIOS uuid, which is derived from worker and operation. Tag and description alone prove nothing, because a clone
//! that a person makes copies them; the uuid alone proves nothing, because a restore keeps it: so the block names the
//! VM's id, too.

use std::fmt::Write as _;

use uuid::Uuid;

/// The tag on every VM of ours.
pub const TAG: &str = "stevedore";

/// First line of the block in a VM's description. A person's description may not contain its prefix.
const BLOCK_BEGIN: &str = "-- stevedore.dev/mark: written by Stevedore, do not edit --";
/// Last line of the block.
const BLOCK_END: &str = "-- stevedore.dev/mark: end --";

/// What we write on a VM, so that it can be recognised without anything that Kubernetes remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The installation of Stevedore: the UID of the `kube-system` namespace, or what `--installation-id` says.
    pub installation: String,
    /// The UID of the `Worker`.
    pub worker_uid: String,
    /// `namespace/name` of the `Worker`.
    pub worker: String,
    /// The operation that made the VM.
    pub operation: String,
    /// The VM's id on the hypervisor.
    pub vm_id: String,
}

impl Mark {
    /// The SMBIOS uuid that belongs to this mark: version 5, of worker and operation.
    pub fn uuid(&self) -> Uuid {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, self.worker_uid.as_bytes());
        Uuid::new_v5(&namespace, self.operation.as_bytes())
    }

    /// The block of lines for the description, after what people wrote.
    pub fn describe(&self, text: &str) -> String {
        let mut out = String::new();
        if !text.is_empty() {
            out.push_str(text);
            out.push_str("\n\n");
        }
        out.push_str(&self.block());
        out
    }

    /// The block alone, as it must stand in the description; printed to people who edited it away.
    pub fn block(&self) -> String {
        let mut out = String::from(BLOCK_BEGIN);
        for (key, value) in [
            ("installation", &self.installation),
            ("worker-uid", &self.worker_uid),
            ("worker", &self.worker),
            ("operation", &self.operation),
            ("vm-id", &self.vm_id),
        ] {
            // Writing to a String cannot fail.
            let _ = write!(out, "\nstevedore.dev/{key}: {value}");
        }
        out.push('\n');
        out.push_str(BLOCK_END);
        out
    }

    /// Reads the block in a description; `None` if there is none, or one with a line missing.
    pub fn parse(description: &str) -> Option<Self> {
        let (_, rest) = description.split_once(BLOCK_BEGIN)?;
        let (block, _) = rest.split_once(BLOCK_END)?;
        let value = |key: &str| {
            block.lines().find_map(|line| {
                let (name, value) = line.trim().split_once(": ")?;
                (name.strip_prefix("stevedore.dev/")? == key).then(|| value.trim().to_owned())
            })
        };
        Some(Self {
            installation: value("installation")?,
            worker_uid: value("worker-uid")?,
            worker: value("worker")?,
            operation: value("operation")?,
            vm_id: value("vm-id")?,
        })
    }
}

/// What a person puts back into the description of a VM that was this worker's, with the SMBIOS uuid `uuid`. `mark` has
/// everything but the operation, which is that of `candidates` whose uuid it is; if none is, a new pair of both will do.
pub fn remedy(mark: &Mark, uuid: &str, candidates: &[&str]) -> String {
    let of = |operation: &str| Mark { operation: operation.to_owned(), ..mark.clone() };
    let fits = |mark: &Mark| mark.uuid().to_string().eq_ignore_ascii_case(uuid);
    if let Some(mark) = candidates.iter().map(|operation| of(operation)).find(fits) {
        return format!("put back these lines into its description:\n{}", mark.block());
    }
    let mark = of(&format!("put-back-{uuid}"));
    format!("set its SMBIOS uuid to {} and put back these lines into its description:\n{}", mark.uuid(), mark.block())
}

/// What people wrote in a description: all of it but our block.
pub fn text_of(description: &str) -> String {
    let Some((before, rest)) = description.split_once(BLOCK_BEGIN) else {
        return description.trim().to_owned();
    };
    let after = rest.split_once(BLOCK_END).map_or("", |(_, after)| after);
    format!("{}\n{}", before.trim_end(), after.trim_start()).trim().to_owned()
}

/// What a VM shows of its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub vm_id: String,
    /// Whether it carries our tag.
    pub tagged: bool,
    /// Its description.
    pub description: String,
    /// Its SMBIOS uuid in lower case, if it has one.
    pub uuid: Option<String>,
}

/// Whom a VM belongs to, as seen by one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// All marks fit.
    Ours,
    /// The mark in the description fits, the uuid is not set yet: what the open operation `operation` has made but not
    /// completed. A clone has its template's tags, so the tag comes with the uuid.
    Unfinished {
        /// The operation in the mark.
        operation: String,
    },
    /// It has no mark, or that of another worker.
    Foreign,
    /// It says that it is this worker's, but something does not fit.
    Mismatch(String),
}

/// Judges a VM for the worker with `worker_uid` of `installation`.
pub fn judge(shown: &Shown, installation: &str, worker_uid: &str) -> Ownership {
    let Some(mark) = Mark::parse(&shown.description) else {
        return Ownership::Foreign;
    };
    if mark.worker_uid != worker_uid || mark.installation != installation {
        return Ownership::Foreign;
    }
    if mark.vm_id != shown.vm_id {
        return Ownership::Mismatch(format!(
            "the mark in its description is that of VM {}, so this is a copy or a restore of it; if it is yours, take the \
             stevedore.dev lines out of its description",
            mark.vm_id
        ));
    }
    let expected = mark.uuid().to_string();
    if !shown.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(&expected)) {
        return Ownership::Unfinished { operation: mark.operation };
    }
    if shown.tagged { Ownership::Ours } else { Ownership::Mismatch(format!("the tag {TAG} is missing; put it back")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            installation: "inst".into(),
            worker_uid: "uid-1".into(),
            worker: "backup/w1".into(),
            operation: "op-1".into(),
            vm_id: "5000".into(),
        }
    }

    fn shown() -> Shown {
        Shown {
            vm_id: "5000".into(),
            tagged: true,
            description: mark().describe("nightly backups"),
            uuid: Some(mark().uuid().to_string()),
        }
    }

    #[test]
    fn a_mark_survives_the_description() {
        let description = mark().describe("für die Nacht\nzwei Zeilen");
        assert_eq!(Mark::parse(&description), Some(mark()));
        assert_eq!(text_of(&description), "für die Nacht\nzwei Zeilen");
        assert_eq!(Mark::parse(&mark().describe("")), Some(mark()));
    }

    #[test]
    fn text_that_people_add_after_the_block_is_kept() {
        let description = format!("{}\nremember me", mark().describe("before"));
        assert_eq!(Mark::parse(&description), Some(mark()));
        assert_eq!(text_of(&description), "before\nremember me");
    }

    #[test]
    fn all_marks_must_fit() {
        assert_eq!(judge(&shown(), "inst", "uid-1"), Ownership::Ours);
        assert_eq!(judge(&shown(), "other", "uid-1"), Ownership::Foreign);
        assert_eq!(judge(&shown(), "inst", "uid-2"), Ownership::Foreign);
        let copy = Shown { vm_id: "5001".into(), ..shown() };
        assert!(matches!(judge(&copy, "inst", "uid-1"), Ownership::Mismatch(_)));
        let untagged = Shown { tagged: false, ..shown() };
        assert!(matches!(judge(&untagged, "inst", "uid-1"), Ownership::Mismatch(_)));
        let fresh = Shown { uuid: Some("04137809-b203-4b2d-b094-f8cdbb862117".into()), ..shown() };
        assert_eq!(judge(&fresh, "inst", "uid-1"), Ownership::Unfinished { operation: "op-1".into() });
        let untagged = Shown { tagged: false, ..fresh };
        assert_eq!(judge(&untagged, "inst", "uid-1"), Ownership::Unfinished { operation: "op-1".into() });
        assert_eq!(judge(&Shown::default(), "inst", "uid-1"), Ownership::Foreign);
    }

    #[test]
    fn what_is_put_back_makes_the_vm_ours_again() {
        let uuid = mark().uuid().to_string();
        assert!(remedy(&mark(), &uuid, &["op-0", "op-1"]).ends_with(&mark().block()));
        let text = remedy(&mark(), &uuid, &["op-0"]);
        let set = text.split_whitespace().find(|word| word.len() == 36).unwrap();
        let shown = Shown { description: text.clone(), uuid: Some(set.to_owned()), ..shown() };
        assert_eq!(judge(&shown, "inst", "uid-1"), Ownership::Ours);
    }

    #[test]
    fn another_operation_is_another_uuid() {
        let other = Mark { operation: "op-2".into(), ..mark() };
        assert_ne!(mark().uuid(), other.uuid());
    }
}
