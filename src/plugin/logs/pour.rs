//! An output on its way from a guest to a person: piece by piece, however much there is.

use std::io::Write;
use std::time::Duration;

use kube::ResourceExt as _;

use super::chosen::Chosen;
use super::guest::{Guest, Unread};
use super::{Stop, task};
use crate::api::WorkerTask;
use crate::api::task::TaskPhase;
use crate::domain::attempt::AttemptId;
use crate::domain::ending::phase;
use crate::domain::mask::Masker;
use crate::guest::tasks::LARGEST_PIECE;
use crate::plugin::{Person, PluginError};

/// Between two looks at what is not there yet.
const POLL: Duration = Duration::from_secs(1);
/// How often a piece is asked for that does not come, and how long it is waited for each time.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// An output on its way.
pub(super) struct Pour<'a> {
    person: &'a Person,
    task: &'a WorkerTask,
    /// The attempt that is meant.
    pub(super) id: AttemptId,
    follow: bool,
    /// How much of it was read.
    offset: u64,
}

impl<'a> Pour<'a> {
    pub(super) fn new(person: &'a Person, task: &'a WorkerTask, id: AttemptId, follow: bool) -> Self {
        Self { person, task, id, follow, offset: 0 }
    }

    /// Whether some of it was printed.
    pub(super) const fn has_printed(&self) -> bool {
        self.offset > 0
    }

    /// Whether what is not there yet is waited for.
    pub(super) const fn follows(&self) -> bool {
        self.follow
    }

    /// Waits for the command to begin, if that is wanted.
    pub(super) async fn until_begun(&self, chosen: &Chosen) -> Result<(), PluginError> {
        if self.follow && chosen.not_begun.is_some() {
            while self.is_at(|at| at == TaskPhase::Starting).await? {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Prints what there is; while the attempt runs, also what comes, if that is wanted.
    pub(super) async fn from(
        &mut self,
        guest: Guest,
        masker: &mut Masker,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Stop> {
        let mut guest = guest;
        loop {
            // Asked before the output is read: what is printed until then is there by then.
            let goes_on = self.follow && self.is_at(TaskPhase::has_worker).await?;
            self.drain(&mut guest, masker, out).await?;
            if !goes_on {
                out.write_all(&masker.finish()).map_err(PluginError::Output)?;
                return Ok(());
            }
            out.flush().map_err(PluginError::Output)?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Prints all that is there by now.
    async fn drain(
        &mut self,
        guest: &mut Guest,
        masker: &mut Masker,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Stop> {
        loop {
            let piece = self.piece(guest).await?;
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.offset += length;
            out.write_all(&masker.push(&piece)).map_err(PluginError::Output)?;
            if length < LARGEST_PIECE {
                return Ok(());
            }
        }
    }

    async fn piece(&self, guest: &mut Guest) -> Result<Vec<u8>, Stop> {
        for _ in 1..TRIES {
            match guest.read(&self.id, self.offset).await {
                Err(Unread::Fault(fault)) if fault.is_transient() => {
                    tokio::time::sleep(PAUSE).await;
                    guest.prove().await?;
                }
                answer => return Ok(answer?),
            }
        }
        Ok(guest.read(&self.id, self.offset).await?)
    }

    /// Whether the task is still at this attempt, and in a phase like this.
    async fn is_at(&self, is: impl Fn(TaskPhase) -> bool) -> Result<bool, PluginError> {
        let now = match task(self.person, &self.task.name_any()).await {
            Ok(now) => now,
            Err(PluginError::Absent { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let attempt = now.status.as_ref().and_then(|status| status.attempt);
        let is_same =
            now.uid() == self.task.uid() && attempt.and_then(|one| u32::try_from(one).ok()) == Some(self.id.attempt);
        Ok(is_same && is(phase(&now)))
    }
}
