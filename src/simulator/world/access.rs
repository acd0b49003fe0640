//! Users, tokens and their rights.

use std::collections::{BTreeMap, BTreeSet};

use super::refusal::Refusal;
use crate::simulator::scenario::{AclSpec, Release, Scenario, UserSpec};

/// Privileges that both releases know.
const PRIVILEGES: &str = "Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit \
     Group.Allocate Mapping.Audit Mapping.Modify Mapping.Use Permissions.Modify Pool.Allocate Pool.Audit \
     Realm.Allocate Realm.AllocateUser SDN.Allocate SDN.Audit SDN.Use Sys.AccessNetwork Sys.Audit Sys.Console \
     Sys.Incoming Sys.Modify Sys.PowerMgmt Sys.Syslog User.Modify VM.Allocate VM.Audit VM.Backup VM.Clone \
     VM.Config.CDROM VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory \
     VM.Config.Network VM.Config.Options VM.Console VM.Migrate VM.PowerMgmt VM.Snapshot VM.Snapshot.Rollback";
/// Privileges that only 8.4 knows.
const ONLY_V8: &str = "VM.Monitor";
/// Privileges that only 9.2 knows.
const ONLY_V9: &str = "VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt \
     VM.GuestAgent.FileWrite VM.GuestAgent.Unrestricted VM.Replicate";
/// Paths that `/access/permissions` shows besides those with an entry of their own.
const SHOWN_PATHS: [&str; 8] = ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"];

/// Every privilege of a release.
pub(crate) fn privileges(release: Release) -> BTreeSet<String> {
    let own = match release {
        Release::V8 => ONLY_V8,
        Release::V9 => ONLY_V9,
    };
    PRIVILEGES.split_whitespace().chain(own.split_whitespace()).map(String::from).collect()
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    /// `user@realm`.
    pub(crate) user: String,
    /// Token name, if a token is used.
    pub(crate) token: Option<String>,
    privsep: bool,
}

impl Caller {
    pub(crate) fn user(user: &str) -> Self {
        Self { user: user.to_owned(), token: None, privsep: false }
    }

    /// As it stands in task identifiers: `user@realm` or `user@realm!token`.
    pub(crate) fn full(&self) -> String {
        self.token.as_ref().map_or_else(|| self.user.clone(), |token| format!("{}!{token}", self.user))
    }

    /// What only the literal superuser may do, no token of his.
    pub(crate) fn is_root(&self) -> bool {
        self.user == "root@pam" && self.token.is_none()
    }
}

/// Roles, entries and accounts.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    users: Vec<UserSpec>,
    roles: BTreeMap<String, BTreeSet<String>>,
    acls: Vec<AclSpec>,
}

