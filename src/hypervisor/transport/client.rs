//! The HTTP client of production: HTTP/1.1 over TLS.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use super::tls::{Presented, TlsSettings, client_config};
use super::{Exchange, ExchangeError, PeerCertificate};
use crate::domain::fault::Fault;

/// How long an unused connection is kept. Proxmox VE closes one after 5 s; a longer time here would race with it.
const POOL_IDLE: Duration = Duration::from_secs(3);
/// How long connecting may take, TLS included, before the next endpoint is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The largest answer that is read, bytes: the inventory of 10,000 VMs has about 5 MB.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Sends requests over TLS; keeps connections for a moment.
#[derive(Debug)]
pub struct HttpExchange {
    client: Client<Connector, Full<Bytes>>,
    presented: Arc<Presented>,
}

impl HttpExchange {
    /// A client that trusts what `settings` say.
    pub fn new(settings: &TlsSettings) -> Result<Self, Fault> {
        let presented = Arc::<Presented>::default();
        let config = client_config(settings, presented.clone())?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(Connector(https));
        Ok(Self { client, presented })
    }
}

#[async_trait]
impl Exchange for HttpExchange {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let answer = self.client.request(request.map(Full::new)).await.map_err(|e| {
            if let Some(text) = refused_certificate(&e) {
                ExchangeError::Certificate(text)
            } else if e.is_connect() {
                ExchangeError::NotSent(innermost(&e))
            } else {
                ExchangeError::Lost(innermost(&e))
            }
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|e| ExchangeError::Lost(format!("the answer broke off: {e}")))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn peer(&self, host: &str) -> Option<PeerCertificate> {
        self.presented.get(host)
    }
}

/// Connects within [`CONNECT_LIMIT`].
#[derive(Debug, Clone)]
struct Connector(HttpsConnector<HttpConnector>);

type Connected = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
type ConnectError = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Connected;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            tokio::time::timeout(CONNECT_LIMIT, connecting)
                .await
                .unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT_LIMIT.as_secs()).into()))
        })
    }
}

/// The errors from `error` down to its first cause.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// What `error` was caused by. An `io::Error` hides the error that it wraps from `source`.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// Our own words about a certificate that was not accepted, if that is what went wrong.
fn refused_certificate(error: &(dyn Error + 'static)) -> Option<String> {
    causes(error).find_map(|cause| match cause.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::General(text)) => Some(text.clone()),
        Some(error @ rustls::Error::InvalidCertificate(_)) => Some(error.to_string()),
        _ => None,
    })
}
