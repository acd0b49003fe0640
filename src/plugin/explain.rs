//! `kubectl stevedore explain SESSION`: where each task is, and why those that wait do.

mod groups;
mod reading;
mod scene;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kube::ResourceExt as _;

use self::reading::Read;
use self::scene::Scene;
use self::words::Words;
use super::{Person, PluginError};
use crate::api::conditions;
use crate::api::reasons::SessionReason;
use crate::api::session::SessionType;
use crate::domain::schedule::explain_session;

/// What is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The session.
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// Leaves nothing out, however much there is.
    #[arg(long)]
    pub all: bool,
}

/// What there is to say about a session.
///
/// # Errors
///
/// There is no such session, or Kubernetes does not answer.
pub async fn explain(person: &Person, args: &Args) -> Result<String, PluginError> {
    let read = Read::of(person, &args.session).await?;
    let scene = Scene::of(person, &read).await?;
    let explained = explain_session(&scene.gathered.world, &read.session.uid().unwrap_or_default());
    let explained = explained.into_iter().map(|one| (one.task.clone(), one)).collect::<BTreeMap<_, _>>();
    let words = Words { person, read: &read, explained: &explained };
    let tasks = read.own_tasks().into_iter().map(|task| (task.spec.index, words.of(task))).collect();
    let mut text = header(person, &read);
    for note in &scene.notes {
        let _ = writeln!(text, "Note: {note}");
    }
    text.push_str(&groups::shown(&read.session.name_any(), tasks, args.all));
    Ok(text)
}

fn header(person: &Person, read: &Read) -> String {
    let (session, status) = (&read.session, read.session.status.clone().unwrap_or_default());
    let kind = match session.spec.type_ {
        SessionType::Backup => "backup",
        SessionType::Restore => "restore",
    };
    let phase = status.phase.as_deref().unwrap_or("not looked at by the operator yet");
    let mut text = format!("WorkerSession {} in namespace {}: {kind}, {phase}", session.name_any(), person.namespace);
    if let Some(done) = &status.done {
        let _ = write!(text, ", {done} tasks have ended");
    }
    text.push('\n');
    let ready = conditions::find(&status.conditions, conditions::READY);
    // What the tasks themselves tell is told below, and better.
    let told =
        [SessionReason::Preparing, SessionReason::WaitingForWorkers, SessionReason::Starting, SessionReason::Running];
    let is_news = |reason: &str| read.own_tasks().is_empty() || !told.iter().any(|known| known.as_str() == reason);
    if let Some(ready) = ready.filter(|ready| is_news(&ready.reason)) {
        let _ = writeln!(text, "{}: {}", ready.reason, ready.message);
    }
    if read.hypervisor.is_none() {
        let name = &session.spec.hypervisor_ref.name;
        let _ =
            writeln!(text, "There is no Hypervisor {name} in this namespace; the session goes on when there is one.");
    }
    text
}
