//! The way into a guest: the guest agent on Proxmox VE, SSH on HyperCore.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::fault::Fault;

/// One of the named POSIX sh scripts of this program, run inside a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// Its name, `$0` inside the guest; simulated guests may answer by it.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// What a command inside a guest left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub exit_code: Option<i32>,
    /// Standard output, bytes as they were written.
    pub stdout: Vec<u8>,
    /// Standard error, bytes as they were written.
    pub stderr: Vec<u8>,
    /// Whether output was cut.
    pub truncated: bool,
}

/// The most that a script may be fed, bytes. Proxmox VE takes 64 KiB, and part of it may need two bytes for one.
pub const LARGEST_INPUT: usize = 48 * 1024;

/// A channel into one guest. Every method has a deadline; a guest that does not answer is
/// [`FaultKind::GuestAway`](crate::domain::fault::FaultKind::GuestAway).
#[async_trait]
pub trait GuestChannel: Debug + Send + Sync {
    /// Runs `script` with `/bin/sh` and `args`, feeds it `stdin` (at most [`LARGEST_INPUT`]), and waits for its end.
    async fn run(&self, script: Script, args: &[String], stdin: &[u8], deadline: Duration) -> Result<Output, Fault>;
}
