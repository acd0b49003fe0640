//! Placeholder until the guest part is merged.

use std::time::Duration;

use crate::domain::attempt::{AttemptId, Sight};
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::GuestChannel;

/// What is run.
pub struct Command {
    /// words
    pub argv: Vec<String>,
    /// env
    pub env: Vec<(String, String)>,
    /// secrets
    pub secret_env: Vec<(String, crate::secret::Secret)>,
    /// user
    pub user: String,
    /// longest
    pub timeout: Duration,
}

/// begun
pub enum Begun {
    /// started
    Started,
    /// guarded
    Guarded,
}

fn no<T>() -> Result<T, Fault> {
    Err(Fault::new(FaultKind::Other, "not there yet"))
}

/// start
pub async fn start(_: &dyn GuestChannel, _: &AttemptId, _: &Command, _: Duration) -> Result<Begun, Fault> {
    no()
}
/// look
pub async fn look(_: &dyn GuestChannel, _: Duration) -> Result<Sight, Fault> {
    no()
}
/// stop
pub async fn stop(_: &dyn GuestChannel, _: &AttemptId, _: Duration) -> Result<(), Fault> {
    no()
}
/// tail
pub async fn tail(_: &dyn GuestChannel, _: &AttemptId, _: usize, _: Duration) -> Result<Vec<u8>, Fault> {
    no()
}
/// forget
pub async fn forget(_: &dyn GuestChannel, _: &[AttemptId], _: Duration) -> Result<(), Fault> {
    no()
}
