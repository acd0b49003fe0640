//! Leader election by a `coordination.k8s.io` Lease: of several processes, at most one leads.
//!
//! The leader counts its term from *before* it sent the write that began or renewed it, on the boot clock and on the
//! wall clock, and believes the clock that leaves it less. Another process takes over only after it has seen the
//! record unchanged for the whole duration, counted from *after* it read it, on its own boot clock; the times in the
//! record are for people. Every write is a compare-and-swap on the resourceVersion. So the old term is over before a
//! new one begins, whatever is lost, late or delivered twice on the way, and whatever a wall clock does.
//!
//! One thing can break this: a Lease deleted by hand while its holder lives, if a process that has never seen the
//! holder starts in that moment. A process that has seen it waits the whole duration.

mod leadership;
mod record;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::Client;
use kube::api::{Api, PostParams};

pub use self::leadership::Leadership;
use self::leadership::{Seat, Term};
use self::record::{Observation, Verdict};
use crate::clock::SharedClock;
use crate::runtime::shutdown::Shutdown;

/// How a Lease is held.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who holds it: unique for each process that ever runs, such as the Pod's name and a random part.
    pub holder: String,
    /// How long a term lasts without a renewal.
    pub duration: Duration,
    /// How often the leader renews.
    pub renew: Duration,
    /// How often a process that waits looks, and how soon a failed renewal is tried again.
    pub retry: Duration,
    /// How long one request may take.
    pub deadline: Duration,
    /// Spreads the requests of several processes.
    pub seed: u64,
}

impl Settings {
    /// A Lease of 60 s, renewed every 10 s, looked at every 2 s, with 10 s for a request.
    pub fn new(namespace: &str, name: &str, holder: &str, seed: u64) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            holder: holder.to_owned(),
            duration: Duration::from_secs(60),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            deadline: Duration::from_secs(10),
            seed,
        }
    }
}

/// How [`Lease::run`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to, and has given the Lease back if it held it.
    Released,
    /// It led, and does not any more: nothing may be changed by this process from now on.
    Lost,
}

/// One process's part in the election.
#[derive(Debug)]
pub struct Lease {
    api: Api<LeaseObject>,
    settings: Settings,
    clock: SharedClock,
    seat: tokio::sync::watch::Sender<Seat>,
    /// The record as this process wrote it last; none if it does not lead or the outcome of a write is unknown.
    written: Option<LeaseObject>,
    /// Another holder's record as last seen, or that there is none.
    observed: Option<Observation>,
    pauses: u64,
}

enum Outcome {
    Taken(Box<LeaseObject>),
    Held { by: String },
}

impl Lease {
    /// An election that has not begun, and the handle that tells who leads.
    pub fn new(client: Client, settings: Settings, clock: SharedClock) -> (Self, Leadership) {
        let (seat, watching) = tokio::sync::watch::channel(Seat::default());
        let api = Api::namespaced(client, &settings.namespace);
        let leadership = Leadership::new(watching, clock.clone());
        (Self { api, settings, clock, seat, written: None, observed: None, pauses: 0 }, leadership)
    }

