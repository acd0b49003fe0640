//! Kubernetes events: what happened, for `kubectl describe`. Sending one never holds a reconcile up.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

/// Events that wait to be sent; more are dropped (and counted in the log).
const QUEUE: usize = 256;
/// One event may take this long to be sent.
const DEADLINE: Duration = Duration::from_secs(10);
/// The API allows notes of 1 kB.
const LONGEST_NOTE: usize = 1024;

/// One event.
#[derive(Debug, Clone)]
pub struct Happening {
    /// The object it happened to.
    pub object: ObjectReference,
    /// Whether a person should worry.
    pub warning: bool,
    /// What happened, in one CamelCase word.
    pub reason: &'static str,
    /// What was being done.
    pub action: &'static str,
    /// What happened, in a sentence without secrets.
    pub note: String,
}

/// Where events go.
#[derive(Debug, Clone)]
pub struct Events {
    queue: Option<mpsc::Sender<Happening>>,
}

impl Events {
    /// Sends events to the API server, from a task of its own that ends when the last `Events` is dropped.
    pub fn start(client: kube::Client, pod: Option<String>) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Happening>(QUEUE);
        let recorder = Arc::new(Recorder::new(client, Reporter { controller: "stevedore".to_owned(), instance: pod }));
        tokio::spawn(async move {
            while let Some(happening) = receiver.recv().await {
                let object = happening.object.clone();
                let event = event(happening);
                match tokio::time::timeout(DEADLINE, recorder.publish(&event, &object)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an event could not be sent"),
                    Err(_) => tracing::debug!("an event was not taken in time"),
                }
            }
        });
        Self { queue: Some(sender) }
    }

    /// Drops all events.
    pub fn nowhere() -> Self {
        Self { queue: None }
    }

    /// Sends one, if there is room.
    pub fn publish(&self, happening: Happening) {
        let Some(queue) = &self.queue else { return };
        if let Err(error) = queue.try_send(happening) {
            tracing::warn!(%error, "an event was dropped: too many at a time");
        }
    }
}

fn event(happening: Happening) -> Event {
    let mut note = happening.note;
    if let Some((cut, _)) = note.char_indices().find(|(at, letter)| at + letter.len_utf8() > LONGEST_NOTE) {
        note.truncate(cut);
    }
    Event {
        type_: if happening.warning { EventType::Warning } else { EventType::Normal },
        reason: happening.reason.to_owned(),
        note: Some(note),
        action: happening.action.to_owned(),
        secondary: None,
    }
}
