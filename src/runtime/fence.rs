//! Keeps back what this process has no right to write any more.
//!
//! A reconcile sees at its begin that this process leads. But a process may be suspended in the middle of one, for
//! longer than its term, and goes on where it was when it wakes up: by then another one leads. So every write asks once
//! more before it is handed to a connection, and the connections are dropped when the lead is lost, with what waits in
//! them. Reads need no permission, as far as a connection stands.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Service};

/// Says whether a write may be sent now that can take a certain time. Cheap to clone, and to ask.
#[derive(Clone)]
pub struct Permission(Arc<dyn Fn(Duration) -> bool + Send + Sync>);

impl Permission {
    /// Asks `is_given` with the time that must be left.
    pub fn new(is_given: impl Fn(Duration) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_given))
    }

    /// For writes that need none, such as those of the election itself.
    pub fn always() -> Self {
        Self::new(|_| true)
    }

    /// Whether it is given for something that can take as long as `longest`.
    pub fn is_given(&self, longest: Duration) -> bool {
        (self.0)(longest)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permission").field(&self.is_given(Duration::ZERO)).finish()
    }
}

/// A write that was kept back: nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{method} {path} was not sent: this process does not lead, or not for long enough")]
pub struct Withheld {
    /// The request's method.
    pub method: Method,
    /// The request's path, without its parameters.
    pub path: String,
}

/// A service whose writes need a permission.
#[derive(Debug)]
pub struct Fenced<S> {
    inner: S,
    permission: Permission,
    longest: Duration,
}

/// The layer that asks for `permission` before each write, which can take as long as `longest`.
pub fn layer<S>(permission: Permission, longest: Duration) -> impl tower::Layer<S, Service = Fenced<S>> {
    tower::layer::layer_fn(move |inner| Fenced { inner, permission: permission.clone(), longest })
}

type Answer<R> = Pin<Box<dyn Future<Output = Result<R, BoxError>> + Send>>;

impl<S> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Answer<S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let reads = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        let (permission, longest) = (self.permission.clone(), self.longest);
        // Nothing is sent before the answer is first asked for.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if !reads && !permission.is_given(longest) {
                return Err(Withheld { method, path }.into());
            }
            answer.await.map_err(Into::into)
        })
    }
}

/// Runs connections as long as there is a permission, and drops them then: nothing that waits in one is sent.
#[derive(Debug, Clone)]
pub struct Connections(pub Permission);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl hyper::rt::Executor<Work> for Connections {
    fn execute(&self, mut work: Work) {
        let permission = self.0.clone();
        tokio::spawn(std::future::poll_fn(move |context| {
            if permission.is_given(Duration::ZERO) { work.as_mut().poll(context) } else { Poll::Ready(()) }
        }));
    }
}

#[cfg(all(test, feature = "simulator"))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, ListParams, PostParams};
    use kube::client::ClientBuilder;

    use super::*;
    use crate::clock::SystemClock;
    use crate::simulator::kubernetes::{KubeApi, Verb};

    #[tokio::test]
    async fn a_write_without_permission_is_not_sent_and_reads_are() {
        let api = KubeApi::new(Arc::new(SystemClock));
        let leads = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&leads);
        let layer = layer(Permission::new(move |_| asked.load(Ordering::Relaxed)), Duration::ZERO);
        let client = ClientBuilder::new(api.service("test"), "default").with_layer(&layer).build();
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        let map = ConfigMap {
            metadata: kube::api::ObjectMeta { name: Some("map".into()), ..kube::api::ObjectMeta::default() },
            ..ConfigMap::default()
        };

        let error = maps.create(&PostParams::default(), &map).await.unwrap_err();
        let kube::Error::Service(inner) = error else { panic!("{error:?}") };
        assert_eq!(inner.downcast_ref::<Withheld>().unwrap().method, Method::POST);
        assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
        assert_eq!(api.count(Verb::Create), 0, "it never got there");

        leads.store(true, Ordering::Relaxed);
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
}
