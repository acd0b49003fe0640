//! One HTTP client for every provider: CA, pins, deadlines, metrics.
//!
//! [`Exchange`] is the seam: production sends over TLS ([`client::HttpExchange`]), tests answer in the process.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use thiserror::Error;

use super::window::Window;

pub mod client;
pub mod tls;

/// Sends one request and brings its answer, whole. Deadlines, retries and fail-over are the caller's.
///
/// The request's URI is absolute. The answer may carry a [`hyper::ext::ReasonPhrase`] in its extensions: Proxmox VE
/// puts error texts there.
#[async_trait]
pub trait Exchange: Debug + Send + Sync {
    /// Sends `request`.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError>;

    /// Sends `request` if `window` is open at the moment when its first byte is to leave. What takes time before that,
    /// such as connecting, must be done by then.
    async fn send_within(&self, request: Request<Bytes>, window: &Window) -> Result<Response<Bytes>, ExchangeError> {
        if window.is_open() { self.send(request).await } else { Err(ExchangeError::TooLate) }
    }

    /// The certificate that `host` presented last, if it is known.
    fn peer(&self, host: &str) -> Option<PeerCertificate> {
        let _ = host;
        None
    }
}

/// Why an exchange has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExchangeError {
    /// No connection came about: nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// The server's certificate is not accepted: nothing was sent.
    #[error("{0}")]
    Certificate(String),
    /// The window closed before the request could leave: nothing was sent.
    #[error("not sent, for it could not leave in time; what it was based on must be looked at anew")]
    TooLate,
    /// The request, or a part of it, was sent, and no complete answer came: it may have had its effect.
    #[error("{0}")]
    Lost(String),
}

/// What is remembered of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// SHA-256 of the certificate (DER), upper-case pairs with colons.
    pub fingerprint: String,
    /// Its subject, as far as it is readable.
    pub subject: String,
    /// When it ends.
    pub ends: Option<Timestamp>,
}

/// Is told of every call, for metrics. Gets no names of objects: a route is a template such as
/// `/nodes/{node}/qemu/{vmid}/config`.
pub trait CallObserver: Debug + Send + Sync {
    /// A call ended with `code`: the HTTP status, or `connect`, `certificate`, `late`, `lost`, `deadline`.
    fn observed(&self, method: &str, route: &'static str, code: &str, took: Duration);
}

/// Observes nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Unobserved;

impl CallObserver for Unobserved {
    fn observed(&self, _method: &str, _route: &'static str, _code: &str, _took: Duration) {}
}
