//! From a request to the call behind it: reachability, caller, rights, parameters, then the deed.

use std::collections::BTreeMap;

use super::answer::Reply;
use super::request::{Asked, Params, Value};
use super::{agent, auth, check, cloudinit, cluster, config, machines, nodes, power, schema, storages, tasks};
use crate::simulator::world::World;
use crate::simulator::world::access::Caller;
use crate::simulator::world::refusal::Refusal;

/// A call that is allowed and well-formed.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) caller: Caller,
    /// The node that the path names; the one that was asked if it names none.
    pub(crate) node: String,
    /// The VMID in the path, or in the parameters of a create.
    pub(crate) vmid: u32,
    path: BTreeMap<String, String>,
    pub(crate) params: &'a Params,
}

impl Call<'_> {
    /// A value that stands in the path.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// The options among the parameters: everything but `besides`.
    pub(crate) fn options(&self, besides: &[&str]) -> BTreeMap<String, String> {
        let options =
            self.params.0.keys().filter(|name| !besides.contains(&name.as_str()) && !self.path.contains_key(*name));
        options.map(|name| (name.clone(), self.params.list(name).join(";"))).collect()
    }
}

/// Performs a request at the node called `local`.
pub(crate) fn perform(world: &mut World, local: &str, asked: &Asked) -> Result<Reply, Refusal> {
    if world.nodes.get(local).is_some_and(|node| !node.pmxcfs) {
        let text = "RPCEnvironment init request failed: Unable to load access control list: Connection refused";
        return Err(Refusal::bare(500, text).after(std::time::Duration::from_secs(3)));
    }
    let login = asked.method == http::Method::POST && asked.path == ["access", "ticket"];
    let caller = if login { Caller::user("") } else { auth::caller(world, asked)? };
    let Some((endpoint, path)) = schema::route(asked.method.as_str(), &asked.path) else {
        let text = format!("Method '{} {}' not implemented", asked.method, asked.path_text());
        return Err(Refusal { status: 501, ..Refusal::error(text) });
    };
    let node = reach(world, local, path.get("node"), endpoint.is_protected())?;
    auth::permit(world, &caller, endpoint.permission(world.scenario.release), &path)?;
    let params = with_path(&asked.params, &path)?;
    check::check(endpoint, world.scenario.release, &params)?;
    let vmid = params.number("vmid").unwrap_or(0);
    let call = Call { caller, node, vmid, path, params: &params };
    dispatch(world, &endpoint.method, &endpoint.path, &call)
}

/// The node that does the call, if it can be reached (recorded 043, 733, 663).
fn reach(world: &World, local: &str, named: Option<&String>, protected: bool) -> Result<String, Refusal> {
    let name = named.map_or(local, String::as_str);
    let name = if name == "localhost" { local } else { name };
    let Some(node) = world.nodes.get(name) else {
        return Err(Refusal::error(format!(
            "hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known"
        )));
    };
    if node.off_since.is_some() {
        let wait = world.scenario.timings.unreachable.span();
        return Err(Refusal::bare(595, "No route to host").after(wait));
    }
    if protected && !node.daemon {
        return Err(Refusal::bare(595, "Connection refused"));
    }
    Ok(name.to_owned())
}

/// Parameters with those of the path among them; they must not contradict each other.
fn with_path(params: &Params, path: &BTreeMap<String, String>) -> Result<Params, Refusal> {
    let mut all = params.clone();
    for (name, value) in path {
        let old = all.0.insert(name.clone(), Value::Text(value.clone()));
        if old.is_some_and(|old| old != Value::Text(value.clone())) {
            return Err(Refusal::param(name, "duplicate parameter (already defined in URI) with conflicting values!"));
        }
    }
    Ok(all)
}

