//! The Kubernetes API in memory: behind a real `kube::Client`, without sockets, and in virtual time if tokio's timer
//! is paused.
//!
//! It serves any group, version and resource as JSON: get, list, watch, create, replace, JSON patch, merge patch,
//! server-side apply, delete. It keeps `/status` apart, compares resource versions, counts generations, obeys
//! finalizers and namespaces; an installed `CustomResourceDefinition` gives it a schema to prune, default and refuse
//! by. It judges no CEL rule. The two controllers that a deletion may need (garbage collector, namespace controller)
//! are one call, [`KubeApi::run_controllers`].
//!
//! Tests may intercept each request ([`Fault`]), look at the log of writes, take the whole API away, hold its
//! watches back, and forget its history.

mod apply;
mod call;
mod delete;
mod document;
mod error;
mod fault;
mod fields;
mod owners;
mod read;
mod schema;
mod selector;
mod service;
mod store;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

pub use self::call::{Call, Target, Verb};
use self::error::{Answer, Refusal};
pub use self::fault::{Fault, LoggedWrite};
use self::fault::{Interceptor, Observer};
pub use self::service::AnswerBody;
use self::store::{ObjectKey, Store, Stored};
use self::write::Write;
use crate::clock::SharedClock;

/// An API server with empty namespaces `default` and `kube-system`. Clones share it.
#[derive(Clone)]
pub struct KubeApi {
    shared: Arc<Shared>,
}

struct Shared {
    clock: SharedClock,
    state: Mutex<State>,
    interceptor: Mutex<Option<Interceptor>>,
    observer: Mutex<Option<Observer>>,
    /// Moves on with every change, to wake the watches.
    ticks: tokio::sync::watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    store: Store,
    calls: u64,
    counts: BTreeMap<Verb, u64>,
    log: Vec<LoggedWrite>,
    away: bool,
    held: bool,
}

impl fmt::Debug for KubeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeApi").finish_non_exhaustive()
    }
}