impl Access {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let all = privileges(scenario.release);
        let some = |test: &dyn Fn(&str) -> bool| all.iter().filter(|name| test(name)).cloned().collect::<BTreeSet<_>>();
        let audit = some(&|name| {
            name.ends_with(".Audit") && (name != "VM.GuestAgent.Audit" || scenario.release == Release::V9)
        });
        let user = some(&|name| {
            matches!(
                name,
                "VM.Audit" | "VM.Backup" | "VM.Console" | "VM.PowerMgmt" | "VM.Config.CDROM" | "VM.Config.Cloudinit"
            )
        });
        let mut roles = BTreeMap::from([
            ("Administrator".to_owned(), all.clone()),
            ("NoAccess".to_owned(), BTreeSet::new()),
            ("PVEAuditor".to_owned(), audit),
            ("PVEVMUser".to_owned(), user),
            ("PVEVMAdmin".to_owned(), some(&|name| name.starts_with("VM."))),
        ]);
        for (name, names) in &scenario.roles {
            roles.insert(name.clone(), names.iter().filter(|name| all.contains(*name)).cloned().collect());
        }
        Self { users: scenario.users.clone(), roles, acls: scenario.acls.clone() }
    }

    /// The caller behind a token, if it is valid at `now` (seconds since 1970).
    pub(crate) fn by_token(&self, user: &str, token: &str, secret: &str, now: i64) -> Option<Caller> {
        let account = self.users.iter().find(|account| account.id == user && account.enabled)?;
        let known = account.tokens.iter().find(|known| known.id == token && known.secret == secret)?;
        let alive = known.expire.is_none_or(|expire| expire == 0 || expire > now);
        alive.then(|| Caller { user: user.to_owned(), token: Some(token.to_owned()), privsep: known.privsep })
    }

    /// The caller behind a name and password.
    pub(crate) fn by_password(&self, user: &str, password: &str) -> Option<Caller> {
        let account = self.users.iter().find(|account| account.id == user && account.enabled)?;
        (account.password.as_deref() == Some(password)).then(|| Caller::user(user))
    }

    /// Whether the account exists and is not disabled.
    pub(crate) fn is_enabled(&self, user: &str) -> bool {
        self.users.iter().any(|account| account.id == user && account.enabled)
    }

    /// Takes a token away, as an administrator does.
    pub(crate) fn revoke(&mut self, user: &str, token: &str) {
        for account in self.users.iter_mut().filter(|account| account.id == user) {
            account.tokens.retain(|known| known.id != token);
        }
    }

    /// Adds or replaces an entry.
    pub(crate) fn grant(&mut self, entry: AclSpec) {
        self.acls.retain(|known| (&known.path, &known.to) != (&entry.path, &entry.to));
        self.acls.push(entry);
    }

    /// Removes the entries of `to` on `path`.
    pub(crate) fn withdraw(&mut self, path: &str, to: &str) {
        self.acls.retain(|entry| entry.path != path || entry.to != to);
    }

    /// What the caller may do on `path`.
    pub(crate) fn rights(&self, caller: &Caller, path: &str) -> BTreeSet<String> {
        self.rights_with(caller, path).into_keys().collect()
    }

    /// The same, with whether the right holds below the path.
    fn rights_with(&self, caller: &Caller, path: &str) -> BTreeMap<String, bool> {
        let own = self.rights_of(&caller.user, path);
        if !caller.privsep {
            return own;
        }
        let token = self.rights_of(&caller.full(), path);
        own.into_iter().filter_map(|(name, below)| token.get(&name).map(|too| (name, below && *too))).collect()
    }

    fn rights_of(&self, principal: &str, path: &str) -> BTreeMap<String, bool> {
        if principal == "root@pam" {
            return self.roles.get("Administrator").into_iter().flatten().map(|name| (name.clone(), true)).collect();
        }
        let mut found = BTreeMap::new();
        for step in steps(path) {
            let here =
                |entry: &&AclSpec| entry.to == principal && entry.path == step && (entry.propagate || step == path);
            let entries: Vec<_> = self.acls.iter().filter(here).collect();
            if entries.is_empty() {
                continue;
            }
            found.clear();
            if entries.iter().any(|entry| entry.role == "NoAccess") {
                continue;
            }
            for entry in entries {
                for name in self.roles.get(&entry.role).into_iter().flatten() {
                    *found.entry(name.clone()).or_insert(false) |= entry.propagate;
                }
            }
        }
        found
    }

    /// Whether the caller has one right. Asked for each machine of a list, so nothing is collected.
    pub(crate) fn may(&self, caller: &Caller, path: &str, privilege: &str) -> bool {
        self.has(&caller.user, path, privilege) && (!caller.privsep || self.has(&caller.full(), path, privilege))
    }

    fn has(&self, principal: &str, path: &str, privilege: &str) -> bool {
        if principal == "root@pam" {
            return self.roles.get("Administrator").is_some_and(|role| role.contains(privilege));
        }
        let on_the_way = |entry: &&AclSpec| {
            let below = entry.path == "/" || path.strip_prefix(&entry.path).is_some_and(|rest| rest.starts_with('/'));
            entry.to == principal && (entry.path == path || (below && entry.propagate))
        };
        let depth = |entry: &AclSpec| entry.path.trim_end_matches('/').len();
        let deepest = self.acls.iter().filter(on_the_way).map(depth).max();
        let mut entries = self.acls.iter().filter(on_the_way).filter(|entry| Some(depth(entry)) == deepest);
        let role = |entry: &AclSpec| self.roles.get(&entry.role).is_some_and(|role| role.contains(privilege));
        !entries.clone().any(|entry| entry.role == "NoAccess") && entries.any(role)
    }

    /// Refuses unless the caller has one of `any` on `path`.
    pub(crate) fn need_any(&self, caller: &Caller, path: &str, any: &[&str]) -> Result<(), Refusal> {
        if any.iter().any(|name| self.may(caller, path, name)) {
            return Ok(());
        }
        Err(Refusal::denied(&format!("{path}, {}", any.join("|"))))
    }

    /// Own rights for `/access/permissions`: path to privilege to propagation.
    pub(crate) fn dump(&self, caller: &Caller) -> BTreeMap<String, BTreeMap<String, u8>> {
        let entries = self.acls.iter().map(|entry| entry.path.clone());
        let paths: BTreeSet<String> = SHOWN_PATHS.iter().map(|path| (*path).to_owned()).chain(entries).collect();
        let rights = paths.into_iter().map(|path| {
            let rights = self.rights_with(caller, &path).into_iter().map(|(name, below)| (name, u8::from(below)));
            (path, rights.collect::<BTreeMap<_, _>>())
        });
        rights.filter(|(_, rights)| !rights.is_empty()).collect()
    }
}

/// `/`, `/a`, `/a/b` for `/a/b`.
fn steps(path: &str) -> Vec<String> {
    let mut steps = vec!["/".to_owned()];
    let mut so_far = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        so_far = format!("{so_far}/{part}");
        steps.push(so_far.clone());
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> (Access, Caller) {
        let access = Access::new(&Scenario::default_demo());
        let caller = access.by_token("stevedore@pve", "operator", crate::simulator::scenario::DEMO_SECRET, 0).unwrap();
        (access, caller)
    }

    #[test]
    fn a_token_needs_the_right_on_both_sides() {
        let (mut access, caller) = demo();
        assert!(access.may(&caller, "/vms/100", "VM.Audit"));
        access.withdraw("/", "stevedore@pve!operator");
        assert!(!access.may(&caller, "/vms/100", "VM.Audit"));
    }

    #[test]
    fn a_deeper_entry_replaces_what_comes_from_above() {
        let (mut access, caller) = demo();
        for to in ["stevedore@pve", "stevedore@pve!operator"] {
            let entry = AclSpec { path: "/vms/7".into(), to: to.into(), role: "NoAccess".into(), propagate: true };
            access.grant(entry);
        }
        assert!(!access.may(&caller, "/vms/7", "VM.Audit"));
        assert!(access.may(&caller, "/vms/8", "VM.Audit"));
    }

    #[test]
    fn refusals_name_path_and_privileges() {
        let (access, caller) = demo();
        let refusal = access.need_any(&caller, "/", &["Sys.Modify", "Sys.Console"]).unwrap_err();
        assert_eq!(refusal.message, "Permission check failed (/, Sys.Modify|Sys.Console)");
    }
}
