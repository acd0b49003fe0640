//! Calls to the guest agent.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Later, Reply};
use super::routes::Call;
use super::{Simulator, agent_channel};
use crate::simulator::guest_exec::{ExecCall, ExecEnd, GuestFacts, GuestInterface};
use crate::simulator::world::World;
use crate::simulator::world::programs::ProgramState;
use crate::simulator::world::refusal::Refusal;

/// Most of a program's output that the agent keeps, in bytes.
const KEPT_OUTPUT: usize = 16 << 20;
/// What the agent can do.
const COMMANDS: [&str; 16] = [
    "guest-exec",
    "guest-exec-status",
    "guest-file-close",
    "guest-file-open",
    "guest-file-read",
    "guest-file-write",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-status",
    "guest-fsfreeze-thaw",
    "guest-get-host-name",
    "guest-get-osinfo",
    "guest-get-time",
    "guest-info",
    "guest-network-get-interfaces",
    "guest-ping",
    "guest-shutdown",
];

/// A program that is about to be run in a guest.
#[derive(Clone, Debug)]
pub(crate) struct ExecStart {
    vmid: u32,
    /// The process of the machine; another one knows nothing of the program.
    run: u64,
    pid: u32,
    call: ExecCall,
}

pub(crate) fn index() -> Value {
    let names = [
        "exec",
        "exec-status",
        "get-fsinfo",
        "get-host-name",
        "get-osinfo",
        "get-time",
        "get-users",
        "get-vcpus",
        "info",
        "network-get-interfaces",
        "ping",
        "shutdown",
    ];
    names.iter().map(|name| json!({"name": name})).collect()
}

/// Whether there is an agent that answers; a silent one costs three seconds (recorded 321, 325, 361).
fn answers(world: &World, call: &Call) -> Result<(), Refusal> {
    let vm = world.vm_on(&call.node, call.vmid)?;
    if vm.config.get("agent").is_none() {
        return Err(Refusal::error("No QEMU guest agent configured"));
    }
    let Some(run) = &vm.run else { return Err(Refusal::error(format!("VM {} is not running", call.vmid))) };
    if run.real && run.started_with.agent_enabled() && run.guest.agent_at.is_some() {
        return Ok(());
    }
    if run.agent_answers(world.now()) {
        return Ok(());
    }
    let silent = Refusal::error("QEMU guest agent is not running");
    let wait = world.scenario.timings.agent_wait.span();
    Err(if run.started_with.agent_enabled() { silent.after(wait) } else { silent })
}

pub(crate) fn command(world: &mut World, name: &str, call: &Call) -> Result<Reply, Refusal> {
    answers(world, call)?;
    if let Some(vmm) = world.vmm_of(call.vmid) {
        let silent = || Refusal::error("QEMU guest agent is not running");
        let ping = world.scenario.timings.agent_wait.span();
        return agent_channel::command(vmm.agent(call.vmid).ok_or_else(silent)?, name, call, ping);
    }
    if name == "exec-status" {
        return exec_status(world, call);
    }
    let gone = || Refusal::error("QEMU guest agent is not running");
    let facts = world.facts(call.vmid).ok_or_else(gone)?;
    let result = match name {
        "exec" => return exec(world, call, facts),
        "ping" => json!({}),
        "shutdown" => {
            world.ask_down(call.vmid);
            Value::Null
        }
        "network-get-interfaces" => interfaces(&facts),
        "info" => {
            let commands = COMMANDS.iter().map(|name| json!({"name": name, "enabled": true, "success-response": true}));
            json!({"version": "7.2.22", "supported_commands": commands.collect::<Value>()})
        }
        "get-osinfo" => json!({
            "id": "debian", "name": "Debian GNU/Linux", "pretty-name": "Debian GNU/Linux 12 (bookworm)",
            "version": "12 (bookworm)", "version-id": "12", "machine": "x86_64",
            "kernel-release": "6.1.0-40-cloud-amd64", "kernel-version": "#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1",
        }),
        "get-host-name" => json!({"host-name": facts.hostname}),
        "get-time" => json!(i64::try_from(facts.clock.as_nanosecond()).unwrap_or(i64::MAX)),
        "get-vcpus" => {
            let each = (0..facts.cores).map(|id| json!({"logical-id": id, "online": true, "can-offline": id > 0}));
            each.collect()
        }
        _ => json!([]),
    };
    Ok(json!({"result": result}).into())
}

fn interfaces(facts: &GuestFacts) -> Value {
    let lo = GuestInterface {
        name: "lo".into(),
        mac: "00:00:00:00:00:00".into(),
        bridge: String::new(),
        addresses: vec![(IpAddr::from([127, 0, 0, 1]), 8), (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]), 128)],
        gateway: None,
    };
    let cards = facts.interfaces.iter().map(|card| {
        let mut card = card.clone();
        card.addresses.extend(link_local(&card.mac).map(|address| (address, 64)));
        card
    });
    std::iter::once(lo).chain(cards).map(|card| interface(&card)).collect()
}

