//! Who calls: tokens, tickets, and the rights that the table asks for.

use std::collections::BTreeMap;

use http::header::{AUTHORIZATION, COOKIE};
use serde_json::{Value as Json, json};

use super::answer::Reply;
use super::request::{Asked, Params};
use crate::simulator::world::World;
use crate::simulator::world::access::Caller;
use crate::simulator::world::refusal::Refusal;

/// Life of a ticket in seconds.
const TICKET_LIFE: i64 = 7200;

/// Finds out who calls; every refusal is a 401 that comes late (recorded 001 to 019).
pub(crate) fn caller(world: &World, asked: &Asked) -> Result<Caller, Refusal> {
    let late = |text: &str| Refusal::bare(401, text).after(world.scenario.timings.auth_failure.span());
    let header = asked.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    if let Some(token) = header.strip_prefix("PVEAPIToken=") {
        return by_token(world, token).ok_or_else(|| late("Authentication failed!"));
    }
    let cookie = asked.headers.get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let cookie = cookie.split("; ").find_map(|part| part.strip_prefix("PVEAuthCookie="));
    let Some(ticket) = header.strip_prefix("PVEAuthCookie=").or(cookie) else { return Err(late("No ticket")) };
    let caller = by_ticket(world, &decoded(ticket)).ok_or_else(|| late("Authentication failed!"))?;
    if asked.method != http::Method::GET {
        let csrf = asked.headers.get("CSRFPreventionToken").and_then(|value| value.to_str().ok()).unwrap_or("");
        if csrf != csrf_token(&decoded(ticket)) {
            return Err(late("Permission denied - invalid csrf token"));
        }
    }
    Ok(caller)
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn by_token(world: &World, text: &str) -> Option<Caller> {
    let (name, secret) = text.split_once('=')?;
    let (user, token) = name.split_once('!')?;
    world.access.by_token(user, token, secret, world.wall())
}

/// A ticket: `PVE:user@realm:TIME::signature`, the time in hexadecimal seconds.
fn by_ticket(world: &World, ticket: &str) -> Option<Caller> {
    let (head, signature) = ticket.split_once("::")?;
    let (user, time) = head.strip_prefix("PVE:")?.rsplit_once(':')?;
    let made = i64::from_str_radix(time, 16).ok()?;
    let fresh = (0..=TICKET_LIFE).contains(&(world.wall() - made));
    let genuine = signature == sign(&world.installation, head);
    (fresh && genuine && world.access.is_enabled(user)).then(|| Caller::user(user))
}

fn sign(key: &str, text: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(format!("{key}:{text}"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

fn csrf_token(ticket: &str) -> String {
    sign("csrf", ticket)
}

/// `POST /access/ticket`: a name and a password, or an old ticket in the password's place.
pub(crate) fn ticket(world: &World, params: &Params) -> Result<Reply, Refusal> {
    let (name, password) = (params.text("username").unwrap_or(""), params.text("password").unwrap_or(""));
    let user = match params.text("realm") {
        Some(realm) if !name.contains('@') => format!("{name}@{realm}"),
        _ => name.to_owned(),
    };
    let renewed = by_ticket(world, password).filter(|caller| caller.user == user);
    let Some(caller) = renewed.or_else(|| world.access.by_password(&user, password)) else {
        let late = world.scenario.timings.auth_failure.span();
        return Err(Refusal { status: 401, ..Refusal::error("authentication failure") }.after(late));
    };
    let head = format!("PVE:{user}:{:08X}", world.wall());
    let ticket = format!("{head}::{}", sign(&world.installation, &head));
    let data = json!({
        "username": user,
        "CSRFPreventionToken": csrf_token(&ticket),
        "ticket": ticket,
        "cap": capabilities(world, &caller),
        // A node that stands alone does not know the name (recorded 714).
        "clustername": world.scenario.cluster.as_ref().filter(|_| world.quorate),
    });
    Ok(without_nulls(data).into())
}

fn without_nulls(data: Json) -> Json {
    match data {
        Json::Object(map) => Json::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

/// Rights by area, as the user interface wants them.
fn capabilities(world: &World, caller: &Caller) -> Json {
    let own = |path: &str, areas: &[&str]| {
        let rights = world.access.rights(caller, path);
        let chosen = rights.into_iter().filter(|name| areas.iter().any(|area| name.starts_with(area)));
        chosen.map(|name| (name, 1)).collect::<BTreeMap<_, _>>()
    };
    json!({
        "access": own("/access", &["User.", "Group.", "Permissions."]),
        "dc": own("/", &["Sys.Audit", "Sys.Modify", "SDN."]),
        "mapping": own("/mapping", &["Mapping.", "Permissions."]),
        "nodes": own("/nodes", &["Sys.", "Permissions."]),
        "sdn": own("/sdn", &["SDN.", "Permissions."]),
        "storage": own("/storage", &["Datastore.", "Permissions."]),
        "vms": own("/vms", &["VM.", "Permissions."]),
    })
}

/// Checks the right that the table asks for, before the parameters are looked at.
pub(crate) fn permit(
    world: &World,
    caller: &Caller,
    rule: &str,
    path: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    if rule.starts_with("user=") {
        return Ok(());
    }
    let Some((template, privileges)) = rule.split_once(": ") else { return Ok(()) };
    let place =
        path.iter().fold(template.to_owned(), |place, (name, value)| place.replace(&format!("{{{name}}}"), value));
    let any: Vec<&str> = privileges.split('|').collect();
    world.access.need_any(caller, &place, &any)
}