    /// Takes part until `stop` is requested or the lead is lost. Request `stop` only when nothing that needs the
    /// lead runs any more: the Lease is given back at once, and another process may lead.
    pub async fn run(mut self, stop: Shutdown) -> Ended {
        loop {
            let attempt = tokio::select! {
                biased;
                () = stop.requested() => break,
                attempt = self.attempt() => attempt,
            };
            let Some(pause) = attempt else {
                self.seat.send_replace(Seat::default());
                return Ended::Lost;
            };
            tokio::select! {
                biased;
                () = stop.requested() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        let led = self.seat.send_replace(Seat::default()).term.is_some();
        if led || self.written.is_some() {
            self.release().await;
        }
        Ended::Released
    }

    /// One try to take or renew; how long to wait before the next, or nothing if the lead is lost.
    async fn attempt(&mut self) -> Option<Duration> {
        let term = Term::starting(&self.clock, self.settings.duration);
        let leads = self.seat.borrow().term.clone();
        let deadline = match &leads {
            Some(term) => self.settings.deadline.min(term.boot_left(&self.clock).max(self.settings.retry)),
            None => self.settings.deadline,
        };
        match tokio::time::timeout(deadline, self.take()).await {
            Ok(Ok(Outcome::Taken(record))) => {
                self.lead(term, *record);
                Some(self.spread(self.settings.renew))
            }
            Ok(Ok(Outcome::Held { by })) if leads.is_some() => {
                tracing::error!(holder = by, "the Lease has another holder: this process leads no more");
                None
            }
            Ok(Ok(Outcome::Held { by })) => {
                self.follow(by);
                Some(self.spread(self.settings.retry))
            }
            Ok(Err(error)) => self.failed(leads.as_ref(), &error.to_string()),
            Err(_) => self.failed(leads.as_ref(), "no answer in time"),
        }
    }

    fn failed(&mut self, leads: Option<&Term>, error: &str) -> Option<Duration> {
        let left = leads.map(|term| term.left(&self.clock));
        tracing::warn!(error, lease = self.settings.name, ?left, "cannot read or write the Lease");
        if left == Some(Duration::ZERO) {
            tracing::error!("the Lease ran out before it could be renewed: this process leads no more");
            return None;
        }
        Some(self.spread(self.settings.retry))
    }

    /// Renews what this process wrote last, or reads the record and takes it if it may.
    async fn take(&mut self) -> Result<Outcome, kube::Error> {
        if let Some(record) = self.written.take() {
            match self.write(record).await {
                Ok(outcome) => return Ok(outcome),
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let record = self.api.get_opt(&self.settings.name).await?;
        let now = self.clock.boot();
        match record::judge(record.as_ref(), &mut self.observed, &self.settings, now) {
            Verdict::Free => self.write(record.unwrap_or_default()).await,
            Verdict::Held { by } => Ok(Outcome::Held { by }),
        }
    }

    async fn write(&self, old: LeaseObject) -> Result<Outcome, kube::Error> {
        let params = PostParams::default();
        let record = record::held(old, &self.settings, self.clock.wall());
        let answer = if record.metadata.resource_version.is_some() {
            self.api.replace(&self.settings.name, &params, &record).await?
        } else {
            self.api.create(&params, &record).await?
        };
        match record::holder(&answer) {
            Some(holder) if holder == self.settings.holder => Ok(Outcome::Taken(Box::new(answer))),
            other => Ok(Outcome::Held { by: other.unwrap_or_default().to_owned() }),
        }
    }

    fn lead(&mut self, term: Term, record: LeaseObject) {
        self.written = Some(record);
        self.observed = None;
        let holder = self.settings.holder.clone();
        self.seat.send_if_modified(|seat| {
            let is_new = seat.term.is_none();
            *seat = Seat { term: Some(term), holder };
            if is_new {
                tracing::info!(holder = seat.holder, "this process leads");
            }
            is_new
        });
    }

    fn follow(&mut self, holder: String) {
        self.seat.send_if_modified(|seat| {
            let changed = seat.holder != holder;
            if changed {
                tracing::info!(holder, "another process leads");
            }
            seat.holder = holder;
            changed
        });
    }

    /// Clears the holder, so that another process need not wait.
    async fn release(&mut self) {
        let deadline = self.settings.deadline.min(Duration::from_secs(5));
        match tokio::time::timeout(deadline, self.give_back()).await {
            Ok(Ok(())) => tracing::info!(lease = self.settings.name, "the Lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot give the Lease back: it runs out by itself"),
            Err(_) => tracing::warn!("cannot give the Lease back, no answer in time: it runs out by itself"),
        }
    }

    async fn give_back(&mut self) -> Result<(), kube::Error> {
        let record = self.api.get_opt(&self.settings.name).await?;
        let ours = |record: &LeaseObject| record::holder(record) == Some(&self.settings.holder);
        if let Some(record) = record.filter(ours) {
            let record = record::released(record, self.clock.wall());
            self.api.replace(&self.settings.name, &PostParams::default(), &record).await?;
        }
        Ok(())
    }

    /// The pause, or up to a fifth less.
    fn spread(&mut self, pause: Duration) -> Duration {
        self.pauses += 1;
        let mixed = (self.settings.seed ^ self.pauses).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let part = u32::try_from(mixed).unwrap_or(0);
        pause.saturating_sub((pause / 5).mul_f64(f64::from(part) / f64::from(u32::MAX)))
    }
}
