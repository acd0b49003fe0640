//! The guest agent's protocol on its socket: QMP's words, after a mark by which both sides find the same place.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{BootTime, Clock as _, SystemClock};
use crate::simulator::world::vmm::{AgentChannel, AgentError};

/// Makes the agent forget half a command that an earlier client left behind.
const SENTINEL: u8 = 0xff;
/// How long a shutdown may take to be refused; it has no answer when it is not.
const SHUTDOWN_ANSWER: Duration = Duration::from_secs(1);

/// The agent of one machine; one call at a time.
#[derive(Debug)]
pub(super) struct Agent {
    socket: PathBuf,
    turn: Mutex<()>,
    mark: AtomicU32,
}

impl Agent {
    pub(super) fn new(socket: PathBuf) -> Arc<Self> {
        Arc::new(Self { socket, turn: Mutex::new(()), mark: AtomicU32::new(1) })
    }

    /// Asks the guest to power off; fails if the agent does not answer or refuses.
    pub(super) fn shutdown(&self, ping: Duration) -> Result<(), AgentError> {
        match self.call("guest-shutdown", &json!({"mode": "powerdown"}), ping, SHUTDOWN_ANSWER) {
            Ok(_) | Err(AgentError::TimedOut) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AgentChannel for Agent {
    fn call(&self, command: &str, arguments: &Value, ping: Duration, limit: Duration) -> Result<Value, AgentError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = Line::open(&self.socket).ok_or(AgentError::Silent)?;
        let deadline = SystemClock.boot().plus(ping);
        line.synchronise(self.mark.fetch_add(1, Ordering::Relaxed), deadline).ok_or(AgentError::Silent)?;
        let answer = line.ask("guest-ping", &json!({}), deadline).ok_or(AgentError::Silent)?;
        let alive = read(&answer);
        if command == "guest-ping" {
            return alive;
        }
        let answer = line.ask(command, arguments, SystemClock.boot().plus(limit)).ok_or(AgentError::TimedOut)?;
        read(&answer)
    }
}

/// What an answer says.
fn read(answer: &Value) -> Result<Value, AgentError> {
    let text = |name: &str| answer["error"][name].as_str().unwrap_or("").to_owned();
    match answer.get("error") {
        Some(_) => Err(AgentError::Refused { class: text("class"), text: text("desc") }),
        None => Ok(answer["return"].clone()),
    }
}

/// One connection.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    /// What was read and is not used yet.
    rest: Vec<u8>,
}

impl Line {
    fn open(socket: &PathBuf) -> Option<Self> {
        Some(Self { stream: UnixStream::connect(socket).ok()?, rest: Vec::new() })
    }

    /// Finds the place after the answer to our own mark.
    fn synchronise(&mut self, mark: u32, deadline: BootTime) -> Option<()> {
        let sync = json!({"execute": "guest-sync-delimited", "arguments": {"id": mark}});
        self.send(&[&[SENTINEL], sync.to_string().as_bytes(), b"\n"].concat(), deadline)?;
        loop {
            let line = self.read_line(deadline)?;
            // Answers to what others asked come before the sentinel.
            let Some(at) = line.iter().rposition(|byte| *byte == SENTINEL) else { continue };
            let answer: Option<Value> = serde_json::from_slice(&line[at + 1..]).ok();
            if answer.is_some_and(|answer| answer["return"] == json!(mark)) {
                return Some(());
            }
        }
    }

    fn ask(&mut self, command: &str, arguments: &Value, deadline: BootTime) -> Option<Value> {
        let mut request = json!({"execute": command});
        if arguments.as_object().is_some_and(|arguments| !arguments.is_empty()) {
            request["arguments"] = arguments.clone();
        }
        self.send(format!("{request}\n").as_bytes(), deadline)?;
        serde_json::from_slice(&self.read_line(deadline)?).ok()
    }

    fn send(&mut self, bytes: &[u8], deadline: BootTime) -> Option<()> {
        self.stream.set_write_timeout(Some(left(deadline)?)).ok()?;
        self.stream.write_all(bytes).ok()
    }

    fn read_line(&mut self, deadline: BootTime) -> Option<Vec<u8>> {
        let mut scanned = 0;
        loop {
            if let Some(end) = self.rest[scanned..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=scanned + end).collect();
                return Some(line);
            }
            scanned = self.rest.len();
            self.stream.set_read_timeout(Some(left(deadline)?)).ok()?;
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.rest.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// Time until the deadline; none if it has passed.
fn left(deadline: BootTime) -> Option<Duration> {
    Some(deadline.since(SystemClock.boot())).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// An agent that says `before` first, then answers the mark, the ping, and the last command with `last`.
    fn stand_in(before: &'static str, last: &'static str) -> (tempfile::TempDir, Arc<Agent>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("qga.sock")).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut line = Vec::new();
            lines.read_until(b'\n', &mut line).unwrap();
            assert_eq!(line[0], SENTINEL);
            let sync: Value = serde_json::from_slice(&line[1..]).unwrap();
            write!(stream, "{before}").unwrap();
            stream.write_all(&[SENTINEL]).unwrap();
            writeln!(stream, "{}", json!({"return": sync["arguments"]["id"]})).unwrap();
            for answer in ["{\"return\": {}}\n", last] {
                line.clear();
                lines.read_until(b'\n', &mut line).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
            // The connection stays open until the test is over.
            let _ = lines.read_until(b'\n', &mut line);
        });
        let agent = Agent::new(folder.path().join("qga.sock"));
        (folder, agent)
    }

    #[test]
    fn what_others_left_behind_is_skipped() {
        let left_over = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n{\"return\": 7}\n";
        let (_folder, agent) = stand_in(left_over, "{\"return\": {\"pid\": 42}}\n");
        assert_eq!(agent.call("guest-exec", &json!({"path": "/bin/true"}), SOON, SOON), Ok(json!({"pid": 42})));
    }

    #[test]
    fn a_refusal_is_told_with_its_class() {
        let (_folder, agent) = stand_in("", "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no such\"}}\n");
        let error = agent.call("guest-nosuch", &json!({}), SOON, SOON).unwrap_err();
        assert_eq!(error, AgentError::Refused { class: "CommandNotFound".into(), text: "no such".into() });
    }

    #[test]
    fn an_agent_that_is_not_there_is_silent_and_a_slow_command_times_out() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qga.sock");
        let agent = Agent::new(socket.clone());
        assert_eq!(agent.call("guest-ping", &json!({}), SOON, SOON), Err(AgentError::Silent));
        let _mute = UnixListener::bind(socket).unwrap();
        let short = Duration::from_millis(50);
        assert_eq!(agent.call("guest-ping", &json!({}), short, SOON), Err(AgentError::Silent));
        let (_folder, slow) = stand_in("", "");
        assert_eq!(slow.call("guest-info", &json!({}), SOON, short), Err(AgentError::TimedOut));
    }
}
