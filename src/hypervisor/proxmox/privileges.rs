//! Which privileges the work needs, and which of them are missing.
//!
//! `/access/permissions` lists the credential's effective privileges for every path that an access rule names, each
//! with whether it propagates. A path that is not listed inherits from the nearest one above it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::call::Call;
use super::connection::Connection;
use super::lenient::{scalar, truth};
use super::probe::{major, version};
use super::routes::PERMISSIONS;
use crate::domain::fault::Fault;
use crate::hypervisor::vm::{InUse, MissingPrivilege};

/// Needed on each VM.
const ON_VMS: [&str; 12] = [
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
];
/// Needed on each storage.
const ON_STORAGE: [&str; 2] = ["Datastore.AllocateSpace", "Datastore.Audit"];

/// Privileges by path, each with whether it propagates.
type Permissions = BTreeMap<String, BTreeMap<String, bool>>;

/// Two requests: the version, because the guest agent's privileges changed with 9, and the permissions.
pub(super) async fn missing(
    connection: &Connection,
    in_use: &InUse,
    pool: Option<&str>,
) -> Result<Vec<MissingPrivilege>, Fault> {
    let major = major(&version(connection).await?);
    let permissions = read(&connection.value(&Call::new(&PERMISSIONS, &[])).await?);
    Ok(judge(&permissions, major, in_use, pool))
}

fn read(data: &Value) -> Permissions {
    let Value::Object(paths) = data else { return Permissions::new() };
    let privileges = |value: &Value| {
        let Value::Object(fields) = value else { return BTreeMap::new() };
        let propagates = |value: &Value| scalar(value).as_deref().and_then(truth).unwrap_or(false);
        fields.iter().map(|(name, value)| (name.clone(), propagates(value))).collect()
    };
    paths.iter().map(|(path, value)| (path.clone(), privileges(value))).collect()
}

/// Whether `privilege` is held on `path`. With `below`, it must reach everything below, too.
fn holds(permissions: &Permissions, path: &str, privilege: &str, below: bool) -> bool {
    let mut at = path;
    loop {
        if let Some(listed) = permissions.get(at) {
            let propagates = listed.get(privilege);
            return if at == path && !below { propagates.is_some() } else { propagates == Some(&true) };
        }
        at = match at.rsplit_once('/') {
            Some(("", "")) | None => return false,
            Some(("", _)) => "/",
            Some((above, _)) => above,
        };
    }
}