fn disconnected() -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke (injected)").into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KubeApi {
    /// A new server whose timestamps come from this clock.
    pub fn new(clock: SharedClock) -> Self {
        let api = Self {
            shared: Arc::new(Shared {
                clock,
                state: Mutex::default(),
                interceptor: Mutex::default(),
                observer: Mutex::default(),
                ticks: tokio::sync::watch::Sender::new(0),
            }),
        };
        for name in ["default", "kube-system"] {
            api.add_namespace(name);
        }
        api
    }

    /// A client with this name as its user agent, for the namespace `default`.
    pub fn client(&self, user_agent: &str) -> kube::Client {
        kube::Client::new(self.service(user_agent), "default")
    }

    /// What such a client stands on, for those who put layers of their own between.
    pub fn service(
        &self,
        user_agent: &str,
    ) -> impl Service<Request<Body>, Response = Response<AnswerBody>, Error = BoxError, Future: Send> + Clone + Send + use<>
    {
        service::Endpoint { api: self.clone(), user_agent: user_agent.to_owned() }
    }

    /// Makes a namespace, unless it is there.
    pub fn add_namespace(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.add(Target { version: "v1".into(), resource: "namespaces".into(), ..Target::default() }, namespace);
    }

    /// Installs a custom resource definition (in place of one of that name): its kinds get a schema.
    pub fn install(&self, definition: &impl serde::Serialize) {
        let definition = serde_json::to_value(definition).unwrap_or_default();
        let name = definition["metadata"]["name"].as_str().map(str::to_owned);
        let target = Target {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            resource: "customresourcedefinitions".into(),
            ..Target::default()
        };
        let key = ObjectKey::new(&target, name.as_deref().unwrap_or_default());
        self.state().store.objects.remove(&key);
        self.add(target, definition);
    }

    fn add(&self, target: Target, body: Value) {
        let call = Call {
            number: 0,
            verb: Verb::Create,
            target,
            user_agent: "simulator".into(),
            body,
            query: Vec::new(),
            metadata_only: false,
        };
        let now = self.now();
        // Whatever is there already stays as it is.
        let _ = Write { store: &mut self.state().store, call: &call, now }.run();
        self.tick();
    }

    /// One object as a client would read it. `group` is empty for the core group, `namespace` for cluster scope.
    pub fn object(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = ObjectKey {
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        };
        self.state().store.objects.get(&key).map(Stored::wire)
    }

    /// All objects of a resource, in order of namespace and name.
    pub fn objects(&self, group: &str, resource: &str) -> Vec<Value> {
        let target = Target { group: group.into(), resource: resource.into(), ..Target::default() };
        self.state().store.within(&target).map(|(_, stored)| stored.wire()).collect()
    }

    /// Decides the fate of every request from now on, in place of any earlier interceptor. It is called before the
    /// request is looked at, watches included.
    pub fn intercept(&self, interceptor: impl FnMut(&Call) -> Fault + Send + 'static) {
        *lock(&self.shared.interceptor) = Some(Box::new(interceptor));
    }

    /// Lets requests pass again.
    pub fn stop_intercepting(&self) {
        *lock(&self.shared.interceptor) = None;
    }

    /// Is told of every changing request after it was carried out or refused, before its answer is sent.
    pub fn observe(&self, observer: impl FnMut(&LoggedWrite) + Send + 'static) {
        *lock(&self.shared.observer) = Some(Box::new(observer));
    }

    /// The changing requests so far.
    pub fn writes(&self) -> Vec<LoggedWrite> {
        self.state().log.clone()
    }

    /// Empties the log of writes and the counts of requests.
    pub fn forget_writes(&self) {
        let mut state = self.state();
        state.log.clear();
        state.counts.clear();
    }

    /// The number of requests with this verb so far.
    pub fn count(&self, verb: Verb) -> u64 {
        self.state().counts.get(&verb).copied().unwrap_or(0)
    }

    /// Takes the API away (every request and every open watch breaks) or brings it back.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
        self.tick();
    }

    /// Holds all watches back (caches go stale) or lets them catch up.
    pub fn hold_watches(&self, held: bool) {
        self.state().held = held;
        self.tick();
    }

    /// Forgets the history: a watch from before now gets `410 Expired` and has to list again.
    pub fn compact(&self) {
        self.state().store.compact();
        self.tick();
    }

    /// Runs garbage collector and namespace controller until they have nothing more to do.
    pub fn run_controllers(&self) {
        let now = self.now();
        while delete::collect(&mut self.state().store, &now) {}
        self.tick();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    fn tick(&self) {
        self.shared.ticks.send_modify(|tick| *tick += 1);
    }

    fn now(&self) -> String {
        self.shared.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn is_away(&self) -> bool {
        self.state().away
    }

    fn number(&self, mut call: Call) -> Call {
        let mut state = self.state();
        state.calls += 1;
        *state.counts.entry(call.verb).or_default() += 1;
        call.number = state.calls;
        call
    }

    fn fault_for(&self, call: &Call) -> Fault {
        lock(&self.shared.interceptor).as_mut().map_or(Fault::None, |intercept| intercept(call))
    }

    /// Carries a request out (any but a watch): the status code and the object of the answer.
    fn perform(&self, call: Call) -> Answer<(u16, Value)> {
        match call.verb {
            Verb::Get => return read::get(&self.state().store, &call).map(|object| (200, object)),
            Verb::List => return read::list(&self.state().store, &call).map(|list| (200, list)),
            _ => {}
        }
        let now = self.now();
        let result = match call.verb {
            Verb::DeleteAll => self.delete_all(&call, now),
            _ => Write { store: &mut self.state().store, call: &call, now }.run(),
        };
        match result {
            Ok(written) => {
                let code = if written.created { 201 } else { 200 };
                let object = read::shown(written.object, &call);
                self.log(LoggedWrite { call, code, changed: written.changed });
                Ok((code, object))
            }
            Err(refusal) => Err(self.log_refusal(call, refusal)),
        }
    }

    fn delete_all(&self, call: &Call, now: String) -> Answer<write::Written> {
        let selector = selector::Selector::of(call)?;
        let mut state = self.state();
        let keys = delete::members(&state.store, &call.target, |object| selector.admits(object));
        let mut write = Write { store: &mut state.store, call, now };
        for key in &keys {
            write.delete(key)?;
        }
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        Ok(write::Written::answer(status, !keys.is_empty()))
    }

    fn log_refusal(&self, call: Call, refusal: Refusal) -> Refusal {
        if call.verb.is_write() {
            self.log(LoggedWrite { call, code: refusal.code, changed: false });
        }
        refusal
    }

    fn log(&self, write: LoggedWrite) {
        if let Some(observe) = lock(&self.shared.observer).as_mut() {
            observe(&write);
        }
        self.state().log.push(write);
        self.tick();
    }
}
