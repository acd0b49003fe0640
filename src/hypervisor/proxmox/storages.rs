//! What storages can do, by their type: make snapshots of a VM's disk, hold files.

use crate::hypervisor::vm::ObstacleKind;

/// What a storage type can do about snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshots {
    /// By itself.
    Native,
    /// In a disk of the format qcow2; a disk there is raw unless that is asked for.
    InQcow2,
    /// Not at all.
    None,
    /// Depends on what cannot be seen, or the type is not known here.
    Unknown,
}

/// What a storage is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MadeOf {
    /// A directory of files, onto which others can be downloaded.
    Files,
    /// Volumes or backups: nothing can be downloaded onto it, whatever its content is.
    Volumes,
    /// The type is not known here.
    Unknown,
}

/// The table, by storage type and major version of Proxmox VE. Source: the storage plugins' feature tables, and which
/// plugins have a path.
fn abilities(kind: &str, major: u32) -> (Snapshots, MadeOf) {
    match kind {
        "lvmthin" | "zfspool" | "zfs" | "rbd" => (Snapshots::Native, MadeOf::Volumes),
        "btrfs" => (Snapshots::Native, MadeOf::Files),
        "dir" | "nfs" | "cifs" | "cephfs" | "glusterfs" => (Snapshots::InQcow2, MadeOf::Files),
        // Since 9 a thick LVM can keep a chain of volumes, if the administrator switched that on.
        "lvm" if major >= 9 => (Snapshots::Unknown, MadeOf::Volumes),
        "lvm" | "iscsi" | "iscsidirect" | "pbs" | "esxi" => (Snapshots::None, MadeOf::Volumes),
        _ => (Snapshots::Unknown, MadeOf::Unknown),
    }
}

/// What a storage of this type can do about snapshots.
pub(super) fn snapshots(kind: &str, major: u32) -> Snapshots {
    abilities(kind, major).0
}

/// Whether files can be downloaded onto a storage of this type. Of a type that is not known here its content decides.
pub(super) fn takes_files(kind: &str) -> bool {
    abilities(kind, 0).1 != MadeOf::Volumes
}

impl Snapshots {
    /// The disk format that a clone onto such a storage must be given.
    pub(super) fn format(self) -> Option<&'static str> {
        (self == Self::InQcow2).then_some("qcow2")
    }

    /// Why a worker cannot have its disk there.
    pub(super) fn obstacle(self) -> Option<ObstacleKind> {
        match self {
            Self::Native | Self::InQcow2 => None,
            Self::None => Some(ObstacleKind::StorageSnapshotsUnsupported),
            Self::Unknown => Some(ObstacleKind::StorageSnapshotsUnknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_volumes() {
        for kind in ["dir", "nfs", "cifs", "cephfs", "glusterfs", "btrfs", "of tomorrow"] {
            assert!(takes_files(kind), "{kind}");
        }
        for kind in ["lvm", "lvmthin", "zfspool", "zfs", "rbd", "iscsi", "iscsidirect", "pbs", "esxi"] {
            assert!(!takes_files(kind), "{kind}");
        }
    }

    #[test]
    fn snapshots_go_by_type_and_release() {
        for (kind, major, can) in [
            ("lvmthin", 8, Snapshots::Native),
            ("btrfs", 8, Snapshots::Native),
            ("nfs", 9, Snapshots::InQcow2),
            ("lvm", 8, Snapshots::None),
            ("lvm", 9, Snapshots::Unknown),
            ("of tomorrow", 9, Snapshots::Unknown),
        ] {
            assert_eq!(snapshots(kind, major), can, "{kind} {major}");
        }
    }
}
