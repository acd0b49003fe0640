//! What there is of attempts in a guest, at one look.

use std::time::Duration;

use super::answer;
use super::reading::Reading;
use crate::domain::attempt::Sight;
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::GuestChannel;
use crate::guest::scripts::TASK_LOOK;

/// Looks at all attempts of a guest, with one question.
pub async fn look(channel: &dyn GuestChannel, deadline: Duration) -> Result<Sight, Fault> {
    let sight = async {
        let output = channel.run(TASK_LOOK, &[], &[], deadline).await?;
        let records = answer::all(TASK_LOOK, &output, FaultKind::Other)?;
        Reading::of(&records).map(Reading::sight).map_err(super::unread(FaultKind::Other))
    };
    sight.await.map_err(|fault| fault.context("looking at the attempts in the guest"))
}
