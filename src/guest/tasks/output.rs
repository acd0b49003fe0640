//! What a command printed, both of its streams in one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::one;
use super::id::checked;
use super::{AttemptId, odd};
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::GuestChannel;
use crate::guest::records::Record;
use crate::guest::scripts::TASK_OUTPUT;

/// The most that one question gives, bytes: whatever the channel, it carries that much even with two letters a byte.
pub const LARGEST_PIECE: u64 = 1024 * 1024;

/// The last bytes of what a command has printed so far: at most `bytes` of them, and at most [`LARGEST_PIECE`].
pub async fn tail(
    channel: &dyn GuestChannel,
    id: &AttemptId,
    bytes: u64,
    deadline: Duration,
) -> Result<Vec<u8>, Fault> {
    let args = [checked(id)?, "tail".to_owned(), bytes.min(LARGEST_PIECE).to_string()];
    ask(channel, id, &args, deadline).await
}

/// What a command has printed so far from `offset` on: at most `bytes` of it, and at most [`LARGEST_PIECE`]; nothing where
/// there is no more.
pub async fn read(
    channel: &dyn GuestChannel,
    id: &AttemptId,
    offset: u64,
    bytes: u64,
    deadline: Duration,
) -> Result<Vec<u8>, Fault> {
    let offset = offset.min(u64::MAX / 4).to_string();
    let args = [checked(id)?, "from".to_owned(), bytes.min(LARGEST_PIECE).to_string(), offset];
    ask(channel, id, &args, deadline).await
}

async fn ask(
    channel: &dyn GuestChannel,
    id: &AttemptId,
    args: &[String],
    deadline: Duration,
) -> Result<Vec<u8>, Fault> {
    let bytes = async {
        let output = channel.run(TASK_OUTPUT, args, &[], deadline).await?;
        bytes(&one(TASK_OUTPUT, &output, FaultKind::Other)?)
    };
    bytes.await.map_err(|fault| fault.context(format_args!("reading the output of the attempt {id} in the guest")))
}

fn bytes(record: &Record) -> Result<Vec<u8>, Fault> {
    let bad = |why: &str| Fault::new(FaultKind::Other, record.bad(why).to_string());
    match record.key() {
        "data" => {
            let [encoding, text] = record.exactly().map_err(super::unread(FaultKind::Other))?;
            let bytes = match encoding {
                "base64" => STANDARD.decode(text).ok(),
                "hex" => unhex(text),
                _ => return Err(bad("an unknown encoding")),
            };
            bytes.ok_or_else(|| bad("it is not encoded as it says"))
        }
        "unknown" => Err(Fault::new(FaultKind::Refused, "the guest knows no such attempt")),
        _ => Err(odd(record, FaultKind::Other)),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::records::tests::printed;

    fn read(lines: &str) -> Result<Vec<u8>, Fault> {
        let output = printed(format!("script\ttask_output\t1\n{lines}end\n"));
        bytes(&one(TASK_OUTPUT, &output, FaultKind::Other)?)
    }

    #[test]
    fn both_encodings_give_the_bytes() {
        assert_eq!(read("data\tbase64\tAP8K\n").unwrap(), b"\x00\xff\n");
        assert_eq!(read("data\thex\t00ff0A\n").unwrap(), b"\x00\xff\n");
        assert_eq!(read("data\thex\t\n").unwrap(), b"");
        for line in ["data\thex\t0\n", "data\thex\t0g\n", "data\tbase64\t!\n", "data\trot13\tx\n", "data\n", ""] {
            assert_eq!(read(line).unwrap_err().kind, FaultKind::Other, "{line}");
        }
        assert_eq!(read("unknown\ta.1\n").unwrap_err().message, "the guest knows no such attempt");
    }

    proptest! {
        #[test]
        fn reading_never_panics(lines in "(?:(?:data|unknown)(?:\t(?:hex|base64|[ -~]{0,9})){0,3}\n){0,2}") {
            let _ = read(&lines);
        }
    }
}