fn judge(permissions: &Permissions, major: u32, in_use: &InUse, pool: Option<&str>) -> Vec<MissingPrivilege> {
    let mut missing: Vec<MissingPrivilege> = Vec::new();
    let mut need = |privilege: &str, path: &str, held: bool| {
        let lacking = MissingPrivilege { privilege: privilege.to_owned(), path: path.to_owned() };
        // Several workers may need the same for different reasons.
        if !held && !missing.contains(&lacking) {
            missing.push(lacking);
        }
    };
    need("Sys.Audit", "/", holds(permissions, "/", "Sys.Audit", false));
    let pool = pool.map(|pool| format!("/pool/{pool}"));
    let on_vms = |privilege: &str| {
        holds(permissions, "/vms", privilege, true)
            || pool.as_ref().is_some_and(|pool| holds(permissions, pool, privilege, true))
    };
    let vms = pool.as_deref().unwrap_or("/vms");
    for privilege in ON_VMS {
        need(privilege, vms, on_vms(privilege));
    }
    if major >= 9 {
        // Asking is allowed by either of the two (recorded 286), running a program by the second.
        let unrestricted = on_vms("VM.GuestAgent.Unrestricted");
        need("VM.GuestAgent.Audit", vms, unrestricted || on_vms("VM.GuestAgent.Audit"));
        need("VM.GuestAgent.Unrestricted", vms, unrestricted);
    } else {
        need("VM.Monitor", vms, on_vms("VM.Monitor"));
    }
    for storage in &in_use.storages {
        let path = format!("/storage/{storage}");
        for privilege in ON_STORAGE {
            need(privilege, &path, holds(permissions, &path, privilege, false));
        }
    }
    for (storage, host) in &in_use.images {
        let path = format!("/storage/{storage}");
        need("Datastore.AllocateTemplate", &path, holds(permissions, &path, "Datastore.AllocateTemplate", false));
        // To list what is on it, either of the two is enough.
        let lists = ON_STORAGE.iter().any(|privilege| holds(permissions, &path, privilege, false));
        need("Datastore.Audit", &path, lists);
        let path = format!("/nodes/{host}");
        // The older way to say it.
        let may_all = ["Sys.Audit", "Sys.Modify"].iter().all(|privilege| holds(permissions, "/", privilege, false));
        need("Sys.AccessNetwork", &path, may_all || holds(permissions, &path, "Sys.AccessNetwork", false));
    }
    for bridge in &in_use.bridges {
        let path = format!("/sdn/zones/localnetwork/{bridge}");
        // A bridge of another zone is an SDN vnet; a right on it is listed under that zone.
        let as_vnet = permissions.iter().any(|(path, held)| {
            path.starts_with("/sdn/zones/") && path.ends_with(&format!("/{bridge}")) && held.contains_key("SDN.Use")
        });
        need("SDN.Use", &path, as_vnet || holds(permissions, &path, "SDN.Use", false));
    }
    missing
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn granted(paths: &[(&str, &[&str], u8)]) -> Permissions {
        let object = |names: &[&str], flag: u8| names.iter().map(|name| ((*name).to_owned(), json!(flag))).collect();
        let paths = paths.iter().map(|(path, names, flag)| ((*path).to_owned(), Value::Object(object(names, *flag))));
        read(&Value::Object(paths.collect()))
    }

    fn names(missing: &[MissingPrivilege]) -> Vec<String> {
        missing.iter().map(ToString::to_string).collect()
    }

    fn in_use() -> InUse {
        InUse {
            storages: BTreeSet::from(["fast".to_owned()]),
            bridges: BTreeSet::from(["vmbr0".to_owned()]),
            images: BTreeSet::new(),
        }
    }

    fn vm_privileges(extra: &[&'static str]) -> Vec<&'static str> {
        ON_VMS.iter().chain(extra).copied().collect()
    }

    #[test]
    fn the_recommended_role_is_enough() {
        let on_vms = vm_privileges(&["VM.GuestAgent.Unrestricted"]);
        let permissions = granted(&[
            ("/", &["Sys.Audit"], 1),
            ("/vms", &on_vms, 1),
            ("/storage/fast", &ON_STORAGE, 0),
            ("/sdn/zones/localnetwork", &["SDN.Use"], 1),
        ]);
        assert_eq!(names(&judge(&permissions, 9, &in_use(), None)), Vec::<String>::new());
        assert_eq!(names(&judge(&permissions, 8, &in_use(), None)), ["VM.Monitor on /vms"]);
    }

    #[test]
    fn what_does_not_propagate_does_not_reach_a_vm() {
        let on_vms = vm_privileges(&["VM.Monitor"]);
        let permissions = granted(&[("/", &["Sys.Audit", "SDN.Use", "Datastore.Audit"], 1), ("/vms", &on_vms, 0)]);
        let missing = names(&judge(&permissions, 8, &in_use(), None));
        assert!(missing.contains(&"VM.Allocate on /vms".to_owned()), "{missing:?}");
        assert!(missing.contains(&"Datastore.AllocateSpace on /storage/fast".to_owned()));
        assert!(!missing.iter().any(|line| line.contains("SDN.Use") || line.contains("Datastore.Audit")));
    }

    #[test]
    fn a_nearer_rule_replaces_the_inherited_one() {
        let permissions =
            granted(&[("/", &["Datastore.Audit", "Datastore.AllocateSpace"], 1), ("/storage", &["X"], 1)]);
        assert!(!holds(&permissions, "/storage/fast", "Datastore.Audit", false));
        assert!(holds(&permissions, "/nodes/pve1", "Datastore.Audit", false));
    }

    #[test]
    fn rights_by_pool_and_on_vnets_count() {
        let on_vms = vm_privileges(&["VM.Monitor"]);
        let permissions = granted(&[
            ("/", &["Sys.Audit"], 0),
            ("/pool/backup", &on_vms, 1),
            ("/sdn/zones/blue/vmbr0", &["SDN.Use"], 1),
            ("/storage/fast", &ON_STORAGE, 1),
        ]);
        assert_eq!(names(&judge(&permissions, 8, &in_use(), Some("backup"))), Vec::<String>::new());
        let without_pool = judge(&permissions, 8, &in_use(), None);
        assert!(names(&without_pool).contains(&"VM.Clone on /vms".to_owned()));
    }

    #[test]
    fn images_by_url_need_rights_of_their_own() {
        let in_use = InUse { images: BTreeSet::from([("iso".to_owned(), "pve1".to_owned())]), ..InUse::default() };
        let on_vms = vm_privileges(&["VM.Monitor"]);
        let with = |rest: &[(&str, &[&str], u8)]| {
            let all = [&[("/", &["Sys.Audit"][..], 0), ("/vms", &on_vms, 1)], rest].concat();
            names(&judge(&granted(&all), 8, &in_use, None))
        };
        let all = ["Datastore.AllocateTemplate on /storage/iso", "Datastore.Audit on /storage/iso"];
        assert_eq!(with(&[]), [&all[..], &["Sys.AccessNetwork on /nodes/pve1"]].concat());
        let storage = ("/storage/iso", &["Datastore.AllocateTemplate", "Datastore.Audit"][..], 0);
        assert_eq!(with(&[storage]), ["Sys.AccessNetwork on /nodes/pve1"]);
        assert_eq!(with(&[storage, ("/nodes", &["Sys.AccessNetwork"], 1)]), Vec::<String>::new());
        assert_eq!(with(&[storage, ("/", &["Sys.Audit", "Sys.Modify"], 0)]), Vec::<String>::new());
    }

    #[test]
    fn no_permission_at_all_names_everything() {
        let missing = judge(&Permissions::new(), 9, &in_use(), None);
        assert_eq!(missing.len(), 1 + ON_VMS.len() + 2 + ON_STORAGE.len() + 1);
    }
}
