//! The POSIX sh scripts that run inside a guest, one file each in `scripts/`.
//!
//! They run as `/bin/sh -c TEXT NAME ARGUMENT…`, as root, with whatever environment the channel gives. What each takes
//! and prints stands at its top; how it prints stands in `common.sh`, which goes in front of each and is read by
//! [`records`](super::records). They change nothing in the guest, except those that deal with attempts at tasks and with
//! updates: these have `guarded.sh`, and `tasks.sh` or `updates.sh`, in front, too, and [`tasks`](super::tasks) and
//! [`updates`](super::updates) run them.

use super::channel::Script;

macro_rules! script {
    ($name:literal) => {
        Script {
            name: $name,
            text: concat!(include_str!("scripts/common.sh"), include_str!(concat!("scripts/", $name, ".sh"))),
        }
    };
}

macro_rules! task_script {
    ($name:literal) => {
        Script {
            name: $name,
            text: concat!(
                include_str!("scripts/common.sh"),
                include_str!("scripts/guarded.sh"),
                include_str!("scripts/tasks.sh"),
                include_str!(concat!("scripts/", $name, ".sh"))
            ),
        }
    };
}

macro_rules! update_script {
    ($name:literal) => {
        Script {
            name: $name,
            text: concat!(
                include_str!("scripts/common.sh"),
                include_str!("scripts/guarded.sh"),
                include_str!("scripts/updates.sh"),
                include_str!(concat!("scripts/", $name, ".sh"))
            ),
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

/// Keeps a piece of the command of an attempt: `NAME NUMBER`, with the piece on standard input.
pub const TASK_STAGE: Script = task_script!("task_stage");

/// Begins an attempt: `NAME PIECES USER SECONDS TEXT`, with the last piece of its command on standard input and the text of
/// [`TASK_UNIT`].
pub const TASK_START: Script = task_script!("task_start");

/// All attempts of the guest, and its units that run one; no arguments.
pub const TASK_LOOK: Script = task_script!("task_look");

/// Stops an attempt, or sees to it that it never begins: `NAME`.
pub const TASK_STOP: Script = task_script!("task_stop");

/// A piece of what a command printed: `NAME tail BYTES` or `NAME from BYTES OFFSET`.
pub const TASK_OUTPUT: Script = task_script!("task_output");

/// Removes guards: `NAME...`.
pub const TASK_FORGET: Script = task_script!("task_forget");

/// What the unit of an attempt runs as root, out of a file: `before|begun|ended NAME`. No channel runs it, and it prints
/// nothing.
pub const TASK_UNIT: Script = task_script!("task_unit");

/// The end of the command of an attempt, for the shell in its unit.
pub const TASK_COMMAND: &str = include_str!("scripts/task_command.sh");

/// Starts the update that an operation wants: `NAME SECONDS TEXT`, with the proxy on standard input and the text of
/// [`UPDATE_UNIT`].
pub const UPDATE: Script = update_script!("update");

/// What became of the update that an operation wanted: `NAME`.
pub const UPDATE_LOOK: Script = update_script!("update_look");

/// Has the guest reboot, two seconds later, out of the boot with this id: `BOOT`.
pub const UPDATE_REBOOT: Script = update_script!("update_reboot");

/// What the unit of an update runs as root, out of a file: `run|ended NAME`. No channel runs it.
pub const UPDATE_UNIT: Script = update_script!("update_unit");

/// What an image has that workers need: `USER [PROGRAM]…`, with the user that cloud-init was asked to make.
pub const IMAGE: Script = script!("image");

/// Every script that the operator runs; [`IMAGE`] is for images that are tried.
pub const ALL: [Script; 13] = [
    FACTS,
    RESOLVE,
    CONNECT,
    UNIT,
    TASK_STAGE,
    TASK_START,
    TASK_LOOK,
    TASK_STOP,
    TASK_OUTPUT,
    TASK_FORGET,
    UPDATE,
    UPDATE_LOOK,
    UPDATE_REBOOT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_ascii_and_small_enough_to_be_sent() {
        for script in ALL.into_iter().chain([IMAGE, TASK_UNIT, UPDATE_UNIT]) {
            assert!(script.text.is_ascii(), "{} has characters that a guest agent mangles", script.name);
            assert!(script.text.len() < 16 << 10, "{} is too long", script.name);
        }
        assert!(TASK_COMMAND.is_ascii());
    }

    #[test]
    fn scripts_and_checks_of_images_agree_on_the_oldest_systemd() {
        let oldest = format!("-ge {} ]", crate::guest::image::OLDEST_SYSTEMD);
        assert!([TASK_START, UPDATE].iter().all(|script| script.text.contains(&oldest)));
    }

    #[test]
    fn every_script_names_itself_first_and_ends_with_the_end() {
        for script in ALL.into_iter().chain([IMAGE]) {
            assert!(script.text.contains(&format!("\nrecord script {} 1\n", script.name)), "{}", script.name);
            assert!(script.text.ends_with("\nrecord end\n"), "{}", script.name);
        }
    }
}
