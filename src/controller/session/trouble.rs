//! What keeps a session from going on.

use std::sync::Arc;

use super::Error;
use crate::api::reasons::SessionReason;
use crate::controller::connection::{Connection, Key};
use crate::controller::context::Context;
use crate::controller::index::stored;
use crate::controller::view::View;
use crate::domain::observation::HypervisorState;
use crate::domain::outcome::Trouble;

/// The longest text of an error that people are told.
const LONGEST: usize = 500;

/// The connection to a Hypervisor of which all VMs are known.
pub(super) fn complete(context: &Context, key: &Key) -> Result<Arc<Connection>, Trouble> {
    let connection = usable(context, key)?;
    if connection.view(View::is_complete) {
        return Ok(connection);
    }
    let message = format!("Hypervisor {} has not shown all of its VMs yet", key.1);
    Err(Trouble { reason: SessionReason::HypervisorNotReady, message })
}

/// The connection to a Hypervisor that can be used.
pub(super) fn usable(context: &Context, key: &Key) -> Result<Arc<Connection>, Trouble> {
    let (namespace, name) = key;
    let not_ready = |text: String| Trouble { reason: SessionReason::HypervisorNotReady, message: text };
    let Some(hypervisor) = stored(&context.hypervisors, key) else {
        if let Some(unreadable) = context.unreadable_hypervisors.get(key) {
            let error = &unreadable.error;
            return Err(not_ready(format!(
                "Hypervisor {name} cannot be read by this version of the operator ({error})"
            )));
        }
        let text =
            format!("there is no Hypervisor {name} in namespace {namespace}: create it, and the session goes on");
        return Err(Trouble { reason: SessionReason::HypervisorMissing, message: text });
    };
    let connection = context.connections.get(key);
    let state = connection.as_ref().map(|connection| connection.state()).unwrap_or_default();
    if hypervisor.spec.paused || state.paused {
        let text = format!("Hypervisor {name} is paused: nothing is started until paused is taken away");
        return Err(Trouble { reason: SessionReason::HypervisorPaused, message: text });
    }
    match (state.verdict, connection) {
        (HypervisorState::Ready, Some(connection)) => Ok(connection),
        (HypervisorState::Away(problem) | HypervisorState::Missing(problem), _) => Err(not_ready(problem.message)),
        (HypervisorState::Ready, None) => Err(not_ready(format!("Hypervisor {name} has not been reached yet"))),
    }
}

/// The tasks cannot be made yet.
pub(super) fn preparing(message: String) -> Trouble {
    Trouble { reason: SessionReason::Preparing, message }
}

/// A task could not be made.
pub(super) fn failed(error: &Error) -> Trouble {
    let error: String = error.to_string().chars().take(LONGEST).collect();
    let message = format!("its tasks could not be made, which is tried again: {error}");
    Trouble { reason: SessionReason::OperationFailed, message }
}
