//! `kubectl stevedore`: what a person is told of sessions whose operator, hypervisor and guests are in memory; and once at
//! a real API server, as kubectl starts it.

mod explain;
mod logs;
mod real;

use std::sync::Arc;

use http::StatusCode;
use stevedore::plugin::explain::explain;
use stevedore::plugin::logs::{Args, logs};
use stevedore::plugin::{Person, PersonalClient, PluginError};
use stevedore::simulator::kubernetes::{Fault, Verb};

use crate::crash::world::{InProcessConnector, NAMESPACE, World};

/// A person who asks, and is known by this name.
fn person(world: &World) -> Person {
    Person {
        client: PersonalClient(world.kube.client("asker")),
        namespace: NAMESPACE.to_owned(),
        connector: Arc::new(InProcessConnector(world.clone())),
        clock: world.clock.clone(),
    }
}

/// What the person is told of a session.
async fn explained(world: &World, session: &str) -> String {
    let args = stevedore::plugin::explain::Args { session: session.to_owned(), all: false };
    explain(&person(world), &args).await.unwrap()
}

/// What came of asking for an output: what was printed, what was said, and how it ended.
struct Printed {
    out: String,
    notes: String,
    end: Result<(), PluginError>,
}

impl Printed {
    fn error(&self) -> String {
        self.end.as_ref().unwrap_err().to_string()
    }
}

fn of(task: &str) -> Args {
    Args { task: task.to_owned(), attempt: None, previous: false, follow: false }
}

async fn printed(world: &World, args: Args) -> Printed {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let end = logs(&person(world), &args, &mut out, &mut notes).await;
    Printed { out: String::from_utf8(out).unwrap(), notes: String::from_utf8(notes).unwrap(), end }
}

/// The person may not get this Secret any more.
fn forbid(world: &World, secret: &'static str) {
    world.kube.intercept(move |call| {
        let is_it = call.target.resource == "secrets" && call.target.name.as_deref() == Some(secret);
        let is_asked = call.verb == Verb::Get && call.user_agent == "asker";
        if is_it && is_asked { Fault::Answer(StatusCode::FORBIDDEN) } else { Fault::None }
    });
}
