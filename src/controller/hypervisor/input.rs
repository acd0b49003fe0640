//! What a client is made from: the credential out of a Secret, the authority's certificate, and the spec.
//!
//! Read by name with `get`, never listed or watched. What cannot be read now is used as it was read before.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use kube::{Api, Client};

use super::error::Error;
use super::held::Source;
use super::subject::Subject;
use super::trouble::Trouble;
use crate::api::hypervisor::{CaKind, CaRef, HypervisorSpec};
use crate::api::reasons::HypervisorReason;
use crate::controller::context::{ConnectionSettings, Credential, Trust};
use crate::secret::Secret;

/// The form of the credential that is wanted, for messages.
const WANTED: &str = "it needs tokenId and tokenSecret, or username and password";

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// The Secret with the credential.
    pub(super) secret: Option<SecretObject>,
    /// The object with the authority's certificate, if it is another one.
    pub(super) ca: Option<Source>,
    credential: Option<Credential>,
    ca_pem: Option<String>,
    /// What is wrong with it.
    pub(super) trouble: Option<Trouble>,
}

/// Where it is read, and with whose rights.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    /// The way to Kubernetes.
    pub(super) client: &'a Client,
    /// The namespace of the Hypervisor.
    pub(super) namespace: &'a str,
    /// What is to be said if this may not be got, by kind and name.
    pub(super) forbidden: fn(&str, &str) -> String,
}

impl<'a> Reader<'a> {
    /// The operator.
    pub(super) fn operator(subject: &'a Subject<'_>) -> Self {
        let forbidden = |kind: &str, name: &str| {
            format!("the operator may not get {kind} {name}: its role needs get and patch on it")
        };
        Self { client: &subject.context.client, namespace: &subject.key.0, forbidden }
    }
}

/// Reads both objects.
pub(super) async fn read(reader: Reader<'_>, spec: &HypervisorSpec) -> Result<Input, Error> {
    let mut input = Input::default();
    let name = &spec.credentials_secret_ref.name;
    match secret(reader, name).await? {
        Ok(object) => {
            match credential(name, &object) {
                Ok(credential) => input.credential = Some(credential),
                Err(trouble) => input.trouble = Some(trouble),
            }
            input.secret = Some(object);
        }
        Err(trouble) => input.trouble = Some(trouble),
    }
    if let Some(reference) = &spec.tls.ca_ref {
        match authority(reader, reference).await? {
            Ok((source, pem)) => {
                input.ca = Some(source);
                input.ca_pem = Some(pem);
            }
            Err(trouble) => input.trouble = input.trouble.or(Some(trouble)),
        }
    }
    Ok(input)
}

/// The settings of a client: as read, else as they were before; `None` if there is no credential, or no certificate
/// of the authority although one is declared.
pub(super) fn settings(
    spec: &HypervisorSpec,
    before: Option<&ConnectionSettings>,
    input: &Input,
) -> Option<ConnectionSettings> {
    let credential = input.credential.clone().or_else(|| before.map(|settings| settings.credential.clone()))?;
    let ca_pem = match &spec.tls.ca_ref {
        Some(_) => Some(input.ca_pem.clone().or_else(|| before.and_then(|settings| settings.trust.ca_pem.clone()))?),
        None => None,
    };
    Some(ConnectionSettings {
        endpoints: spec.endpoints.clone(),
        credential,
        trust: Trust { ca_pem, fingerprints: spec.tls.fingerprints.clone(), insecure: spec.tls.insecure_skip_verify },
    })
}

/// That one of the endpoints may not be talked to.
pub(super) fn not_allowed(subject: &Subject<'_>) -> Option<Trouble> {
    let allowed = &subject.context.allowed;
    let endpoint = subject.hypervisor.spec.endpoints.iter().find(|endpoint| !allowed.allows(endpoint))?;
    let text = format!(
        "this operator may not talk to {endpoint}: it was started with --allowed-endpoints={allowed}; name an endpoint \
         among those, or have this one added"
    );
    Some(Trouble::new(HypervisorReason::EndpointNotAllowed, text))
}

/// A Secret, or what a person must know about its absence.
async fn secret(reader: Reader<'_>, name: &str) -> Result<Result<SecretObject, Trouble>, Error> {
    let api: Api<SecretObject> = Api::namespaced(reader.client.clone(), reader.namespace);
    let missing = format!("there is no Secret {name} in the namespace {}; {WANTED}", reader.namespace);
    reader.found(api.get_opt(name).await, "Secret", name, HypervisorReason::CredentialsMissing, missing)
}

