//! The command of a task inside a worker's guest: what it is given, how it is started and stopped, what it left behind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::{Api, ResourceExt};

use super::Error;
use crate::api::reasons::TaskReason;
use crate::api::session::{Run, SessionType};
use crate::api::task::TaskPhase;
use crate::api::task_status::MAX_OUTPUT;
use crate::api::{WorkerSession, WorkerTask};
use crate::controller::execute::inside::Guest;
use crate::domain::attempt::AttemptId;
use crate::domain::attend::Finish;
use crate::domain::belonging::is_named;
use crate::domain::output;
use crate::guest::tasks::{self, Command};
use crate::secret::Secret;

/// Commands in one guest.
pub(super) struct Commands<'a> {
    pub(super) guest: &'a Guest<'a>,
}

/// What became of a start.
pub(super) enum Begin {
    /// The command runs, or did before.
    Begun,
    /// It can never be started: its session asks for what there is not.
    Refused(Finish),
}

impl Commands<'_> {
    /// Starts a task's command, unless this attempt was begun before.
    pub(super) async fn start(
        &self,
        task: &WorkerTask,
        session: &WorkerSession,
        id: &AttemptId,
    ) -> Result<Begin, Error> {
        let Some(run) = &session.spec.run else {
            return Ok(Begin::Begun);
        };
        let secret_env = match values(run, self.secret(task, run).await?) {
            Ok(values) => values,
            Err(why) => return Ok(Begin::Refused(refused(why))),
        };
        let mut env: Vec<(String, String)> = run.env.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
        env.extend(told(task, session, id));
        let command = Command {
            argv: run.command.clone(),
            env,
            secret_env,
            user: run.user.clone(),
            timeout: run.timeout.duration().unwrap_or(std::time::Duration::from_secs(12 * 3600)),
        };
        if let Err(why) = command.check() {
            return Ok(Begin::Refused(Finish { reason: TaskReason::CouldNotStart, ..refused(why) }));
        }
        let channel = self.guest.open().await?;
        tasks::start(channel.as_ref(), id, &command, self.guest.context.patience.script).await?;
        tracing::info!(task = %task.name_any(), attempt = id.attempt, vm = %self.guest.at, "command started");
        Ok(Begin::Begun)
    }

    /// Ends an attempt, or sees to it that it never begins.
    pub(super) async fn stop(&self, id: &AttemptId) -> Result<(), Error> {
        let channel = self.guest.open().await?;
        Ok(tasks::stop(channel.as_ref(), id, self.guest.context.patience.script).await?)
    }

    /// Removes the guards of attempts that nobody asks after any more.
    pub(super) async fn forget(&self, ids: &[AttemptId]) -> Result<(), Error> {
        let channel = self.guest.open().await?;
        Ok(tasks::forget(channel.as_ref(), ids, self.guest.context.patience.script).await?)
    }

    /// The end of what a command has printed, without the values of secrets; `None` if these cannot be told.
    pub(super) async fn output(&self, task: &WorkerTask, id: &AttemptId) -> Result<Option<String>, Error> {
        let context = self.guest.context;
        let namespace = task.namespace().unwrap_or_default();
        let sessions: Api<WorkerSession> = Api::namespaced(context.client.clone(), &namespace);
        let session = sessions.get_opt(&task.spec.session_ref.name).await?;
        let run = session.filter(|session| is_named(task, session)).and_then(|session| session.spec.run);
        let Some(run) = run else { return Ok(None) };
        let secret = self.secret(task, &run).await?;
        if let (Some(object), Some(started)) = (&secret, started(task))
            && changed_since(object, started)
        {
            return Ok(Some(WITHHELD.to_owned()));
        }
        let Ok(secrets) = values(&run, secret) else { return Ok(None) };
        let channel = self.guest.client.guest(&self.guest.at);
        // More than is kept: a secret at the beginning is known by its end.
        let bytes = tasks::tail(channel.as_ref(), id, 2 * MAX_OUTPUT as u64, context.patience.script).await?;
        let values: Vec<&str> = secrets.iter().map(|(_, value)| value.expose()).collect();
        Ok(Some(output::shown(&bytes, &values, MAX_OUTPUT)))
    }

    /// The Secret of `run.secretEnv`; `None` if none is named, or if it is not there.
    async fn secret(&self, task: &WorkerTask, run: &Run) -> Result<Option<SecretObject>, Error> {
        let Some(reference) = &run.secret_env else { return Ok(None) };
        let namespace = task.namespace().unwrap_or_default();
        let api: Api<SecretObject> = Api::namespaced(self.guest.context.client.clone(), &namespace);
        Ok(api.get_opt(&reference.name).await?)
    }
}

