//! The tasks of a session, each in its place: out of the cache, and asked for where that lacks some.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::{Error, Pass};
use crate::api::{WorkerSession, WorkerTask};
use crate::domain::belonging::belongs;
use crate::domain::outcome::{ended, is_over};

/// The cache may be behind by this long before what it lacks is asked for.
const CACHE_LAG: Duration = Duration::from_secs(1);
/// Tasks of one answer.
const PAGE: u32 = 250;

/// The tasks of a session by their places.
pub(super) type Slots = Vec<Option<Arc<WorkerTask>>>;

/// What is known of the tasks of a session.
pub(super) struct Members {
    pub(super) slots: Slots,
    /// Whether those that are not there are known to be gone, or not to have been made yet.
    pub(super) certain: bool,
}

/// Puts each task that belongs to a session into its place.
pub(super) fn placed(session: &WorkerSession, tasks: impl IntoIterator<Item = Arc<WorkerTask>>) -> Slots {
    let mut slots: Slots = vec![None; session.spec.virtual_machines.len()];
    for task in tasks.into_iter().filter(|task| belongs(task, session)) {
        if let Some(slot) = usize::try_from(task.spec.index).ok().and_then(|index| slots.get_mut(index)) {
            *slot = Some(task);
        }
    }
    slots
}

impl Pass<'_> {
    /// The session's tasks. A cache that is behind is no proof that one was deleted.
    pub(super) async fn members(&mut self) -> Result<Members, Error> {
        if let Some(slots) = self.asked.clone() {
            return Ok(Members { slots, certain: true });
        }
        let context = self.context;
        let mut slots = placed(&self.session, context.tasks.of_session(&self.key));
        let is_open = !self.is_created() && !is_over(&self.session, context.clock.wall());
        if is_open || ended(&self.session).is_some() {
            return Ok(Members { slots, certain: true });
        }
        let lacking = lacking(&slots);
        let lacks_for = context.runs.with(&self.uid, |run| {
            let is_news = !lacking.is_subset(&run.gone);
            is_news.then(|| run.lacks(context.clock.boot()))
        });
        match lacks_for {
            Some(time) if time < CACHE_LAG => return Ok(Members { slots, certain: false }),
            Some(_) => {
                slots = placed(&self.session, self.list().await?.into_iter().map(Arc::new));
                // What was never made may be made yet, should the session be given more time.
                let gone = if self.is_created() { self::lacking(&slots) } else { BTreeSet::new() };
                context.runs.with(&self.uid, |run| run.gone.extend(gone));
                self.asked = Some(slots.clone());
            }
            None => {}
        }
        context.runs.with(&self.uid, super::memory::Run::lacks_nothing);
        Ok(Members { slots, certain: true })
    }

    /// All tasks that name the session, read live; also those of an earlier session of its name.
    pub(super) async fn list(&self) -> Result<Vec<WorkerTask>, Error> {
        list(&self.tasks, &self.session.name_any()).await
    }
}

fn lacking(slots: &Slots) -> BTreeSet<usize> {
    (0..slots.len()).filter(|index| slots[*index].is_none()).collect()
}

async fn list(api: &Api<WorkerTask>, session: &str) -> Result<Vec<WorkerTask>, Error> {
    let mut params = ListParams::default().fields(&format!("spec.sessionRef.name={session}")).limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}
