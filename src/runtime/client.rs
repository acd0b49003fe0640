//! The Kubernetes client: no hidden retries, and a deadline on every request.
//!
//! kube by itself repeats requests for minutes when the server is busy, and waits for an answer without end. Both
//! are wrong for writes that guard a call to a hypervisor, so this client tries once and gives up in time. What it
//! writes needs a [`Permission`], asked for at the last moment.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as HttpBody;
use kube::client::{Body, ClientBuilder};
use kube::config::{InferConfigError, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;
use tower::{BoxError, Service};

use super::fence::{self, Permission};
use super::metrics::Metrics;

/// How long requests may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the request to the end of the answer.
    pub request: Duration,
    /// For a watch: from the request to the begin of the answer. The watch itself ends by its own time-outs.
    pub watch_begins: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { request: Duration::from_secs(10), watch_begins: Duration::from_secs(30) }
    }
}

/// There is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No configuration was found.
    #[error(
        "cannot find out how to reach the Kubernetes API: set KUBECONFIG, or run in a Pod with a ServiceAccount: {0}"
    )]
    NoConfiguration(#[source] Box<InferConfigError>),
    /// The configuration names something that is not there.
    #[error("the Kubernetes client cannot be made of its configuration: {0}")]
    Configuration(#[source] Box<kube::Error>),
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] Box<KubeconfigError>),
}

/// No answer came in time. What the request asked for may have been done all the same.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no answer from the Kubernetes API to {method} {path} within {} s", after.as_secs_f32())]
pub struct DeadlineExceeded {
    /// The request's method.
    pub method: Method,
    /// The request's path, without its parameters.
    pub path: String,
    /// How long it was waited for.
    pub after: Duration,
}

/// The client for the cluster that the kubeconfig names, or else for the one this Pod runs in. It writes only with
/// `permission`.
///
/// # Errors
///
/// There is neither, or what it names cannot be used.
pub async fn connect(deadlines: Deadlines, metrics: &Metrics, permission: Permission) -> Result<Client, ClientError> {
    let config = Config::infer().await.map_err(|error| ClientError::NoConfiguration(Box::new(error)))?;
    with_config(config, deadlines, metrics, permission)
}

/// The client for this configuration.
///
/// # Errors
///
/// What the configuration names cannot be used.
pub fn with_config(
    mut config: Config,
    deadlines: Deadlines,
    metrics: &Metrics,
    permission: Permission,
) -> Result<Client, ClientError> {
    let agent = concat!("stevedore/", env!("CARGO_PKG_VERSION"));
    config.default_retry = false;
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let connections = fence::Connections(permission.clone());
    let builder = ClientBuilder::try_from((config, connections));
    let builder = builder.map_err(|error| ClientError::Configuration(Box::new(error)))?;
    let fence = fence::layer(permission, deadlines.request);
    Ok(builder.with_layer(&fence).with_layer(&layer(deadlines, metrics.clone(), host)).build())
}

/// The layer that gives each request its deadline and counts it.
pub fn layer<S>(deadlines: Deadlines, metrics: Metrics, host: String) -> impl tower::Layer<S, Service = Bounded<S>> {
    tower::layer::layer_fn(move |inner| Bounded { inner, deadlines, metrics: metrics.clone(), host: host.clone() })
}

/// A service whose requests have a deadline.
#[derive(Debug)]
pub struct Bounded<S> {
    inner: S,
    deadlines: Deadlines,
    metrics: Metrics,
    host: String,
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;
type Answer = Result<Response<AnswerBody>, BoxError>;

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, host) = (self.metrics.clone(), self.host.clone());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let is_watch = is_watch(request.uri().query().unwrap_or_default());
        let after = if is_watch { self.deadlines.watch_begins } else { self.deadlines.request };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let whole = async {
                let response = answer.await.map_err(Into::into)?;
                if is_watch { Ok(streamed(response)) } else { collected(response).await }
            };
            let result = match tokio::time::timeout(after, whole).await {
                Ok(result) => result,
                Err(_) => Err(DeadlineExceeded { method: method.clone(), path, after }.into()),
            };
            metrics.kubernetes_request(&method, result.as_ref().ok().map(|answer| answer.status().as_u16()), &host);
            result
        })
    }
}

