//! Whether the first list of a kind has come.
//!
//! `Store::wait_until_ready` of kube 5 wakes only the task that asked last: one that merely looks takes the wake-up
//! away from the controller, which then never starts. So nobody but the controller asks the store.

use tokio::sync::watch;

/// Tells whether the first list has come. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Listed(Vec<watch::Receiver<bool>>);

/// Says that the first list has come.
#[derive(Debug)]
pub struct Announcer(watch::Sender<bool>);

impl Listed {
    /// A list that has not come yet, and what says that it has.
    pub fn awaited() -> (Announcer, Self) {
        let (sender, receiver) = watch::channel(false);
        (Announcer(sender), Self(vec![receiver]))
    }

    /// A list that is there: for stores that are filled by hand.
    pub fn already() -> Self {
        let (announcer, listed) = Self::awaited();
        announcer.listed();
        listed
    }

    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        self.0.iter().all(|list| *list.borrow())
    }

    /// Waits until it has come; for ever if nobody lists any more.
    pub async fn come(&self) {
        for list in &self.0 {
            if list.clone().wait_for(|come| *come).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// This list and another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl Announcer {
    /// The list has come.
    pub fn listed(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everybody_who_waits_is_woken() {
        let (announcer, listed) = Listed::awaited();
        let waiting: Vec<_> =
            (0..3).map(|_| listed.clone()).map(|listed| tokio::spawn(async move { listed.come().await })).collect();
        tokio::task::yield_now().await;
        assert!(!listed.has_come());
        announcer.listed();
        for task in waiting {
            task.await.unwrap();
        }
        drop(announcer);
        assert!(listed.has_come() && Listed::already().has_come());
    }
}
