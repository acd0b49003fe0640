//! A pass says how far the session is: in its status, at most once a second, and by events. When it is over for long
//! enough it goes.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Resource, ResourceExt};

use super::stage::Stage;
use super::{Error, Pass, SHOWS, Step, status};
use crate::api::session_status::SessionPhase;
use crate::api::{WorkerSession, WorkerSessionStatus};
use crate::controller::apply;
use crate::controller::events::Happening;
use crate::controller::snapshot::elapsed;
use crate::domain::outcome::{self, outcome};

impl Pass<'_> {
    /// Writes the status if it says something new, and may be written now. The answer is when to look again.
    pub(super) async fn tell(&mut self, stage: &Stage) -> Step<Option<Duration>> {
        let caught_up = (!self.seen_by_all).then_some(SHOWS);
        if !stage.certain {
            return Ok(Ok(caught_up));
        }
        let next = self.rendered(stage);
        if self.session.status.as_ref() == Some(&next) {
            return Ok(Ok(caught_up));
        }
        let rests = self.context.runs.with(&self.uid, |run| run.rests(self.context.clock.boot()));
        if !rests.is_zero() {
            return Ok(Ok(Some(rests)));
        }
        if !self.fresh {
            return self.refresh().await.map(Err);
        }
        self.write(&next).await?;
        Ok(Ok(Some(SHOWS)))
    }

    fn rendered(&self, stage: &Stage) -> WorkerSessionStatus {
        let now = self.context.clock.wall();
        if outcome::ended(&self.session).is_some() {
            return status::kept(&self.session, now);
        }
        let tally = stage.tally(self);
        let outcome = outcome(&self.session, &tally, stage.trouble.as_ref(), now);
        status::render(&self.session, &tally, &outcome, stage.created, now)
    }

    pub(super) async fn write(&mut self, next: &WorkerSessionStatus) -> Result<(), Error> {
        let before = self.session.status.clone().unwrap_or_default();
        self.context.runs.with(&self.uid, |run| run.writes(self.context.clock.boot()));
        let written = apply::status(&self.sessions, &self.session, next).await.map_err(super::WriteError::from)?;
        self.take(written);
        self.tell_news(&before, next);
        Ok(())
    }

    /// Events for the start and the end.
    fn tell_news(&self, before: &WorkerSessionStatus, next: &WorkerSessionStatus) {
        if before.started_at.is_none() && next.started_at.is_some() {
            let tasks = next.tasks.unwrap_or_default().total;
            self.happened(false, "SessionStarted", format!("the first of {tasks} tasks has started"));
        }
        if before.finished_at.is_some() || next.finished_at.is_none() {
            return;
        }
        let (warning, reason) = match next.phase.as_deref().and_then(SessionPhase::parse) {
            Some(SessionPhase::Succeeded) => (false, "SessionSucceeded"),
            Some(SessionPhase::Cancelled) => (false, "SessionCancelled"),
            _ => (true, "SessionFailed"),
        };
        self.happened(warning, reason, status::summary(next));
        // Its workers are free for others.
        self.ring_bell();
    }

    fn happened(&self, warning: bool, reason: &'static str, note: String) {
        tracing::info!(namespace = self.key.0, session = self.key.1, reason, "{note}");
        let object = self.session.object_ref(&());
        self.context.events.publish(Happening { object, warning, reason, action: "Reconcile", note });
    }

    /// Deletes the session when it has been over for as long as it says. The answer is when that is.
    pub(super) async fn expire(&mut self) -> Step<Option<Duration>> {
        let Some(expires) = expires(&self.session) else { return Ok(Ok(None)) };
        let now = self.context.clock.wall();
        if now < expires {
            return Ok(Ok(Some(until(expires, now))));
        }
        if !self.fresh {
            return self.refresh().await.map(Err);
        }
        let preconditions =
            Preconditions { uid: Some(self.uid.clone()), resource_version: self.session.resource_version() };
        let params = DeleteParams::background().preconditions(preconditions);
        match self.sessions.delete(&self.key.1, &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            result => drop(result?),
        }
        Ok(Ok(None))
    }
}

/// When a session that has ended is deleted.
fn expires(session: &WorkerSession) -> Option<Timestamp> {
    let finished = session.status.as_ref()?.finished_at.as_ref()?.0;
    let stays = jiff::SignedDuration::try_from(session.spec.ttl_after_finished.duration()?).ok()?;
    finished.checked_add(stays).ok()
}

/// The time from `now` to `then`.
pub(super) fn until(then: Timestamp, now: Timestamp) -> Duration {
    elapsed(now, then)
}
