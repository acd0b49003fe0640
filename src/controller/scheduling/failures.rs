//! What goes wrong while a decision is carried out: one task or one namespace that is refused something holds no other up,
//! but who does not answer one request will not answer the next.

use super::Error;

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: Option<Error>,
    /// The API server does not answer.
    is_silent: bool,
}

impl Failures {
    /// Takes note of how one step ended.
    pub(super) fn note(&mut self, result: Result<(), Error>) {
        let Err(error) = result else { return };
        tracing::debug!(%error, "a step of a decision failed");
        self.is_silent |= error.is_silence();
        self.first.get_or_insert(error);
    }

    /// Whether the next step is worth a try.
    pub(super) fn go_on(&self) -> bool {
        !self.is_silent
    }

    /// How all of it ended.
    pub(super) fn ended(self) -> Result<(), Error> {
        self.first.map_or(Ok(()), Err)
    }
}
