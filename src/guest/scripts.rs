//! The POSIX sh scripts that run inside a guest, one file each in `scripts/`.
//!
//! They run as `/bin/sh -c TEXT NAME ARGUMENT…`, as root, with whatever environment the channel gives. What each takes
//! and prints stands at its top; how it prints stands in `common.sh`, which goes in front of each and is read by
//! [`records`](super::records). They change nothing in the guest, except [`START_UNIT`].

use super::channel::Script;

macro_rules! script {
    ($name:literal) => {
        Script {
            name: $name,
            text: concat!(include_str!("scripts/common.sh"), include_str!(concat!("scripts/", $name, ".sh"))),
        }
    };
}

/// What the guest is: `[WAIT]`, the seconds to wait at most for cloud-init.
pub const FACTS: Script = script!("facts");

/// Resolves names: `SECONDS NAME…`.
pub const RESOLVE: Script = script!("resolve");

/// Opens TCP connections: `SECONDS [HOST PORT]…`.
pub const CONNECT: Script = script!("connect");

/// The state of a systemd unit: `NAME [WAIT]`, with the unit's full name.
pub const UNIT: Script = script!("unit");

/// Starts a program as a transient systemd unit: `NAME PROGRAM [ARGUMENT]…`, with the name without `.service`.
pub const START_UNIT: Script = script!("start_unit");

/// What became of a transient unit: `NAME`, without `.service`.
pub const UNIT_STATE: Script = script!("unit_state");

/// What an image has that workers need: `USER [PROGRAM]…`, with the user that cloud-init was asked to make.
pub const IMAGE: Script = script!("image");

/// Every script that the operator runs; [`IMAGE`] is for images that are tried.
pub const ALL: [Script; 6] = [FACTS, RESOLVE, CONNECT, UNIT, START_UNIT, UNIT_STATE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_ascii_and_small_enough_to_be_sent() {
        for script in ALL.into_iter().chain([IMAGE]) {
            assert!(script.text.is_ascii(), "{} has characters that a guest agent mangles", script.name);
            assert!(script.text.len() < 16 << 10, "{} is too long", script.name);
        }
    }

    #[test]
    fn every_script_names_itself_first_and_ends_with_the_end() {
        for script in ALL.into_iter().chain([IMAGE]) {
            assert!(script.text.contains(&format!("\nrecord script {} 1\n", script.name)), "{}", script.name);
            assert!(script.text.ends_with("\nrecord end\n"), "{}", script.name);
        }
    }
}
