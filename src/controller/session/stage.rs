//! How far a session is with the making of its tasks, and what is known of those.

use std::collections::BTreeSet;
use std::time::Duration;

use super::creation::Progress;
use super::members::{Slots, placed};
use super::{Error, PASSES, Pass, SHOWS, Step, trouble};
use crate::controller::connection::Connection;
use crate::domain::outcome::{self, Trouble};
use crate::domain::tally::{Roll, Tally};

/// For this long nothing is said of a hypervisor that is not at hand, if something else was said before: a process that
/// has just begun knows none.
const YOUNG: Duration = Duration::from_secs(10);

/// How far a session is.
pub(super) struct Stage {
    pub(super) slots: Slots,
    /// Places of which the task cannot be made.
    pub(super) blocked: BTreeSet<usize>,
    /// Whether all tasks are made.
    pub(super) created: bool,
    /// Whether all of this is known well enough to be told.
    pub(super) certain: bool,
    pub(super) trouble: Option<Trouble>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

impl Stage {
    /// What the tasks add up to.
    pub(super) fn tally(&self, pass: &Pass<'_>) -> Tally {
        let roll = Roll { slots: &self.slots, blocked: &self.blocked };
        roll.tally(&pass.session, pass.context.clock.wall())
    }
}

impl Pass<'_> {
    /// Makes tasks if some are not made yet; else looks at those that there are.
    pub(super) async fn stage(&mut self) -> Step<Stage> {
        let hypervisor = self.hypervisor();
        if outcome::ended(&self.session).is_some() {
            return self.look(None).await.map(Ok);
        }
        if self.is_created() {
            let trouble = trouble::usable(self.context, &hypervisor).err();
            return self.look(trouble).await.map(Ok);
        }
        if outcome::is_over(&self.session, self.context.clock.wall()) {
            return self.look(None).await.map(Ok);
        }
        match trouble::complete(self.context, &hypervisor) {
            Ok(_) if !self.fresh => self.refresh().await.map(Err),
            Ok(connection) => self.prepare(&connection).await.map(Ok),
            Err(why) => self.look(Some(why)).await.map(Ok),
        }
    }

    /// Looks at the tasks that there are.
    async fn look(&mut self, trouble: Option<Trouble>) -> Result<Stage, Error> {
        let members = self.members().await?;
        let certain = members.certain && !(trouble.is_some() && self.is_young());
        let again = if certain { trouble.is_some().then_some(PASSES) } else { Some(SHOWS) };
        let created = self.is_created();
        Ok(Stage { slots: members.slots, blocked: BTreeSet::new(), created, certain, trouble, again })
    }

    fn is_young(&self) -> bool {
        let age = self.context.runs.with(&self.uid, |run| run.age(self.context.clock.boot()));
        self.session.status.is_some() && age < YOUNG
    }

    /// Makes some of the tasks.
    async fn prepare(&mut self, connection: &Connection) -> Result<Stage, Error> {
        let mut making = self.context.runs.with(&self.uid, |run| std::mem::take(&mut run.making));
        let made = self.make(connection, &mut making).await;
        let (slots, blocked) = (placed(&self.session, making.tasks()), making.blocked.clone());
        self.context.runs.with(&self.uid, |run| run.making = making);
        let stage = Stage { slots, blocked, created: false, certain: true, trouble: None, again: None };
        match made {
            Ok(Progress::Made) => Ok(Stage { created: true, ..stage }),
            Ok(Progress::More) => Ok(Stage { again: Some(Duration::ZERO), ..stage }),
            Ok(Progress::Waits(text)) => {
                Ok(Stage { trouble: Some(trouble::preparing(text)), again: Some(SHOWS * 2), ..stage })
            }
            Err(error) => {
                // It is said before the next try, which is made after a while.
                let _ = self.tell(&Stage { trouble: Some(trouble::failed(&error)), ..stage }).await?;
                Err(error)
            }
        }
    }
}
