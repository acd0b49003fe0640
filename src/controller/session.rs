//! The controller of the kind `WorkerSession`: the tasks are made, those that wait and are not to begin any more are
//! ended, and it is said how far they are.
//!
//! Who has a worker is driven by that worker's controller; who gets one is the scheduler's decision.

mod creation;
mod deletion;
mod ends;
mod members;
mod memory;
mod resolving;
mod stage;
mod status;
mod telling;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, ResourceExt};
use thiserror::Error;

use self::members::Slots;
use self::memory::Making;
pub use self::memory::Runs;
use super::connection::Key;
use super::context::Context;
use super::finalizer;
use super::index::name_of;
use super::record::WriteError;
use super::scheduling::hypervisor_of;
use crate::api::{WorkerSession, WorkerTask, names};

/// Decisions within one pass; a pass that needs more goes on with the next one.
const MOST_ROUNDS: u32 = 8;
/// Until the next try after a write that somebody else's write overtook.
const SOON: Duration = Duration::from_millis(200);
/// Until the next look at something that tells nobody when it has passed.
const PASSES: Duration = Duration::from_secs(5);
/// Until the next look at something that shows soon.
const SHOWS: Duration = Duration::from_secs(1);

/// Why a pass ended early. The next one goes on from what is recorded.
#[derive(Debug, Error)]
pub enum Error {
    /// A write did not happen.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The Kubernetes API did not answer.
    #[error("the Kubernetes API: {0}")]
    Api(#[from] kube::Error),
}

impl Error {
    /// Whether it was no answer of the API server's: the next request would end like this, too.
    pub(super) fn is_silence(&self) -> bool {
        let is_no_answer = |error: &kube::Error| !matches!(error, kube::Error::Api(_) | kube::Error::SerdeError(_));
        match self {
            Self::Write(WriteError::Api(error)) => is_no_answer(error),
            Self::Write(_) => false,
            Self::Api(error) => is_no_answer(error),
        }
    }

    /// Whether the object is gone, so that there is nothing more to do.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Write(error) => matches!(error, WriteError::Gone),
            Self::Api(kube::Error::Api(status)) => status.is_not_found(),
            Self::Api(_) => false,
        }
    }
}

impl From<&Error> for Option<Duration> {
    fn from(error: &Error) -> Self {
        match error {
            Error::Write(WriteError::Conflict) => Some(SOON),
            Error::Api(kube::Error::Api(status)) if status.is_conflict() => Some(SOON),
            _ => None,
        }
    }
}

/// Brings one session a little closer to its end. The answer is when to look again; `None`: when something changes.
pub async fn reconcile(session: Arc<WorkerSession>, context: &Context) -> Result<Option<Duration>, Error> {
    match Box::pin(Pass::new(context, (*session).clone()).run()).await {
        Err(error) if error.is_gone() => Ok(None),
        result => result,
    }
}

/// One pass over one session.
struct Pass<'a> {
    context: &'a Context,
    sessions: Api<WorkerSession>,
    tasks: Api<WorkerTask>,
    key: Key,
    uid: String,
    session: WorkerSession,
    /// Whether `session` was read live, or comes from a write of this pass.
    fresh: bool,
    /// The tasks, if this pass has asked for them.
    asked: Option<Slots>,
    /// Whether the cache has caught up with what `session` says of its tasks.
    seen_by_all: bool,
}

/// What a round of a pass leads to.
enum Turn {
    Again,
    Done(Option<Duration>),
}

/// What a step of a round gives, unless the round ends with it.
type Step<T> = Result<Result<T, Turn>, Error>;

impl<'a> Pass<'a> {
    fn new(context: &'a Context, session: WorkerSession) -> Self {
        let (key, uid) = (name_of(&session), session.uid().unwrap_or_default());
        Self {
            context,
            sessions: Api::namespaced(context.client.clone(), &key.0),
            tasks: Api::namespaced(context.client.clone(), &key.0),
            key,
            uid,
            session,
            fresh: false,
            asked: None,
            seen_by_all: true,
        }
    }

    async fn run(mut self) -> Result<Option<Duration>, Error> {
        self.context.runs.with(&self.uid, |run| run.seen(self.context.clock.boot()));
        for _ in 0..MOST_ROUNDS {
            if let Turn::Done(after) = self.round().await? {
                return Ok(after);
            }
        }
        Ok(Some(SOON))
    }

    async fn round(&mut self) -> Result<Turn, Error> {
        if self.session.metadata.deletion_timestamp.is_some() {
            return self.leave().await;
        }
        if !finalizer::has(&self.session, names::SESSION_FINALIZER) {
            return self.hold().await;
        }
        let stage = match self.stage().await? {
            Ok(stage) => stage,
            Err(turn) => return Ok(turn),
        };
        let ends = self.ends(&stage.slots);
        if !ends.is_empty() {
            return self.end(ends).await;
        }
        let waits = self.wake(&stage.slots);
        let told = match self.tell(&stage).await? {
            Ok(told) => told,
            Err(turn) => return Ok(turn),
        };
        self.ring(&stage);
        let expiry = match self.expire().await? {
            Ok(expiry) => expiry,
            Err(turn) => return Ok(turn),
        };
        Ok(Turn::Done([stage.again, waits, told, self.until_late(), expiry].into_iter().flatten().min()))
    }

    /// Reads the session live: what is written or done next must not rest on a cache.
    async fn refresh(&mut self) -> Result<Turn, Error> {
        let Some(live) = self.sessions.get_opt(&self.key.1).await? else { return Ok(Turn::Done(None)) };
        if live.metadata.uid.as_ref() != Some(&self.uid) {
            return Ok(Turn::Done(None));
        }
        self.take(live);
        Ok(Turn::Again)
    }

    /// The session is as it was just read, or written.
    fn take(&mut self, live: WorkerSession) {
        let created = self.is_created();
        self.session = live;
        self.fresh = true;
        // The scheduler goes by the cache.
        self.seen_by_all &= created == self.is_created();
        if self.is_created() {
            // What is remembered of the making is not needed any more.
            self.context.runs.with(&self.uid, |run| run.making = Making::default());
        }
    }

    /// Our finalizer comes first: nothing that is made may outlive the session unseen.
    async fn hold(&mut self) -> Result<Turn, Error> {
        if !self.fresh {
            return self.refresh().await;
        }
        let held = finalizer::add(&self.sessions, &self.session, names::SESSION_FINALIZER).await?;
        self.take(held);
        Ok(Turn::Again)
    }

    /// Whether all tasks have been made once.
    fn is_created(&self) -> bool {
        self.session.status.as_ref().is_some_and(|status| status.tasks_created == Some(true))
    }

    /// Namespace and name of its Hypervisor.
    fn hypervisor(&self) -> Key {
        hypervisor_of(&self.session)
    }
}
