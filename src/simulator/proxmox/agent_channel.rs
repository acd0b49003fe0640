//! Calls to the agent of a real guest: passed on as they are, answered as Proxmox VE answers.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::agent::{Ended, ended, input};
use super::answer::{Later, Reply};
use super::routes::Call;
use crate::simulator::guest_exec::ExecEnd;
use crate::simulator::world::refusal::Refusal;
use crate::simulator::world::vmm::{AgentChannel, AgentError};

/// How long a command may take; `guest-exec` and the like answer at once.
const LIMIT: Duration = Duration::from_secs(5);
/// The same for those that wait for disks.
const SLOW_LIMIT: Duration = Duration::from_secs(600);
/// What the proxy in front waits when the daemon dies writing a status line.
const BROKEN_PIPE: Duration = Duration::from_secs(5);

/// A command to a real agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentCall {
    channel: Arc<dyn AgentChannel>,
    command: String,
    arguments: Value,
    shape: Shape,
    /// How long to wait for a sign of life.
    ping: Duration,
}

/// How the answer is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `{"result": …}`, a guest's refusal among it.
    Plain,
    /// `{"pid": …}`.
    Exec,
    /// What a program left behind.
    ExecStatus,
}

/// The reply that the agent behind `channel` gives to the call named `name`.
pub(crate) fn command(
    channel: Arc<dyn AgentChannel>,
    name: &str,
    call: &Call,
    ping: Duration,
) -> Result<Reply, Refusal> {
    let (command, arguments, shape) = match name {
        "exec" => ("guest-exec".to_owned(), exec(call)?, Shape::Exec),
        "exec-status" => {
            let arguments = json!({"pid": call.params.number("pid").unwrap_or(0)});
            ("guest-exec-status".to_owned(), arguments, Shape::ExecStatus)
        }
        "file-read" | "file-write" | "set-user-password" => {
            return Err(Refusal::error(format!("the simulator does not pass '{name}' on to real guests")));
        }
        other => (format!("guest-{other}"), json!({}), Shape::Plain),
    };
    let later = Some(Later::Agent(AgentCall { channel, command, arguments, shape, ping }));
    Ok(Reply { later, ..Reply::default() })
}

fn exec(call: &Call) -> Result<Value, Refusal> {
    let argv = call.params.list("command");
    let Some((path, arguments)) = argv.split_first() else {
        return Err(Refusal::param("command", "property is missing and it is not optional"));
    };
    let mut exec = json!({"path": path, "arg": arguments, "capture-output": true});
    if let Some(input) = input(call)? {
        exec["input-data"] = json!(STANDARD.encode(input));
    }
    Ok(exec)
}

impl AgentCall {
    /// Asks the agent, and waits for it on a thread that may wait.
    pub(crate) async fn ask(self) -> Result<Value, Refusal> {
        let asked = tokio::task::spawn_blocking(move || {
            let limit = if self.command.starts_with("guest-fs") { SLOW_LIMIT } else { LIMIT };
            let answer = self.channel.call(&self.command, &self.arguments, self.ping, limit);
            put(self.shape, &self.command, answer)
        });
        asked.await.unwrap_or_else(|_| Err(Refusal::error("the simulator's call to the agent broke down")))
    }
}

fn put(shape: Shape, command: &str, answer: Result<Value, AgentError>) -> Result<Value, Refusal> {
    match (shape, answer) {
        (_, Err(AgentError::Silent)) => Err(Refusal::error("QEMU guest agent is not running")),
        (_, Err(AgentError::TimedOut)) => {
            Err(Refusal::error(format!("Agent error: command '{command}' failed - got timeout")))
        }
        (Shape::Plain, Err(AgentError::Refused { class, text })) => {
            Ok(json!({"result": {"error": {"class": class, "desc": text}}}))
        }
        (_, Err(AgentError::Refused { text, .. })) => Err(refused(&text)),
        (Shape::Plain, Ok(value)) => Ok(json!({"result": value})),
        (Shape::Exec, Ok(value)) => Ok(json!({"pid": value["pid"]})),
        (Shape::ExecStatus, Ok(value)) => Ok(status(&value)),
    }
}

/// A text with letters beyond Latin-1 cannot be written into a status line: the daemon dies of it (recorded 269, 622).
fn refused(text: &str) -> Refusal {
    if text.chars().any(|letter| u32::from(letter) > 0xff) {
        return Refusal::bare(596, "Broken pipe").after(BROKEN_PIPE);
    }
    Refusal::error(format!("Agent error: {text}"))
}

fn status(value: &Value) -> Value {
    if value["exited"] != json!(true) {
        return json!({"exited": 0});
    }
    let number = |name: &str| value[name].as_i64().and_then(|number| i32::try_from(number).ok());
    let end = match number("signal") {
        Some(signal) => ExecEnd::Signalled(signal),
        None => ExecEnd::Exited(number("exitcode").unwrap_or(0)),
    };
    let stream = |data: &str, cut: &str| {
        let bytes = STANDARD.decode(value[data].as_str().unwrap_or("")).unwrap_or_default();
        (bytes, value[cut] == json!(true))
    };
    let (out, out_cut) = stream("out-data", "out-truncated");
    let (err, err_cut) = stream("err-data", "err-truncated");
    ended(&Ended { end, out: (&out, out_cut), err: (&err, err_cut) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_decoded_as_recorded() {
        // Recorded 262: the bytes of UTF-8 arrive as letters of Latin-1.
        let told = json!({"exited": true, "exitcode": 0, "out-data": STANDARD.encode("hello wörld\n")});
        let answer = put(Shape::ExecStatus, "guest-exec-status", Ok(told)).unwrap();
        let recorded = json!({"exitcode": 0, "exited": 1, "out-data": "hello w\u{c3}\u{b6}rld\n", "out-truncated": 0});
        assert_eq!(answer, recorded);
        let killed = json!({"exited": true, "signal": 9, "err-data": STANDARD.encode("x"), "err-truncated": true});
        let answer = put(Shape::ExecStatus, "guest-exec-status", Ok(killed)).unwrap();
        assert_eq!(answer, json!({"signal": 9, "exited": 1, "err-data": "x", "err-truncated": 1}));
    }

    #[test]
    fn a_running_program_has_not_exited() {
        let answer = put(Shape::ExecStatus, "guest-exec-status", Ok(json!({"exited": false}))).unwrap();
        assert_eq!(answer, json!({"exited": 0}));
    }

    #[test]
    fn refusals_are_put_as_each_call_puts_them() {
        let refusal = |text: &str| Err(AgentError::Refused { class: "GenericError".into(), text: text.into() });
        let plain = put(Shape::Plain, "guest-get-users", refusal("no")).unwrap();
        assert_eq!(plain, json!({"result": {"error": {"class": "GenericError", "desc": "no"}}}));
        let status = put(Shape::ExecStatus, "guest-exec-status", refusal("Invalid parameter 'pid'")).unwrap_err();
        assert_eq!(status.message, "Agent error: Invalid parameter 'pid'");
        let typographic = put(Shape::Exec, "guest-exec", refusal("Failed to execute child process \u{201c}/x\u{201d}"));
        assert_eq!(typographic.unwrap_err().status, 596);
    }

    #[test]
    fn silence_is_the_agents_absence() {
        let silent = put(Shape::Plain, "guest-ping", Err(AgentError::Silent)).unwrap_err();
        assert_eq!(silent.message, "QEMU guest agent is not running");
    }
}