fn dispatch(world: &mut World, method: &str, path: &str, call: &Call) -> Result<Reply, Refusal> {
    let below_vm = path.strip_prefix("/nodes/{node}/qemu/{vmid}");
    if let Some(name) = below_vm.and_then(|rest| rest.strip_prefix("/agent/")) {
        return agent::command(world, name, call);
    }
    if let Some(name) = below_vm.and_then(|rest| rest.strip_prefix("/status/")).filter(|_| method == "POST") {
        return power::command(world, name, call);
    }
    match (method, path) {
        ("POST", "/access/ticket") => auth::ticket(world, call.params),
        ("GET", "/access/permissions") => Ok(serde_json::json!(world.access.dump(&call.caller)).into()),
        ("GET", "/version" | "/nodes/{node}/version") => Ok(cluster::version(world).into()),
        ("GET", "/cluster/resources") => Ok(cluster::resources(world, call).into()),
        ("GET", "/cluster/status") => Ok(cluster::status(world, &call.node).into()),
        ("GET", "/cluster/ha/status/current") => Ok(cluster::ha_status(world, &call.node).into()),
        ("GET", "/cluster/nextid") => cluster::next_id(world, call),
        ("GET", "/cluster/options") => Ok(cluster::options(world, call).into()),
        ("GET", "/cluster/tasks") => Ok(tasks::cluster(world, call).into()),
        ("GET", "/nodes") => Ok(nodes::list(world, call).into()),
        ("GET", "/nodes/{node}/status") => Ok(nodes::status(world, call).into()),
        ("GET", "/nodes/{node}/network") => Ok(nodes::network(world, call).into()),
        ("GET", "/nodes/{node}/time") => Ok(nodes::time(world).into()),
        ("GET", "/nodes/{node}/certificates/info") => Ok(nodes::certificates(world, call).into()),
        ("GET", "/nodes/{node}/storage") => storages::list(world, call),
        ("GET", "/nodes/{node}/storage/{storage}/status") => storages::status(world, call),
        ("GET", "/nodes/{node}/storage/{storage}/content") => storages::content(world, call),
        ("POST", "/nodes/{node}/storage/{storage}/download-url") => storages::download(world, call),
        ("GET", "/nodes/{node}/tasks") => Ok(tasks::list(world, call)),
        ("GET", "/nodes/{node}/tasks/{upid}") => Ok(tasks::index().into()),
        ("GET", "/nodes/{node}/tasks/{upid}/status") => tasks::status(world, call),
        ("GET", "/nodes/{node}/tasks/{upid}/log") => tasks::log(world, call),
        ("DELETE", "/nodes/{node}/tasks/{upid}") => tasks::stop(world, call),
        ("GET", "/nodes/{node}/qemu") => Ok(machines::list(world, call).into()),
        ("POST", "/nodes/{node}/qemu") => machines::create(world, call),
        ("DELETE", "/nodes/{node}/qemu/{vmid}") => machines::destroy(world, call),
        ("GET", "/nodes/{node}/qemu/{vmid}") => Ok(machines::index().into()),
        ("POST", "/nodes/{node}/qemu/{vmid}/clone") => machines::clone(world, call),
        ("POST", "/nodes/{node}/qemu/{vmid}/template") => machines::template(world, call),
        ("GET", "/nodes/{node}/qemu/{vmid}/config") => config::show(world, call),
        ("PUT", "/nodes/{node}/qemu/{vmid}/config") => config::put(world, call),
        ("POST", "/nodes/{node}/qemu/{vmid}/config") => config::post(world, call),
        ("GET", "/nodes/{node}/qemu/{vmid}/pending") => config::pending(world, call),
        ("PUT", "/nodes/{node}/qemu/{vmid}/resize") => config::resize(world, call),
        ("PUT", "/nodes/{node}/qemu/{vmid}/unlink") => config::unlink(world, call),
        ("GET", "/nodes/{node}/qemu/{vmid}/cloudinit") => cloudinit::pending(world, call),
        ("PUT", "/nodes/{node}/qemu/{vmid}/cloudinit") => cloudinit::regenerate(world, call),
        ("GET", "/nodes/{node}/qemu/{vmid}/cloudinit/dump") => cloudinit::dump(world, call),
        ("GET", "/nodes/{node}/qemu/{vmid}/status") => Ok(power::index().into()),
        ("GET", "/nodes/{node}/qemu/{vmid}/status/current") => power::current(world, call),
        ("GET", "/nodes/{node}/qemu/{vmid}/agent") => Ok(agent::index().into()),
        _ => Err(Refusal { status: 501, ..Refusal::error(format!("Method '{method} {path}' not implemented")) }),
    }
}
