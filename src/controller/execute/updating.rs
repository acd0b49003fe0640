//! The changes inside a guest that belong to a launch: the update of its packages, and the reboot that it may ask for.
//!
//! Each is safe to ask for twice: the guest starts the update of an operation once, and leaves a boot once.

use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::{Api, ResourceExt};

use super::Work;
use crate::api::Worker;
use crate::api::worker_updates::UpdateProxy;
use crate::domain::effect::Effect;
use crate::domain::fault::{Fault, FaultKind};
use crate::domain::operation::Operation;
use crate::guest::updates::{self, Proxy, UpdateOrder, UpdateState};
use crate::hypervisor::vm::Started;
use crate::hypervisor::window::Window;
use crate::secret::Secret;

/// A change inside a guest, with all that it takes.
pub(super) enum Change {
    Update(UpdateOrder),
    /// Out of this boot; none if it is over already.
    Reboot(Option<String>),
}

/// What an effect inside the guest takes; `None` for one on the hypervisor.
pub(super) async fn prepared(
    work: &Work<'_>,
    worker: &Worker,
    record: &Operation,
    effect: Effect,
) -> Result<Option<Change>, Fault> {
    match effect {
        Effect::Update => {
            let proxy = match &worker.spec.updates.proxy {
                Some(proxy) => Some(with_credentials(work, worker, proxy).await?),
                None => None,
            };
            let timeout = work.declared.updates.as_ref().map(|updates| updates.timeout).unwrap_or_default();
            Ok(Some(Change::Update(UpdateOrder { timeout, proxy })))
        }
        Effect::Reboot => {
            let channel = work.client.guest(&record.target.at());
            let sight = updates::look(channel.as_ref(), &record.id, work.context.patience.script).await?;
            let boot = match sight.state {
                UpdateState::Ended(end) if end.boot_id == sight.boot_id => Some(end.boot_id),
                _ => None,
            };
            Ok(Some(Change::Reboot(boot)))
        }
        _ => Ok(None),
    }
}

/// Asks the guest for it.
pub(super) async fn send(
    work: &Work<'_>,
    record: &Operation,
    change: Change,
    window: Window,
) -> Result<Started, Fault> {
    let channel = work.client.guest_within(&record.target.at(), window);
    let deadline = work.context.patience.script;
    match change {
        Change::Update(order) => updates::start(channel.as_ref(), &record.id, &order, deadline).await?,
        Change::Reboot(Some(boot)) => updates::reboot(channel.as_ref(), &boot, deadline).await?,
        Change::Reboot(None) => {}
    }
    Ok(Started::Done)
}

async fn with_credentials(work: &Work<'_>, worker: &Worker, proxy: &UpdateProxy) -> Result<Proxy, Fault> {
    let url = proxy.url.clone();
    let Some(reference) = &proxy.credentials_secret_ref else { return Ok(Proxy { url, credentials: None }) };
    let namespace = worker.namespace().unwrap_or_default();
    let api: Api<SecretObject> = Api::namespaced(work.context.client.clone(), &namespace);
    let object = api.get_opt(&reference.name).await;
    let object =
        object.map_err(|error| Fault::new(FaultKind::NotSent, format!("Secret {}: {error}", reference.name)))?;
    let refused = |why: String| Fault::new(FaultKind::Refused, why);
    let object = object.ok_or_else(|| {
        refused(format!("there is no Secret {}, which updates.proxy.credentialsSecretRef names", reference.name))
    })?;
    let credentials = credentials(&reference.name, object).map_err(refused)?;
    Ok(Proxy { url, credentials: Some(credentials) })
}

/// User and password out of a Secret; else what is wrong with it, in which none of its values stands.
fn credentials(name: &str, object: SecretObject) -> Result<(String, Secret), String> {
    let mut data = object.data.unwrap_or_default();
    let mut value = |key: &str| {
        let bytes = data.remove(key).ok_or_else(|| format!("Secret {name} has no key {key}"))?;
        String::from_utf8(bytes.0).map_err(|_| format!("the value of {key} in Secret {name} is no text"))
    };
    Ok((value("username")?, Secret::new(value("password")?)))
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
    fn a_secret_gives_user_and_password_or_says_why_not_without_its_values() {
        let good = credentials("s", secret(&[("username", b"ann"), ("password", b"hunter22")])).unwrap();
        assert_eq!((good.0.as_str(), good.1.expose()), ("ann", "hunter22"));
        let wrong: [&[(&str, &[u8])]; 3] = [
            &[("username", b"ann")],
            &[("password", b"hunter22")],
            &[("username", b"ann"), ("password", b"hunter\xff")],
        ];
        for pairs in wrong {
            let why = credentials("s", secret(pairs)).unwrap_err();
            assert!(why.contains("Secret s") && !why.contains("hunter") && !why.contains("ann"), "{why}");
        }
    }
}