/// What stands for an output that may hold what was secret when its command began.
const WITHHELD: &str = "(not kept: the Secret of run.secretEnv was changed while the command ran, so that what it was given \
                        cannot be told from what it printed)";

fn started(task: &WorkerTask) -> Option<Timestamp> {
    task.status.as_ref()?.started_at.as_ref().map(|at| at.0)
}

/// Whether the Secret was made or written after this time, by what the API server noted.
fn changed_since(object: &SecretObject, time: Timestamp) -> bool {
    let meta = &object.metadata;
    let written = meta.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
    written.chain(&meta.creation_timestamp).any(|at| at.0 > time)
}

/// The variables out of the Secret that is named, if one is; else what is wrong with it.
fn values(run: &Run, secret: Option<SecretObject>) -> Result<Vec<(String, Secret)>, String> {
    match (&run.secret_env, secret) {
        (Some(reference), Some(object)) => variables(&reference.name, object),
        (Some(reference), None) => Err(format!("there is no Secret {}, which run.secretEnv names", reference.name)),
        (None, _) => Ok(Vec::new()),
    }
}

fn variables(name: &str, object: SecretObject) -> Result<Vec<(String, Secret)>, String> {
    let mut variables = Vec::new();
    for (key, value) in object.data.unwrap_or_default() {
        if !is_variable(&key) {
            return Err(format!("the key {key:?} of Secret {name} cannot be the name of an environment variable"));
        }
        let value = String::from_utf8(value.0).ok().filter(|value| !value.contains('\0')).ok_or_else(|| {
            format!("the value of {key} in Secret {name} is no text, as an environment variable must be")
        })?;
        variables.push((key, Secret::new(value)));
    }
    Ok(variables)
}

fn is_variable(name: &str) -> bool {
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.starts_with("STEVEDORE_")
}

fn refused(why: String) -> Finish {
    Finish { phase: TaskPhase::Failed, reason: TaskReason::SecretMissing, message: why, end: None, lost: false }
}

/// What every command is told of its task.
fn told(task: &WorkerTask, session: &WorkerSession, id: &AttemptId) -> BTreeMap<String, String> {
    let vm = &task.spec.virtual_machine;
    let host = task.status.as_ref().and_then(|status| status.vm_host.clone()).or_else(|| vm.host.clone());
    let kind = match session.spec.type_ {
        SessionType::Backup => "Backup",
        SessionType::Restore => "Restore",
    };
    let pairs = [
        ("STEVEDORE_SESSION", session.name_any()),
        ("STEVEDORE_TYPE", kind.to_owned()),
        ("STEVEDORE_TASK", task.name_any()),
        ("STEVEDORE_VM_ID", vm.id.clone().unwrap_or_default()),
        ("STEVEDORE_VM_NAME", vm.name.clone().unwrap_or_default()),
        ("STEVEDORE_VM_HOST", host.unwrap_or_default()),
        ("STEVEDORE_ATTEMPT", id.attempt.to_string()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(pairs: &[(&str, &[u8])]) -> SecretObject {
        let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect();
        SecretObject { data: Some(data), ..SecretObject::default() }
    }

    #[test]
    fn a_secret_that_was_written_under_a_command_is_known() {
        let object = |value: serde_json::Value| serde_json::from_value::<SecretObject>(value).unwrap();
        let (before, after) = ("2026-11-01T00:00:00Z", "2026-11-01T02:00:00Z");
        let written = |made: &str, at: &str| {
            object(serde_json::json!({"metadata": {"creationTimestamp": made, "managedFields": [{"time": at}]}}))
        };
        let start = "2026-11-01T01:00:00Z".parse().unwrap();
        assert!(!changed_since(&written(before, before), start));
        assert!(changed_since(&written(before, after), start));
        assert!(changed_since(&written(after, after), start), "another one of that name");
    }

    #[test]
    fn a_secret_gives_variables_or_says_why_not_without_its_values() {
        let good = variables("s", secret(&[("RESTIC_PASSWORD", "h\u{f6}".as_bytes())])).unwrap();
        assert_eq!((good[0].0.as_str(), good[0].1.expose()), ("RESTIC_PASSWORD", "h\u{f6}"));
        for (key, value) in
            [("tls.crt", &b"hunter22"[..]), ("A", b"hunter\xff"), ("A", b"hun\0ter"), ("STEVEDORE_A", b"hunter")]
        {
            let why = variables("s", secret(&[(key, value)])).unwrap_err();
            assert!(why.contains("Secret s") && !why.contains("hunter"), "{why}");
        }
    }
}
