//! The inside of a VM, by its guest agent.
//!
//! Programs run as `/bin/sh -c TEXT NAME ARGUMENT…`: the agent has no shell of its own, and a program that does not
//! exist would break the connection to the API instead of failing (recorded 269, 622).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::call::Call;
use super::connection::Connection;
use super::lenient::elements;
use super::params::Params;
use super::routes::{AGENT_EXEC, AGENT_EXEC_STATUS, AGENT_INTERFACES, AGENT_PING, Route};
use super::wire::{AgentResult, Exec, ExecStatus, GuestInterface};
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::{GuestChannel, LARGEST_INPUT, Output, Script};
use crate::hypervisor::vm::{GuestAddress, VmRef};
use crate::hypervisor::window::Window;

/// How long to wait before asking for the result for the first time.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// How long to wait at most between two questions.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

fn on(at: &VmRef, route: &'static Route) -> Call {
    Call::new(route, &[&at.host, &at.id])
}

/// Whether the agent answers. Without one the question takes 3 s (recorded 630).
pub(super) async fn answers(connection: &Connection, at: &VmRef) -> Result<bool, Fault> {
    match connection.value(&on(at, &AGENT_PING)).await {
        Ok(_) => Ok(true),
        Err(fault) if fault.kind == FaultKind::GuestAway => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// The guest's addresses; not those of the loopback, and none that is good on its link only.
pub(super) async fn addresses(connection: &Connection, at: &VmRef) -> Result<Vec<GuestAddress>, Fault> {
    let call = on(at, &AGENT_INTERFACES);
    let answer: AgentResult = connection.call(call.clone()).await?;
    if let Some(error) = refused(&answer.result) {
        // HTTP 200 all the same.
        return Err(call.fault(FaultKind::Refused, &format!("the guest agent refuses: {error}")));
    }
    Ok(elements(answer.result).into_iter().flat_map(interface_addresses).collect())
}

fn refused(result: &Value) -> Option<String> {
    let error = result.get("error")?;
    Some(error.get("desc").and_then(Value::as_str).map_or_else(|| error.to_string(), ToOwned::to_owned))
}

fn interface_addresses(interface: GuestInterface) -> Vec<GuestAddress> {
    let Some(mac) = interface.mac.map(|mac| mac.to_uppercase()) else { return Vec::new() };
    let read = |address: super::wire::GuestInterfaceAddress| {
        let prefix = u8::try_from(address.prefix?).ok()?;
        let address: IpAddr = address.address?.parse().ok()?;
        is_reachable(address).then(|| GuestAddress { mac: mac.clone(), address, prefix })
    };
    interface.addresses.into_iter().filter_map(read).collect()
}

fn is_reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && !address.is_loopback() && !address.is_unspecified()
}

/// The way into one guest.
#[derive(Debug)]
pub(super) struct AgentChannel {
    connection: Arc<Connection>,
    at: VmRef,
    /// Within which programs may be started, if they change something.
    window: Option<Window>,
}

impl AgentChannel {
    pub(super) fn new(connection: Arc<Connection>, at: VmRef, window: Option<Window>) -> Self {
        Self { connection, at, window }
    }

    async fn exec(&self, script: Script, args: &[String], stdin: &[u8]) -> Result<Output, Fault> {
        let mut params = Params::default();
        for part in ["/bin/sh", "-c", script.text, script.name].into_iter().chain(args.iter().map(String::as_str)) {
            params.push("command", part);
        }
        if !stdin.is_empty() {
            params.push("input-data", &latin1(stdin));
        }
        let mut call = on(&self.at, &AGENT_EXEC).with(params);
        if let Some(window) = &self.window {
            call = call.within(window.clone());
        }
        let started: Exec = self.connection.call(call.clone()).await.map_err(explained)?;
        let pid = started.pid.ok_or_else(|| call.fault(FaultKind::UnknownOutcome, "answered without a process id"))?;
        self.result(script, pid).await
    }

    /// Waits for the end. The result can be read once, and is lost if the agent restarts; that it does not answer for
    /// a while is nothing unusual (it may be upgrading itself).
    async fn result(&self, script: Script, pid: i64) -> Result<Output, Fault> {
        let mut wait = FIRST_WAIT;
        loop {
            sleep(wait).await;
            wait = wait.mul_f32(1.5).min(LONGEST_WAIT);
            let call = on(&self.at, &AGENT_EXEC_STATUS).with(Params::default().with("pid", pid));
            match self.connection.call::<ExecStatus>(call).await {
                Ok(status) if status.exited == Some(true) => return Ok(output(status)),
                Ok(_) => {}
                Err(fault) if is_lost(&fault.message) => {
                    let text = format!("the script {} ran in {}, but its result is lost", script.name, self.at);
                    return Err(Fault::new(FaultKind::UnknownOutcome, text));
                }
                Err(fault) if fault.is_transient() && !fault.message.contains("is not running") => {}
                Err(fault) if fault.message.contains("guest agent is not running") => {}
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// Whether the agent knows no such program (any more). Recorded 263 from an older agent; those of QEMU 10 say
/// `PID ld does not exist`, which is meant to be the number.
fn is_lost(text: &str) -> bool {
    text.contains("Invalid parameter 'pid'") || (text.contains("PID ") && text.contains(" does not exist"))
}

/// A guest whose agent may run no programs is told apart from one that is away.
fn explained(fault: Fault) -> Fault {
    if !fault.message.contains("has been disabled") {
        return fault;
    }
    let hint = "the guest's agent is configured to run no programs; allow guest-exec in its configuration \
                (RHEL family: /etc/sysconfig/qemu-ga)";
    Fault::new(FaultKind::Refused, format!("{}; {hint}", fault.message))
}

fn output(status: ExecStatus) -> Output {
    Output {
        exit_code: status.exitcode.and_then(|code| i32::try_from(code).ok()),
        stdout: bytes(status.out_data),
        stderr: bytes(status.err_data),
        truncated: status.out_truncated == Some(true) || status.err_truncated == Some(true),
    }
}

/// One character for each byte: what the API does with a guest's output, and expects of its input.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Undoes [`latin1`]. A text that cannot be its work is taken as it is.
fn bytes(text: Option<String>) -> Vec<u8> {
    let text = text.unwrap_or_default();
    let single: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    single.unwrap_or_else(|| text.into_bytes())
}

#[async_trait]
impl GuestChannel for AgentChannel {
    async fn run(&self, script: Script, args: &[String], stdin: &[u8], deadline: Duration) -> Result<Output, Fault> {
        if stdin.len() > LARGEST_INPUT {
            let text =
                format!("the script {} is to be fed {} bytes; at most {LARGEST_INPUT} go", script.name, stdin.len());
            return Err(Fault::new(FaultKind::Refused, text));
        }
        timeout(deadline, self.exec(script, args, stdin)).await.unwrap_or_else(|_| {
            let (name, seconds) = (script.name, deadline.as_secs());
            let text = format!("the script {name} in {} did not end within {seconds} s and may still run", self.at);
            Err(Fault::new(FaultKind::UnknownOutcome, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_result_is_known_by_the_words_of_old_and_new_agents() {
        assert!(is_lost("500 Agent error: Invalid parameter 'pid'"));
        assert!(is_lost("500 Agent error: PID ld does not exist"));
        assert!(!is_lost("500 Configuration file 'nodes/pve1/qemu-server/200.conf' does not exist"));
    }

    #[test]
    fn bytes_survive_the_way_there_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(Some(latin1(&all))), all);
        // Recorded 262.
        assert_eq!(bytes(Some("hello w\u{c3}\u{b6}rld\n".to_owned())), "hello wörld\n".as_bytes());
        assert_eq!(bytes(Some("€".to_owned())), "€".as_bytes());
        assert_eq!(bytes(None), b"");
    }
}
