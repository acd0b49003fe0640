//! The controller of the kind `Hypervisor`, which is also the one poller of each hypervisor.
//!
//! [`reconcile`] keeps the object while Workers need it (`hold`, `held`); looks at the hypervisor when it is time
//! (`input`, `probe`, `poll`); tells workers (`publish`) and people (`status`) what it found. Between two
//! looks it only tells.

mod absent;
mod conditions;
mod error;
mod facts;
mod held;
mod hold;
mod identity;
mod input;
mod memory;
pub(super) mod peers;
pub mod person;
mod poll;
mod probe;
mod publish;
mod share;
mod sights;
mod status;
mod subject;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::runtime::controller::Action;

pub use self::error::Error;
pub(super) use self::held::release_recorded;
pub(super) use self::memory::Memory;

use self::facts::Facts;
use self::hold::Hold;
use self::memory::Contact;
use self::subject::Subject;
use self::trouble::Trouble;
use super::context::Context;
use crate::api::Hypervisor;
use crate::api::reasons::HypervisorReason;

/// The object was changed by somebody else meanwhile: soon again.
const SOON: Duration = Duration::from_secs(1);
/// The longest wait for a Secret that is missing: nobody tells us when it comes.
const INPUT: Duration = Duration::from_secs(30);

/// When to reconcile again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// After this time; `None`: when the object changes.
    pub requeue: Option<Duration>,
}

impl From<Outcome> for Action {
    fn from(outcome: Outcome) -> Self {
        outcome.requeue.map_or_else(Self::await_change, Self::requeue)
    }
}

/// Reconciles one `Hypervisor`. It may be called at any time and as often as one likes: the hypervisor itself is only
/// asked when it is time.
pub async fn reconcile(hypervisor: Arc<Hypervisor>, context: Arc<Context>) -> Result<Outcome, Error> {
    let key = (hypervisor.namespace().unwrap_or_default(), hypervisor.name_any());
    let connection = context.connections.get_or_make(&key);
    let mut memory = connection.poller.lock().await;
    let (latest, is_new) = memory.latest(&hypervisor);
    if is_new {
        connection.part();
        connection.update(|state| *state = super::connection::State::default());
        connection.change_view(|view| *view = super::view::View::default());
    }
    let mut subject = Subject::new(&context, &connection, key, latest);
    // Boxed: it is large, and whoever drives this would have to carry it.
    let result = Box::pin(work(&mut subject, &mut memory)).await;
    let superseded = std::mem::take(&mut subject.superseded);
    memory.wrote(&subject.hypervisor, superseded);
    match result {
        Err(error) if error.is_not_found() => Ok(Outcome { requeue: None }),
        Err(error) if error.is_conflict() => {
            tracing::debug!(hypervisor = subject.name(), %error, "changed by somebody else");
            Ok(Outcome { requeue: Some(SOON) })
        }
        result => result,
    }
}

async fn work(subject: &mut Subject<'_>, memory: &mut Memory) -> Result<Outcome, Error> {
    match hold::settle(subject).await? {
        Hold::Gone => {
            subject.context.connections.remove(&subject.key);
            return Ok(Outcome { requeue: None });
        }
        Hold::Begun => memory.hurry(),
        Hold::Stays => {}
    }
    if is_due(subject, memory) {
        memory.begin(subject.now, subject.generation());
        look(subject, memory).await?;
    }
    tell(subject, memory).await?;
    Ok(Outcome { requeue: Some(until_next(subject, memory).max(SOON)) })
}

fn is_due(subject: &Subject<'_>, memory: &mut Memory) -> bool {
    if probe::is_accepted_now(subject, memory) && matches!(memory.contact, Contact::Failed(_)) {
        memory.hurry();
    }
    until_next(subject, memory).is_zero()
}

fn until_next(subject: &Subject<'_>, memory: &Memory) -> Duration {
    let poll = &subject.hypervisor.spec.poll;
    let now = subject.context.clock.boot();
    let span = if subject.connection.is_busy(now) { &poll.busy } else { &poll.idle };
    // The schema admits nothing that is not a duration.
    let wait = memory.until_next(now, subject.generation(), span.duration().unwrap_or(INPUT));
    if memory.input.is_some() { wait.min(INPUT) } else { wait }
}

