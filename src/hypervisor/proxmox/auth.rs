//! Who we are to the API: an API token, or a user's ticket that is fetched with a password and renewed in time.

use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::lenient::{flag, text};
use super::params::percent_encoded;
use crate::clock::BootTime;
use crate::domain::fault::{Fault, FaultKind};
pub use crate::hypervisor::credential::Credential;
use crate::secret::Secret;

/// A ticket is good for 2 h; it is fetched anew when it is older than this.
const TICKET_AGE: Duration = Duration::from_secs(90 * 60);
const CSRF: HeaderName = HeaderName::from_static("csrfpreventiontoken");

/// The session of a credential.
#[derive(Debug)]
pub(super) struct Session {
    credential: Credential,
    ticket: Mutex<Option<Ticket>>,
}

#[derive(Debug, Clone)]
struct Ticket {
    cookie: Secret,
    csrf: Secret,
    since: BootTime,
}

/// The answer to a login.
#[derive(Debug, Deserialize)]
pub(super) struct Login {
    #[serde(default, deserialize_with = "text")]
    ticket: Option<String>,
    #[serde(default, rename = "CSRFPreventionToken", deserialize_with = "text")]
    csrf: Option<String>,
    #[serde(default, rename = "NeedTFA", deserialize_with = "flag")]
    second_factor: Option<bool>,
}

impl Session {
    pub(super) fn new(credential: Credential) -> Self {
        Self { credential, ticket: Mutex::new(None) }
    }

    /// User name and password to log in with; `None` for a token.
    pub(super) fn login(&self) -> Option<(&str, &Secret)> {
        match &self.credential {
            Credential::Token { .. } => None,
            Credential::Password { username, password } => Some((username, password)),
        }
    }

    /// The headers for a call. `fetch` logs in, and is only begun if a new ticket is needed; meanwhile other calls wait, so that
    /// one login serves them all.
    pub(super) async fn headers(
        &self,
        method: &Method,
        now: BootTime,
        fetch: BoxFuture<'_, Result<Login, Fault>>,
    ) -> Result<HeaderMap, Fault> {
        if let Credential::Token { id, secret } = &self.credential {
            let value = header(&format!("PVEAPIToken={id}={}", secret.expose()))?;
            return Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        let mut held = self.ticket.lock().await;
        let ticket = match held.take().filter(|ticket| now.since(ticket.since) < TICKET_AGE) {
            Some(ticket) => ticket,
            None => Ticket::from_login(fetch.await?, now)?,
        };
        *held = Some(ticket.clone());
        drop(held);
        let cookie = format!("PVEAuthCookie={}", percent_encoded(ticket.cookie.expose()));
        let mut headers = HeaderMap::from_iter([(COOKIE, header(&cookie)?)]);
        if method != Method::GET {
            headers.insert(CSRF, header(ticket.csrf.expose())?);
        }
        Ok(headers)
    }

    /// Forgets a refused ticket; whether logging in again can help.
    pub(super) async fn forget(&self) -> bool {
        *self.ticket.lock().await = None;
        self.login().is_some()
    }
}

impl Ticket {
    fn from_login(login: Login, now: BootTime) -> Result<Self, Fault> {
        if login.second_factor == Some(true) {
            return Err(Fault::new(
                FaultKind::Unauthorized,
                "the user has a second factor, which cannot be given here: use an API token instead",
            ));
        }
        match (login.ticket, login.csrf) {
            (Some(ticket), Some(csrf)) => Ok(Self { cookie: Secret::new(ticket), csrf: Secret::new(csrf), since: now }),
            _ => Err(Fault::new(FaultKind::Unauthorized, "the login was answered without a ticket")),
        }
    }
}

fn header(value: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Fault::new(FaultKind::Unauthorized, "the credential has characters that cannot be sent, such as a line break")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
