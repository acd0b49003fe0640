//! QEMU's own protocol, QMP: one command per connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// How long QEMU may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Does one command; the error is a text for a task.
pub(super) fn command(socket: &Path, name: &str, arguments: Value) -> Result<Value, String> {
    let failed = |error: std::io::Error| format!("qmp command '{name}' failed - {error}");
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(failed)?;
    stream.set_write_timeout(Some(LIMIT)).map_err(failed)?;
    let mut lines = BufReader::new(stream.try_clone().map_err(failed)?);
    // QEMU greets first.
    let mut line = String::new();
    lines.read_line(&mut line).map_err(failed)?;
    for (command, arguments) in [("qmp_capabilities", json!({})), (name, arguments)] {
        writeln!(stream, "{}", json!({"execute": command, "arguments": arguments})).map_err(failed)?;
        let answer = answer(&mut lines).map_err(failed)?;
        if let Some(error) = answer.get("error") {
            return Err(format!("qmp command '{command}' failed - {}", error["desc"].as_str().unwrap_or("")));
        }
        if command == name {
            return Ok(answer["return"].clone());
        }
    }
    Ok(Value::Null)
}

/// The next answer; events in between are passed over.
fn answer(lines: &mut BufReader<UnixStream>) -> std::io::Result<Value> {
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let value: Value = serde_json::from_str(&line).map_err(std::io::Error::other)?;
        if value.get("return").is_some() || value.get("error").is_some() {
            return Ok(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn events_are_passed_over_and_errors_told() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            writeln!(stream, "{{\"QMP\": {{}}}}").unwrap();
            let answers = ["{\"return\": {}}", "{\"event\": \"RESET\"}\n{\"error\": {\"desc\": \"no such disk\"}}"];
            for answer in answers {
                lines.read_line(&mut String::new()).unwrap();
                writeln!(stream, "{answer}").unwrap();
            }
        });
        let error = command(&socket, "block_resize", json!({})).unwrap_err();
        assert_eq!(error, "qmp command 'block_resize' failed - no such disk");
    }
}