/// The address that Linux gives every card by itself: the hardware address, with one bit turned (recorded 251).
fn link_local(mac: &str) -> Option<IpAddr> {
    let bytes: Vec<u16> = mac.split(':').map(|part| u16::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
    let pair = |high: u16, low: u16| (high << 8) | low;
    match bytes[..] {
        [first, second, third, ref rest @ ..] if rest.len() == 3 => {
            let (head, middle) = (pair(first ^ 2, second), pair(third, 0xff));
            Some(IpAddr::from([0xfe80, 0, 0, 0, head, middle, pair(0xfe, rest[0]), pair(rest[1], rest[2])]))
        }
        _ => None,
    }
}

fn interface(card: &GuestInterface) -> Value {
    let addresses = card.addresses.iter().map(|(address, prefix)| {
        let kind = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        json!({"ip-address": address, "ip-address-type": kind, "prefix": prefix})
    });
    let mut entry = json!({"name": card.name, "hardware-address": card.mac, "statistics": statistics()});
    // A card without any address has no such key at all.
    if !card.addresses.is_empty() {
        entry["ip-addresses"] = addresses.collect();
    }
    entry
}

fn statistics() -> Value {
    let names = ["rx-bytes", "rx-dropped", "rx-errs", "rx-packets", "tx-bytes", "tx-dropped", "tx-errs", "tx-packets"];
    names.iter().map(|name| ((*name).to_owned(), json!(0))).collect::<serde_json::Map<_, _>>().into()
}

fn exec(world: &mut World, call: &Call, facts: GuestFacts) -> Result<Reply, Refusal> {
    let argv = call.params.list("command");
    if argv.is_empty() {
        return Err(Refusal::param("command", "property is missing and it is not optional"));
    }
    let input = input(call)?.unwrap_or_default();
    let Some((run, pid)) = world.begin_program(call.vmid) else {
        return Err(Refusal::error("QEMU guest agent is not running"));
    };
    let start = ExecStart { vmid: call.vmid, run, pid, call: ExecCall { argv, input, facts } };
    Ok(Reply { later: Some(Later::Program(Box::new(start))), ..json!({"pid": pid}).into() })
}

/// What a program is to be fed: each letter is a byte, and others than Latin-1 has cannot be one.
pub(super) fn input(call: &Call) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(text) = call.params.text("input-data") else { return Ok(None) };
    let bytes = text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect::<Option<Vec<_>>>();
    bytes.map(Some).ok_or_else(|| Refusal::error("Wide character in subroutine entry"))
}

/// Runs a program. One whose end is not known at once goes on by itself.
pub(crate) async fn run(simulator: &Simulator, start: ExecStart) -> Result<(), Refusal> {
    let ExecStart { vmid, run, pid, call } = start;
    let guest = simulator.0.guest.clone();
    let mut program = Box::pin(async move { guest.exec(call).await });
    match futures::poll!(&mut program) {
        std::task::Poll::Ready(outcome) if outcome.end == ExecEnd::NotStarted => {
            simulator.world(|world| world.forget_program(vmid, pid));
            // The agent's text has letters that the daemon cannot put into a status line (recorded 269).
            Err(Refusal::bare(596, "Broken pipe").after(Duration::from_secs(5)))
        }
        std::task::Poll::Ready(outcome) => {
            simulator.world(|world| world.end_program(vmid, run, pid, outcome));
            Ok(())
        }
        std::task::Poll::Pending => {
            let simulator = simulator.clone();
            tokio::spawn(async move {
                let outcome = program.await;
                simulator.world(|world| world.end_program(vmid, run, pid, outcome));
            });
            Ok(())
        }
    }
}

/// The end of a program is told once (recorded 262, 263).
fn exec_status(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let pid = call.params.number("pid").unwrap_or(0);
    match world.program(call.vmid, pid) {
        None => Err(Refusal::error("Agent error: Invalid parameter 'pid'")),
        Some(ProgramState::Running) => Ok(json!({"exited": 0}).into()),
        Some(ProgramState::Ended(outcome)) => {
            world.forget_program(call.vmid, pid);
            Ok(ended(&Ended { end: outcome.end, out: kept(&outcome.stdout), err: kept(&outcome.stderr) }).into())
        }
    }
}

/// What the agent keeps of some output, and whether it cut any off.
fn kept(bytes: &[u8]) -> (&[u8], bool) {
    (&bytes[..bytes.len().min(KEPT_OUTPUT)], bytes.len() > KEPT_OUTPUT)
}

/// A program that has ended: how, and what it wrote with whether more was cut off.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) end: ExecEnd,
    pub(super) out: (&'a [u8], bool),
    pub(super) err: (&'a [u8], bool),
}

/// The end of a program as the API tells it.
pub(super) fn ended(ended: &Ended) -> Value {
    let mut data = json!({"exited": 1});
    match ended.end {
        ExecEnd::Exited(code) => data["exitcode"] = json!(code),
        ExecEnd::Signalled(signal) => data["signal"] = json!(signal),
        ExecEnd::NotStarted => data["exitcode"] = json!(127),
    }
    for (name, (bytes, cut)) in [("out", ended.out), ("err", ended.err)] {
        if !bytes.is_empty() {
            // Bytes are taken for Latin-1: text beyond ASCII arrives garbled.
            data[format!("{name}-data")] = json!(bytes.iter().map(|byte| char::from(*byte)).collect::<String>());
            data[format!("{name}-truncated")] = json!(u8::from(cut));
        }
    }
    data
}
