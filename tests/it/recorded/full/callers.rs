//! Who called, and with which rights.

use stevedore::simulator::scenario::{AclSpec, Scenario, TokenSpec, UserSpec};

use crate::simulator::probe::Probe;

/// Tokens besides those of the curated exchanges, with their secrets.
const TOKENS: &[(&str, &str)] = &[("apart", "s11"), ("auditor", "s12"), ("vmuser", "s13"), ("expired", "s14")];
/// What two of them may do with machine 100.
const ROLES: &[(&str, &str)] = &[("auditor", "PVEAuditor"), ("vmuser", "PVEVMUser")];

/// Name of the role that has all privileges but these.
pub(super) fn role_without(lacks: &str) -> String {
    if lacks.is_empty() { "Recorded".to_owned() } else { format!("Without {lacks}") }
}

/// Gives the token whose rights were changed between the calls all rights but those that it lacked at `path`. `before`
/// is the path of the last time.
pub(super) fn set_rights(probe: &Probe, lacks: &str, path: &str, before: &str) {
    let to = "stevedore@pve!min";
    let entry = |path: &str, role: String| AclSpec { path: path.into(), to: to.into(), role, propagate: true };
    probe.simulator.world(|world| {
        world.withdraw(before, to);
        world.withdraw("/", to);
        world.grant(entry("/", role_without("")));
        world.withdraw(path, to);
        world.grant(entry(path, role_without(lacks)));
    });
}

/// Puts everybody there who called, and their rights in the world called `name`.
pub(super) fn accounts(scenario: &mut Scenario, name: &str) {
    let entry = |to: &str, path: &str, role: &str| AclSpec {
        path: path.into(),
        to: to.into(),
        role: role.into(),
        propagate: true,
    };
    for (id, secret) in TOKENS {
        let expire = (*id == "expired").then_some(1_700_000_000);
        let token = TokenSpec { id: (*id).into(), secret: (*secret).into(), privsep: true, expire };
        scenario.users[0].tokens.push(token);
    }
    for (id, role) in ROLES.iter().filter(|_| name == "later") {
        scenario.acls.push(entry(&format!("dev@pve!{id}"), "/vms/100", role));
    }
    let token = |id: &str| TokenSpec { id: id.into(), secret: "s15".into(), privsep: false, expire: None };
    let min = TokenSpec { privsep: true, ..token("min") };
    let off = scenario.users.iter_mut().find(|user| user.id == "off@pve");
    off.unwrap().tokens.push(token("o"));
    scenario.users.push(UserSpec {
        id: "stevedore@pve".into(),
        tokens: vec![token("full"), min],
        ..UserSpec::default()
    });
    scenario.roles.insert("Recorded".into(), role(name).map(str::to_owned).collect());
    scenario.acls.push(entry("stevedore@pve", "/", "Recorded"));
    if name == "lab" {
        for path in ["/pool/stv", "/storage/btr", "/storage/dir1", "/vms/100", "/vms/110", "/vms/111", "/vms/9001"] {
            scenario.acls.push(entry("weak@pve", path, "PVEAuditor"));
        }
    }
}

/// The role behind `stevedore@pve`, as `/access/permissions` told it (recorded 905).
const RECORDED_ROLE: &str = "Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit \
    Pool.Allocate Pool.Audit SDN.Use Sys.Audit Sys.Incoming VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM \
    VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory VM.Config.Network \
    VM.Config.Options VM.Console VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt \
    VM.GuestAgent.FileWrite VM.GuestAgent.Unrestricted VM.Migrate VM.PowerMgmt VM.Snapshot VM.Snapshot.Rollback";

/// The role in this world: it was given two more privileges in the end (recorded 905).
pub(super) fn role(world: &str) -> impl Iterator<Item = &'static str> {
    let early = world == "datapath";
    RECORDED_ROLE.split(' ').filter(move |name| !early || !matches!(*name, "Sys.Incoming" | "VM.Migrate"))
}

/// Value of the `Authorization` header of whom a recording names.
pub(super) fn authorization(caller: &str) -> String {
    let token = |who: &str, secret: &str| format!("PVEAPIToken={who}={secret}");
    if let Some((id, secret)) = TOKENS.iter().find(|(id, _)| *id == caller) {
        return token(&format!("dev@pve!{id}"), secret);
    }
    match caller {
        "none" => String::new(),
        "malformed API token header" => "PVEAPIToken=garbage".into(),
        "Authorization: Bearer …" => "Bearer abc".into(),
        "API token with a wrong secret" => token("dev@pve!t1", "wrong"),
        "API token id that does not exist" | "removed" => token("dev@pve!nosuch", "s1"),
        "token of a user that does not exist" => token("nobody@pve!t1", "s1"),
        "disabled" => token("off@pve!o", "s15"),
        caller if caller.starts_with("API token of weak@pve") => token("weak@pve!w", "s3"),
        caller if caller.starts_with("API token of root@pam") => token("root@pam!r", "s4"),
        "stevedore@pve!min" => token(caller, "s15"),
        "" | "stevedore@pve!full" => token("stevedore@pve!full", "s15"),
        caller if caller.starts_with("API token of stevedore@pve") => token("stevedore@pve!full", "s15"),
        caller if caller.starts_with("API token of dev@pve") => token("dev@pve!t1", "s1"),
        other => panic!("nobody is called {other:?}"),
    }
}
