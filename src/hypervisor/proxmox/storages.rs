//! Which storages can make snapshots of a VM's disk.

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

/// The table, by storage type and major version of Proxmox VE. Source: the storage plugins' feature tables.
pub(super) fn snapshots(kind: &str, major: u32) -> Snapshots {
    match kind {
        "lvmthin" | "zfspool" | "zfs" | "rbd" | "btrfs" => Snapshots::Native,
        "dir" | "nfs" | "cifs" | "cephfs" | "glusterfs" => Snapshots::InQcow2,
        // Since 9 a thick LVM can keep a chain of volumes, if the administrator switched that on.
        "lvm" if major >= 9 => Snapshots::Unknown,
        "lvm" | "iscsi" | "iscsidirect" | "pbs" | "esxi" => Snapshots::None,
        _ => Snapshots::Unknown,
    }
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