/// Looks at the hypervisor, with what Secret and CA say now. Once more at once, if the credential is refused and the
/// Secret has another one by now.
async fn look(subject: &mut Subject<'_>, memory: &mut Memory) -> Result<(), Error> {
    connect(subject, memory).await?;
    let mut result = ask(subject, memory).await;
    let is_refused = |trouble: &Trouble| trouble.reason == HypervisorReason::CredentialsRejected;
    if result.as_ref().is_some_and(|result| result.as_ref().is_err_and(is_refused)) && connect(subject, memory).await? {
        result = ask(subject, memory).await;
    }
    match result.map(|result| result.map_err(|trouble| explained(subject, trouble))) {
        Some(result) => {
            if result.is_err() {
                subject.connection.change_view(super::view::View::interrupt);
            }
            memory.end(result);
        }
        None => memory.fail(),
    }
    Ok(())
}

/// The hypervisor does not say what to do about a credential that it refuses.
fn explained(subject: &Subject<'_>, trouble: Trouble) -> Trouble {
    if trouble.reason != HypervisorReason::CredentialsRejected {
        return trouble;
    }
    let secret = &subject.hypervisor.spec.credentials_secret_ref.name;
    let advice = "see that it has the right name and secret, has not expired, and that its user is enabled";
    Trouble::new(trouble.reason, format!("{}; it is the credential in Secret {secret}: {advice}", trouble.message))
}

/// Makes a client if there is none, or if it would be made from something else now; whether it did.
async fn connect(subject: &mut Subject<'_>, memory: &mut Memory) -> Result<bool, Error> {
    let spec = subject.hypervisor.spec.clone();
    let mut input = input::read(input::Reader::operator(subject), &spec).await?;
    held::keep(subject, &mut input).await?;
    let settings = input::settings(&spec, memory.settings.as_ref(), &input);
    memory.input = input.trouble;
    let Some(settings) = settings.filter(|settings| memory.settings.as_ref() != Some(settings)) else {
        return Ok(false);
    };
    // What the former client has shown is void: this one may see other things, or talk to another cluster.
    memory.probed = None;
    subject.connection.change_view(super::view::View::interrupt);
    if let Some(trouble) = input::not_allowed(subject) {
        memory.client = None;
        memory.settings = None;
        memory.contact = Contact::Failed(trouble);
        return Ok(false);
    }
    match subject.context.connector.connect(&settings) {
        Ok(client) => {
            memory.client = Some(client);
            memory.settings = Some(settings);
        }
        Err(fault) => {
            memory.client = None;
            memory.settings = None;
            memory.contact = Contact::Failed(Trouble::from(&fault));
        }
    }
    Ok(true)
}

/// Asks the hypervisor: who it is if need be, then what it has. `None`: there is no client to ask with.
async fn ask(subject: &Subject<'_>, memory: &mut Memory) -> Option<Result<(), Trouble>> {
    let client = memory.client.clone()?;
    if memory.needs_probe(subject.context.clock.boot(), subject.context.patience.probe)
        && let Err(trouble) = probe::probe(subject, memory, &client).await
    {
        return Some(Err(trouble));
    }
    Some(poll::poll(subject, memory, &client).await)
}

/// Tells workers and people. A cluster is written down before workers may use it.
async fn tell(subject: &mut Subject<'_>, memory: &mut Memory) -> Result<(), Error> {
    let sighted = subject.connection.view(|view| sights::Sights::of(view, &subject.context.installation));
    let before = std::mem::replace(&mut memory.sights, sighted);
    let next = status::status(subject, memory, &Facts::of(subject, memory));
    if status::pins_anew(subject, &next) {
        status::write(subject, next).await?;
        publish::publish(subject, memory, &before);
        return Ok(());
    }
    publish::publish(subject, memory, &before);
    status::write(subject, next).await
}
