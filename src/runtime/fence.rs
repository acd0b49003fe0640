//! Keeps back what this process has no right to write any more.
//!
//! A reconcile sees at its begin that this process leads. But a process may be suspended in the middle of one, for
//! longer than its term, and goes on where it was when it wakes up: by then another one leads. So every write asks once
//! more, at the last moment before it is sent. Reads pass: a process that stands by keeps its caches warm.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Method, Request};
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Service};

/// Says whether a write may be sent now. Cheap to clone, and to ask.
#[derive(Clone)]
pub struct Permission(Arc<dyn Fn() -> bool + Send + Sync>);

impl Permission {
    /// Asks `is_given` before each write.
    pub fn new(is_given: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_given))
    }

    /// For writes that need none, such as those of the election itself.
    pub fn always() -> Self {
        Self::new(|| true)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permission").field(&(self.0)()).finish()
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
}

/// The layer that asks for `permission` before each write.
pub fn layer<S>(permission: Permission) -> impl tower::Layer<S, Service = Fenced<S>> {
    tower::layer::layer_fn(move |inner| Fenced { inner, permission: permission.clone() })
}

impl<S> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future =
        Either<Ready<Result<S::Response, BoxError>>, futures::future::MapErr<S::Future, fn(S::Error) -> BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        use futures::TryFutureExt as _;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if reads || (self.permission.0)() {
            return Either::Right(self.inner.call(request).map_err(Into::into as fn(S::Error) -> BoxError));
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Either::Left(ready(Err(Withheld { method, path }.into())))
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
        let layer = layer(Permission::new(move || asked.load(Ordering::Relaxed)));
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
