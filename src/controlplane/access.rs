//! Clients, and tokens of service accounts.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};

use super::kubeconfig::{Access, User};
use super::{ControlPlane, Error};

/// How long a token of a ServiceAccount is good for, in seconds.
const TOKEN_LIFETIME: i64 = 3600;

impl ControlPlane {
    /// A client of the administrator, whom RBAC does not bind. It belongs to the current runtime and retries nothing by itself.
    pub async fn client(&self) -> Result<Client, Error> {
        self.admin.client().await
    }

    /// A client that presents a token. It belongs to the current runtime and retries nothing by itself.
    pub async fn client_with_token(&self, token: &str) -> Result<Client, Error> {
        self.access_with_token(token, None)?.client().await
    }

    /// A new kubeconfig file whose user presents a token. It goes when the control plane does.
    pub fn kubeconfig_for_token(&self, token: &str) -> Result<PathBuf, Error> {
        Ok(self.access_with_token(token, None)?.path().to_owned())
    }

    /// A token of a ServiceAccount, as a Pod would get it, good for an hour.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String, Error> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_LIFETIME), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(Error::api(format!("no token for ServiceAccount {namespace}/{name}")))?;
        Ok(answer.status.map(|status| status.token).unwrap_or_default())
    }

    /// A way in with a token, `namespace` being the one that is meant where none is named.
    pub(super) fn access_with_token(&self, token: &str, namespace: Option<&str>) -> Result<Access, Error> {
        let ca = std::fs::read_to_string(&self.ca).map_err(Error::file("read", &self.ca))?;
        let name = format!("{}.kubeconfig", uuid::Uuid::new_v4().simple());
        Access::write(&self.folder, &name, &User { server: &self.server, ca_pem: &ca, token, namespace })
    }
}

/// What the audit log calls a token of a ServiceAccount: the id that stands in it; empty if it has none.
pub(super) fn credential_id(token: &str) -> String {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: serde_json::Value = claims.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    claims["jti"].as_str().map(|id| format!("JTI={id}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_the_id_that_stands_in_it() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"a","jti":"4ee5082f"}"#);
        assert_eq!(credential_id(&format!("head.{claims}.signature")), "JTI=4ee5082f");
        assert_eq!(credential_id("3f0f9a7c"), "");
    }
}