fn is_watch(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "watch" && matches!(&*value, "true" | "1"))
}

fn streamed<B>(response: Response<B>) -> Response<AnswerBody>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// Reads the answer to its end, so that the deadline counts for all of it.
async fn collected<B>(response: Response<B>) -> Answer
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(Response::from_parts(head, Full::new(bytes).map_err(|never| match never {}).boxed_unsync()))
}

#[cfg(all(test, feature = "simulator"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::TryStreamExt as _;
    use http::StatusCode;
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, PostParams, WatchParams};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::clock::TimerClock;
    use crate::simulator::kubernetes::{Fault, KubeApi, Verb};

    fn world() -> (KubeApi, Api<ConfigMap>, Metrics) {
        let (api, metrics) = (KubeApi::new(Arc::new(TimerClock::starting_at(Timestamp::UNIX_EPOCH))), Metrics::new());
        let layer = layer(Deadlines::default(), metrics.clone(), "api:443".into());
        let client = ClientBuilder::new(api.service("test"), "default").with_layer(&layer).build();
        (api, Api::default_namespaced(client), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_ends_at_its_deadline() {
        let (api, maps, metrics) = world();
        api.intercept(|_| Fault::Swallow);
        let start = tokio::time::Instant::now();
        let error = maps.create(&PostParams::default(), &ConfigMap::default()).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 10);
        let kube::Error::Service(inner) = error else { panic!("{error:?}") };
        let deadline = inner.downcast_ref::<DeadlineExceeded>().unwrap();
        assert_eq!(
            (deadline.method.as_str(), deadline.path.as_str()),
            ("POST", "/api/v1/namespaces/default/configmaps")
        );
        let line = "rest_client_requests_total{code=\"<error>\",method=\"POST\",host=\"api:443\"} 1";
        assert!(metrics.text().contains(line));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_outlives_the_deadline() {
        let (api, maps, _) = world();
        let events = maps.watch(&WatchParams::default().timeout(120), "0").await.unwrap();
        futures::pin_mut!(events);
        let late = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let map = ConfigMap {
                metadata: kube::api::ObjectMeta { name: Some("late".into()), ..kube::api::ObjectMeta::default() },
                ..ConfigMap::default()
            };
            maps.create(&PostParams::default(), &map).await.unwrap();
        };
        let (event, ()) = tokio::join!(events.try_next(), late);
        assert!(matches!(event.unwrap(), Some(kube::api::WatchEvent::Added(_))));
        api.intercept(|_| Fault::Hang);
        assert!(maps.watch(&WatchParams::default(), "0").await.is_err(), "but it has to begin in time");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_server_is_not_tried_again() {
        let (api, maps, _) = world();
        api.intercept(|_| Fault::Answer(StatusCode::GATEWAY_TIMEOUT));
        assert!(maps.get("absent").await.is_err());
        assert_eq!(api.count(Verb::Get), 1);
    }

    /// Answers every request with 503 and keeps what it was asked.
    async fn overloaded(
        count: Arc<AtomicU32>,
        listener: tokio::net::TcpListener,
        seen: tokio::sync::watch::Sender<String>,
    ) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            seen.send_replace(text);
            count.fetch_add(1, Ordering::Relaxed);
            let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    #[tokio::test]
    async fn a_busy_server_is_asked_once_and_told_who_asks() {
        let count = Arc::new(AtomicU32::new(0));
        let (sender, seen) = tokio::sync::watch::channel(String::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(overloaded(count.clone(), listener, sender));
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let metrics = Metrics::new();
        let client = with_config(config, Deadlines::default(), &metrics, Permission::always()).unwrap();
        assert!(Api::<ConfigMap>::default_namespaced(client).get("any").await.is_err());
        server.abort();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        let request = seen.borrow().to_lowercase();
        assert!(request.contains(concat!("user-agent: stevedore/", env!("CARGO_PKG_VERSION"))), "{request}");
        let line = format!("code=\"503\",method=\"GET\",host=\"{address}\"");
        assert!(metrics.text().contains(&line));
    }
}
