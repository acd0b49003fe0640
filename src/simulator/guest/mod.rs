//! The inside of simulated guests: programs that the hypervisor's guest agent is asked to run.
//!
//! Two guests play the same facts. [`ShellGuest`] really runs this program's scripts with `/bin/sh`, in a folder that
//! looks like a machine: for demos and for tests of the scripts. [`CannedGuest`] answers by the script's name, without
//! processes or files: for thousands of workers and for virtual time. **Real processes do not follow
//! `tokio::time::pause`**: paused time jumps ahead while a process runs, so a `ShellGuest` belongs to real time alone.
//! A test holds the two together: for the same facts, all checks end alike.
//!
//! Both follow [`GuestFacts`](super::guest_exec::GuestFacts): addresses, names, open targets, units, clock and disk. A
//! guest without any address reaches nothing and resolves nothing. A unit that the facts do not name
//! does not exist. Attempts at tasks end when the guest goes down, and their guards stay on the disk of its life.
//! `GuestFacts::behaviours` may also have:
//!
//! | name | meaning |
//! |---|---|
//! | `filtered` | list of `host:port` or `host` that swallow connections without an answer |
//! | `missingUnits` | list of units that the image lacks |
//! | `missingPrograms` | list of `nc`, `getent`, `ip`, `df`, `systemctl`, `systemd-run`, `cloud-init` or `timeout` |
//! | `cloudInit` | `running`, `error`, `disabled` …, in place of `done` |
//! | `updates` | `manager` (`apt`, `dnf`, `none`), `pending` and `heldBack` packages, `reboot`, `fails` with a text, `takes` seconds, `lock` held by somebody, `proxy` that is needed |

mod canned;
mod direct;
mod inside;
mod root;
mod shell;
mod updates;

pub use canned::CannedGuest;
pub use direct::DirectChannel;
pub use shell::ShellGuest;
