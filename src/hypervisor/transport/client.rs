//! The HTTP client of production: HTTP/1.1 over TLS.
//!
//! Questions go over connections that are kept for a moment. A request that must leave within a window gets a
//! connection of its own, so that the window can be looked at when that stands.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use tower::{Service, ServiceExt};

use super::tls::{Presented, TlsSettings, client_config};
use super::{Exchange, ExchangeError, PeerCertificate};
use crate::domain::fault::Fault;
use crate::hypervisor::window::Window;

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
    connector: Connector,
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
        let connector = Connector(https);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector.clone());
        Ok(Self { client, connector, presented })
    }

    /// A connection for one request, ended when the sender is dropped. Nobody moves it yet.
    async fn connect(&self, to: Uri) -> Result<(http1::SendRequest<Full<Bytes>>, Moving), ExchangeError> {
        let stream = self.connector.clone().oneshot(to).await.map_err(|e| not_connected(e.as_ref()))?;
        let (sender, connection) = http1::handshake(stream).await.map_err(|e| not_connected(&e))?;
        // Its error is that of the request, too, which tells it.
        Ok((sender, Box::pin(connection.map(drop))))
    }
}

#[async_trait]
impl Exchange for HttpExchange {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let answer = self
            .client
            .request(request.map(Full::new))
            .await
            .map_err(|e| if e.is_connect() { not_connected(&e) } else { ExchangeError::Lost(innermost(&e)) })?;
        whole(answer).await
    }

    async fn send_within(&self, request: Request<Bytes>, window: &Window) -> Result<Response<Bytes>, ExchangeError> {
        let connecting = self.connect(request.uri().clone());
        let (mut sender, mut connection) =
            timeout(window.left(), connecting).await.map_err(|_| ExchangeError::TooLate)??;
        let request = in_origin_form(request)?;
        if !window.is_open() {
            return Err(ExchangeError::TooLate);
        }
        let answer = sender.try_send_request(request);
        // It leaves at once, not when the connection gets a turn of its own: that may be after a long sleep.
        if poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await.is_pending() {
            tokio::spawn(connection);
        }
        let answer = answer.await.map_err(|e| {
            // A request that comes back was not begun to be written.
            let text = innermost(e.error());
            if e.message().is_some() { ExchangeError::NotSent(text) } else { ExchangeError::Lost(text) }
        })?;
        whole(answer).await
    }

    fn peer(&self, host: &str) -> Option<PeerCertificate> {
        self.presented.get(host)
    }
}

/// The whole of an answer.
async fn whole(answer: Response<Incoming>) -> Result<Response<Bytes>, ExchangeError> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|e| ExchangeError::Lost(format!("the answer broke off: {e}")))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The request as it goes over a connection: the path in its first line, the host in a header.
fn in_origin_form(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, ExchangeError> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let (Some(host), Some(path)) = (host, head.uri.path_and_query()) else {
        return Err(ExchangeError::NotSent(format!("{} names no host", head.uri)));
    };
    head.uri = path.clone().into();
    head.headers.insert(HOST, host);
    Ok(Request::from_parts(head, Full::new(body)))
}

/// What moves the bytes of a connection.
type Moving = Pin<Box<dyn Future<Output = ()> + Send>>;

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
            timeout(CONNECT_LIMIT, connecting)
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

/// No connection came about.
fn not_connected(error: &(dyn Error + 'static)) -> ExchangeError {
    match refused_certificate(error) {
        Some(text) => ExchangeError::Certificate(text),
        None => ExchangeError::NotSent(innermost(error)),
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
