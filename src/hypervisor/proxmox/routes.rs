//! Every call that is made, and what it costs. `Protected` is the schema's `protected`: such a call occupies one of the
//! three API workers of the node.

use http::Method;

use crate::hypervisor::registry::CallCost;

/// One endpoint.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// Path below `/api2/json`, with names in braces for its variable segments.
    pub(super) path: &'static str,
    pub(super) cost: CallCost,
    /// Whether it changes something, so that a lost answer leaves the outcome unknown.
    pub(super) changes: bool,
}

const fn get(path: &'static str, cost: CallCost) -> Route {
    Route { method: Method::GET, path, cost, changes: false }
}

const fn change(method: Method, path: &'static str) -> Route {
    Route { method, path, cost: CallCost::Protected, changes: true }
}

use CallCost::{Agent, Plain, Protected};

pub(super) static VERSION: Route = get("/version", Plain);
/// Logs in. Changes nothing that would have to be observed.
pub(super) static TICKET: Route =
    Route { method: Method::POST, path: "/access/ticket", cost: Protected, changes: false };
pub(super) static PERMISSIONS: Route = get("/access/permissions", Plain);
pub(super) static RESOURCES: Route = get("/cluster/resources", Plain);
pub(super) static HA_STATUS: Route = get("/cluster/ha/status/current", Plain);
pub(super) static NEXT_ID: Route = get("/cluster/nextid", Plain);
pub(super) static CLUSTER_STATUS: Route = get("/cluster/status", Protected);
pub(super) static CERTIFICATES: Route = get("/nodes/{node}/certificates/info", Protected);
pub(super) static STORAGES: Route = get("/nodes/{node}/storage", Protected);
pub(super) static NETWORKS: Route = get("/nodes/{node}/network", Plain);
pub(super) static TASKS: Route = get("/nodes/{node}/tasks", Plain);
pub(super) static TASK_STATUS: Route = get("/nodes/{node}/tasks/{upid}/status", Protected);
pub(super) static TASK_LOG: Route = get("/nodes/{node}/tasks/{upid}/log", Protected);
pub(super) static CONFIG: Route = get("/nodes/{node}/qemu/{vmid}/config", Plain);
pub(super) static STATUS: Route = get("/nodes/{node}/qemu/{vmid}/status/current", Protected);
pub(super) static CONTENT: Route = get("/nodes/{node}/storage/{storage}/content", Protected);
/// Has the node download a file onto a storage.
pub(super) static DOWNLOAD: Route = change(Method::POST, "/nodes/{node}/storage/{storage}/download-url");
pub(super) static CREATE: Route = change(Method::POST, "/nodes/{node}/qemu");
pub(super) static CLONE: Route = change(Method::POST, "/nodes/{node}/qemu/{vmid}/clone");
/// Changes the configuration within the call.
pub(super) static CONFIGURE: Route = change(Method::PUT, "/nodes/{node}/qemu/{vmid}/config");
/// Changes the configuration in a task, for what allocates a disk.
pub(super) static CONFIGURE_TASK: Route = change(Method::POST, "/nodes/{node}/qemu/{vmid}/config");
pub(super) static RESIZE: Route = change(Method::PUT, "/nodes/{node}/qemu/{vmid}/resize");
pub(super) static START: Route = change(Method::POST, "/nodes/{node}/qemu/{vmid}/status/start");
pub(super) static SHUTDOWN: Route = change(Method::POST, "/nodes/{node}/qemu/{vmid}/status/shutdown");
pub(super) static STOP: Route = change(Method::POST, "/nodes/{node}/qemu/{vmid}/status/stop");
pub(super) static DESTROY: Route = change(Method::DELETE, "/nodes/{node}/qemu/{vmid}");
/// Asks the guest agent for a sign of life. A POST that changes nothing.
pub(super) static AGENT_PING: Route =
    Route { method: Method::POST, path: "/nodes/{node}/qemu/{vmid}/agent/ping", cost: Agent, changes: false };
pub(super) static AGENT_INTERFACES: Route = get("/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", Agent);
pub(super) static AGENT_EXEC: Route =
    Route { method: Method::POST, path: "/nodes/{node}/qemu/{vmid}/agent/exec", cost: Agent, changes: true };
pub(super) static AGENT_EXEC_STATUS: Route = get("/nodes/{node}/qemu/{vmid}/agent/exec-status", Agent);

/// All of them: what is checked against the schema and against recordings.
pub(super) const ALL: [&Route; 30] = [
    &VERSION,
    &TICKET,
    &PERMISSIONS,
    &RESOURCES,
    &HA_STATUS,
    &NEXT_ID,
    &CLUSTER_STATUS,
    &CERTIFICATES,
    &STORAGES,
    &NETWORKS,
    &TASKS,
    &TASK_STATUS,
    &TASK_LOG,
    &CONFIG,
    &STATUS,
    &CONTENT,
    &DOWNLOAD,
    &CREATE,
    &CLONE,
    &CONFIGURE,
    &CONFIGURE_TASK,
    &RESIZE,
    &START,
    &SHUTDOWN,
    &STOP,
    &DESTROY,
    &AGENT_PING,
    &AGENT_INTERFACES,
    &AGENT_EXEC,
    &AGENT_EXEC_STATUS,
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_a_call_costs_is_what_the_schema_says() {
        let schema = include_str!("../../../tests/fixtures/proxmox-client/parameters.json");
        let schema: Vec<Value> = serde_json::from_str(schema).unwrap();
        for route in ALL {
            let call = format!("{} {}", route.method, route.path);
            let entry = schema.iter().find(|entry| entry["call"] == call).unwrap_or_else(|| panic!("{call}"));
            assert_eq!(entry["protected"], route.cost != Plain, "{call}");
        }
    }
}
