//! What must not be seen in an output: the values that the session gave its commands in secret.

use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::Api;

use super::{Lack, Stop};
use crate::api::{WorkerSession, WorkerTask};
use crate::domain::belonging::is_named;
use crate::domain::mask::Masker;
use crate::plugin::error::is_forbidden;
use crate::plugin::{Person, PluginError};

/// What masks the values of the session's `secretEnv`. Whoever may not read them cannot have them masked, and so does not
/// get the output.
pub(super) async fn masker(person: &Person, task: &WorkerTask) -> Result<Masker, Stop> {
    let name = &task.spec.session_ref.name;
    let sessions: Api<WorkerSession> = Api::namespaced(person.client.0.clone(), &person.namespace);
    let session = sessions.get_opt(name).await.map_err(PluginError::of(format!("reading WorkerSession {name}")))?;
    let Some(session) = session.filter(|session| is_named(task, session)) else {
        let why = format!("session {name} is gone, so that nobody tells which values must be masked in the output");
        return Err(Lack::other(why).into());
    };
    match session.spec.run.and_then(|run| run.secret_env) {
        Some(reference) => of_secret(person, &reference.name).await,
        None => Ok(Masker::default()),
    }
}

async fn of_secret(person: &Person, name: &str) -> Result<Masker, Stop> {
    let secrets: Api<SecretObject> = Api::namespaced(person.client.0.clone(), &person.namespace);
    let must = "whose values must be masked in the output";
    match secrets.get_opt(name).await {
        Ok(Some(object)) => {
            let values = object.data.unwrap_or_default();
            Ok(Masker::new(values.values().map(|value| value.0.as_slice())))
        }
        Ok(None) => Err(Lack::other(format!("Secret {name}, {must}, is not there any more")).into()),
        Err(error) if is_forbidden(&error) => {
            let why = format!("you may not get Secret {name}, {must}: ask for a role with get on it");
            Err(Lack::other(why).into())
        }
        Err(error) => Err(PluginError::of(format!("reading Secret {name}"))(error).into()),
    }
}
