//! Calls about tasks.

use serde_json::{Value, json};

use super::answer::Reply;
use super::routes::Call;
use crate::simulator::world::World;
use crate::simulator::world::refusal::Refusal;
use crate::simulator::world::task::{Task, Upid};

/// Finished tasks that `/cluster/tasks` shows of each node.
const RECENT: usize = 25;

pub(crate) fn index() -> Value {
    json!([{"name": "log"}, {"name": "status"}])
}

/// Reads the identifier in the path and checks whether the caller may see the task (recorded 109, 113).
fn allowed(world: &World, call: &Call, privilege: &str) -> Result<Upid, Refusal> {
    let upid = Upid::parse(call.part("upid")).ok_or_else(|| Refusal::param("upid", "unable to parse worker upid"))?;
    if !is_own(call, &upid.user) {
        world.access.need_any(&call.caller, &format!("/nodes/{}", call.node), &[privilege])?;
    }
    Ok(upid)
}

/// A token sees its own tasks only, a user those of his tokens, too.
fn is_own(call: &Call, user: &str) -> bool {
    let own = call.caller.full();
    user == own || (call.caller.token.is_none() && user.starts_with(&format!("{own}!")))
}

fn find<'a>(world: &'a World, call: &Call) -> Result<&'a Task, Refusal> {
    allowed(world, call, "Sys.Audit")?;
    let task = world.task(call.part("upid")).filter(|task| task.upid.node == call.node);
    task.ok_or_else(|| Refusal::param("upid", "no such task"))
}

/// The fields that every view of a task has. The token stands apart from its user.
fn fields(upid: &Upid) -> Value {
    let (user, token) = upid.user.split_once('!').unwrap_or((&upid.user, ""));
    let mut entry = json!({
        "upid": upid.to_string(), "node": upid.node, "pid": upid.pid, "pstart": upid.pstart, "starttime": upid.start,
        "type": upid.kind, "id": upid.target, "user": user,
    });
    if !token.is_empty() {
        entry["tokenid"] = json!(token);
    }
    entry
}

pub(crate) fn status(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let task = find(world, call)?;
    let mut entry = fields(&task.upid);
    match &task.end {
        None => entry["status"] = json!("running"),
        Some((exit, _)) => {
            entry["status"] = json!("stopped");
            entry["exitstatus"] = json!(exit);
        }
    }
    Ok(entry.into())
}

pub(crate) fn log(world: &World, call: &Call) -> Result<Reply, Refusal> {
    allowed(world, call, "Sys.Audit")?;
    let line = |number: usize, text: &str| json!({"n": number, "t": text});
    let Some(task) = world.task(call.part("upid")) else {
        let missing = line(1, "unable to open file - No such file or directory");
        let data = if world.is_v9() { json!([missing]) } else { missing };
        return Ok(Reply { data, total: Some(1), ..Reply::default() });
    };
    let lines: Vec<_> = task.log.iter().flat_map(|entry| entry.lines()).collect();
    if lines.is_empty() {
        return Ok(Reply { data: json!([line(1, "no content")]), total: Some(1), ..Reply::default() });
    }
    let start = call.params.number("start").unwrap_or(0);
    let limit = match call.params.number("limit").unwrap_or(50) {
        0 => usize::MAX,
        limit => limit,
    };
    let page = lines.iter().enumerate().skip(start).take(limit).map(|(place, text)| line(place + 1, text));
    Ok(Reply { data: page.collect(), total: Some(lines.len()), ..Reply::default() })
}

pub(crate) fn stop(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    allowed(world, call, "Sys.Modify")?;
    if let Some(id) = world.task_id(call.part("upid")) {
        world.terminate(id);
    }
    Ok(Value::Null.into())
}

fn running_entry(task: &Task) -> Value {
    let mut entry = fields(&task.upid);
    entry["user"] = json!(task.upid.user);
    if let Some(entry) = entry.as_object_mut() {
        entry.remove("tokenid");
    }
    entry["saved"] = json!("0");
    entry
}

pub(crate) fn list(world: &World, call: &Call) -> Reply {
    let params = call.params;
    let source = params.text("source").unwrap_or("archive");
    let all = world.access.may(&call.caller, &format!("/nodes/{}", call.node), "Sys.Audit");
    let vmid = params.text("vmid");
    let (since, until) = (params.number::<i64>("since"), params.number::<i64>("until"));
    let wanted = world.tasks().filter(|task| {
        let upid = &task.upid;
        upid.node == call.node
            && (all || is_own(call, &upid.user))
            && (if task.is_running() { source != "archive" } else { source != "active" })
            && vmid.is_none_or(|vmid| upid.target == vmid)
            && params.text("typefilter").is_none_or(|kind| upid.kind == kind)
            && params.text("userfilter").is_none_or(|user| upid.user.contains(user))
            && since.is_none_or(|since| upid.start >= since)
            && until.is_none_or(|until| upid.start <= until)
            && status_fits(call, task)
    });
    let wanted: Vec<&Task> = wanted.collect();
    let (start, limit) = (params.number("start").unwrap_or(0), params.number("limit").unwrap_or(50));
    let page = wanted.iter().skip(start).take(limit).map(|task| match &task.end {
        None => {
            let mut entry = running_entry(task);
            entry["status"] = json!("RUNNING");
            entry
        }
        Some((exit, end)) => {
            let mut entry = fields(&task.upid);
            entry["endtime"] = json!(end);
            entry["status"] = json!(exit);
            entry
        }
    });
    Reply { data: page.collect(), total: Some(wanted.len()), ..Reply::default() }
}

fn status_fits(call: &Call, task: &Task) -> bool {
    let exit = task.end.as_ref().map_or("", |(exit, _)| exit);
    let class = match exit {
        "OK" => "ok",
        "unexpected status" => "unknown",
        exit if exit.starts_with("WARNINGS: ") => "warning",
        _ => "error",
    };
    let classes = call.params.names("statusfilter");
    let errors = call.params.flag("errors").unwrap_or(false);
    task.is_running()
        || ((classes.is_empty() || classes.iter().any(|wanted| wanted == class)) && (!errors || class != "ok"))
}

/// Recent tasks of all nodes; running ones have no status.
pub(crate) fn cluster(world: &World, call: &Call) -> Value {
    let mut entries = Vec::new();
    for node in world.nodes.keys() {
        let all = world.access.may(&call.caller, &format!("/nodes/{node}"), "Sys.Audit");
        let here = || world.tasks().filter(|task| task.upid.node == *node && (all || is_own(call, &task.upid.user)));
        entries.extend(here().filter(|task| task.is_running()).map(running_entry));
        entries.extend(here().filter(|task| !task.is_running()).take(RECENT).map(|task| {
            let mut entry = fields(&task.upid);
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("pid");
                entry.remove("pstart");
            }
            let (exit, end) = task.end.clone().unwrap_or_default();
            entry["status"] = json!(exit);
            entry["endtime"] = json!(end);
            entry["saved"] = json!("1");
            entry
        }));
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry["starttime"].as_i64()));
    entries.into()
}