/// The object with the authority's certificate, and the certificate.
async fn authority(reader: Reader<'_>, reference: &CaRef) -> Result<Result<(Source, String), Trouble>, Error> {
    let (name, key) = (reference.name.as_str(), reference.key.as_str());
    let missing =
        |kind: &str| format!("there is no {kind} {name} in the namespace {}, which tls.caRef names", reader.namespace);
    let client = reader.client.clone();
    let (source, pem) = match reference.kind {
        CaKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client, reader.namespace);
            let reason = HypervisorReason::CaMissing;
            match reader.found(api.get_opt(name).await, "ConfigMap", name, reason, missing("ConfigMap"))? {
                Ok(object) => {
                    let pem = object.data.as_ref().and_then(|data| data.get(key)).cloned();
                    (Source::ConfigMap(object), pem)
                }
                Err(trouble) => return Ok(Err(trouble)),
            }
        }
        CaKind::Secret => {
            let api: Api<SecretObject> = Api::namespaced(client, reader.namespace);
            let reason = HypervisorReason::CaMissing;
            match reader.found(api.get_opt(name).await, "Secret", name, reason, missing("Secret"))? {
                Ok(object) => {
                    let pem = value(object.data.as_ref(), key).ok();
                    (Source::Secret(object), pem)
                }
                Err(trouble) => return Ok(Err(trouble)),
            }
        }
    };
    let kind = source.kind();
    Ok(match pem.filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----")) {
        Some(pem) => Ok((source, pem)),
        None => Err(Trouble::new(
            HypervisorReason::CaMissing,
            format!("{kind} {name} holds no PEM certificate under the key {key}, which tls.caRef names"),
        )),
    })
}

impl Reader<'_> {
    /// Sorts the answer to a `get`.
    fn found<K>(
        self,
        answer: Result<Option<K>, kube::Error>,
        kind: &str,
        name: &str,
        reason: HypervisorReason,
        missing: String,
    ) -> Result<Result<K, Trouble>, Error> {
        match answer.map_err(Error::of(format!("reading {kind} {name}"))) {
            Ok(Some(object)) => Ok(Ok(object)),
            Ok(None) => Ok(Err(Trouble::new(reason, missing))),
            Err(error) if error.is_forbidden() => {
                Ok(Err(Trouble::new(HypervisorReason::Forbidden, (self.forbidden)(kind, name))))
            }
            Err(error) => Err(error),
        }
    }
}

/// The credential in a Secret. Messages name keys, never values.
fn credential(name: &str, object: &SecretObject) -> Result<Credential, Trouble> {
    let data = object.data.as_ref();
    let trouble = |text: String| Trouble::new(HypervisorReason::CredentialsMissing, format!("Secret {name} {text}"));
    let read = |key: &str| value(data, key).map_err(|text| trouble(format!("{text}; {WANTED}")));
    let has = |key: &str| data.is_some_and(|data| data.contains_key(key));
    if has("tokenId") || has("tokenSecret") || !(has("username") || has("password")) {
        let id = read("tokenId")?;
        if !id.contains('!') || !id.contains('@') {
            let text = "has a tokenId that is not the full id of a token, such as stevedore@pve!operator";
            return Err(trouble(text.to_owned()));
        }
        return Ok(Credential::Token { id, secret: Secret::new(read("tokenSecret")?) });
    }
    let username = read("username")?;
    if !username.contains('@') {
        return Err(trouble("has a username without realm; it must be such as stevedore@pve".to_owned()));
    }
    Ok(Credential::Password { username, password: Secret::new(read("password")?) })
}

/// One value, without the line break that ends many files.
fn value(data: Option<&BTreeMap<String, ByteString>>, key: &str) -> Result<String, String> {
    let bytes = data.and_then(|data| data.get(key)).ok_or_else(|| format!("lacks the key {key}"))?;
    let text = std::str::from_utf8(&bytes.0).map_err(|_| format!("has no text under the key {key}"))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() { Err(format!("has nothing under the key {key}")) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, &str)]) -> Result<Credential, String> {
        let data = values.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        let object = SecretObject { data: Some(data.collect()), ..SecretObject::default() };
        credential("pve", &object).map_err(|trouble| trouble.message)
    }

    #[test]
    fn a_credential_is_a_token_or_a_password() {
        let token = of(&[("tokenId", "a@pve!b"), ("tokenSecret", "s3cret\n")]).unwrap();
        assert_eq!(token, Credential::Token { id: "a@pve!b".into(), secret: Secret::new("s3cret".into()) });
        let password = of(&[("username", "a@pve"), ("password", "s3cret")]).unwrap();
        assert_eq!(password, Credential::Password { username: "a@pve".into(), password: Secret::new("s3cret".into()) });
    }

    #[test]
    fn what_is_missing_is_named_and_no_value_is_shown() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[], "lacks the key tokenId"),
            (&[("tokenId", "a@pve!b")], "lacks the key tokenSecret"),
            (&[("tokenId", "a@pve!b"), ("tokenSecret", "\n")], "has nothing under the key tokenSecret"),
            (&[("tokenId", "h1dden"), ("tokenSecret", "h1dden")], "not the full id of a token"),
            (&[("username", "a@pve")], "lacks the key password"),
            (&[("username", "h1dden"), ("password", "h1dden")], "without realm"),
        ];
        for (values, text) in cases {
            let message = of(values).unwrap_err();
            assert!(message.contains(text) && !message.contains("h1dden"), "{message}");
        }
    }
}
