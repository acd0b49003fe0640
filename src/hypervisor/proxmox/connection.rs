//! The way to the API: endpoints and fail-over, admission, deadline, session, and the sorting of what goes wrong.
//!
//! What may be repeated: a request that was not sent, on another endpoint; a request that changes nothing, once. A
//! changing request that was sent is never repeated: a lost answer is an unknown outcome. One that has a window leaves
//! while that is open or not at all, whatever it waited for before.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt;
use http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::auth::{Login, Session};
use super::call::{Answer, Call};
use super::params::Params;
use super::routes::TICKET;
use super::texts::shows_overload;
use crate::clock::SharedClock;
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::registry::{Admission, ConnectionLimits};
use crate::hypervisor::transport::{CallObserver, Exchange, ExchangeError, PeerCertificate};

/// How long a program in a guest may wait for its turn: it may stand behind questions to agents that do not answer, 3 s
/// each.
const LONGEST_AGENT_QUEUE: Duration = Duration::from_secs(20);

/// A connection to one cluster.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) exchange: Arc<dyn Exchange>,
    pub(super) endpoints: Vec<Endpoint>,
    /// The endpoint that answered last; asked first.
    pub(super) preferred: AtomicUsize,
    pub(super) session: Session,
    pub(super) limits: RwLock<Arc<ConnectionLimits>>,
    pub(super) deadline: Duration,
    pub(super) clock: SharedClock,
    pub(super) observer: Arc<dyn CallObserver>,
}

/// One address of the API.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Such as `https://pve1.example.org:8006`.
    base: String,
    host: String,
}

impl Endpoint {
    /// Reads `https://host[:port]`.
    pub(super) fn parse(url: &str) -> Result<Self, Fault> {
        let bad =
            || Fault::new(FaultKind::Refused, format!("the endpoint {url:?} is not of the form https://host:port"));
        let base = url.trim().trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https") && uri.path() == "/").ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { base: base.to_owned(), host })
    }
}

impl Connection {
    /// Makes a call and reads its data.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        let data = self.value(&call).await?;
        let kind = if call.route.changes { FaultKind::UnknownOutcome } else { FaultKind::Other };
        serde_json::from_value(data).map_err(|e| call.fault(kind, &format!("the answer is not understood: {e}")))
    }

    /// Makes a call; ends within the deadline, waiting for its turn included.
    pub(super) async fn value(&self, call: &Call) -> Result<Value, Fault> {
        let sent = AtomicBool::new(false);
        timeout(self.deadline, self.in_turn(call, &sent)).await.unwrap_or_else(|_| {
            self.observer.observed(call.route.method.as_str(), call.route.path, "deadline", self.deadline);
            let seconds = self.deadline.as_secs();
            if sent.load(Ordering::Relaxed) {
                self.limits().slow_down(self.clock.boot());
                Err(call.fault(call.unanswered(), &format!("no answer within {seconds} s")))
            } else {
                Err(call.fault(call.unsent(), &format!("not sent, its turn did not come within {seconds} s")))
            }
        })
    }

    /// The certificate of the endpoint that answered last.
    pub(super) fn peer(&self) -> Option<PeerCertificate> {
        let endpoint = self.endpoints.get(self.preferred.load(Ordering::Relaxed))?;
        self.exchange.peer(&endpoint.host)
    }

    fn limits(&self) -> Arc<ConnectionLimits> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn in_turn(&self, call: &Call, sent: &AtomicBool) -> Result<Value, Fault> {
        let limits = self.limits();
        let _admission = Self::admission(&limits, call).await?;
        let answer = self.authorized(call, sent).await?;
        if shows_overload(answer.status, &answer.message) {
            limits.slow_down(self.clock.boot());
        } else {
            limits.went_well();
        }
        call.judge(&answer)
    }

    async fn admission(limits: &Arc<ConnectionLimits>, call: &Call) -> Result<Admission, Fault> {
        let turn = limits.admit(call.node(), call.route.cost);
        let longest = match &call.window {
            Some(window) => window.left(),
            None if call.route.changes => LONGEST_AGENT_QUEUE,
            None => return Ok(turn.await),
        };
        timeout(longest, turn)
            .await
            .map_err(|_| call.fault(call.unsent(), "not sent, too many calls are under way on this host"))
    }

    /// Sends with the credential; a refused ticket is fetched anew, once. A 401 comes before anything is done.
    async fn authorized(&self, call: &Call, sent: &AtomicBool) -> Result<Answer, Fault> {
        let method = &call.route.method;
        let headers = self.session.headers(method, self.clock.boot(), self.log_in().boxed()).await?;
        let answer = self.over_endpoints(call, &headers, sent).await?;
        if answer.status != 401 || !self.session.forget().await {
            return Ok(answer);
        }
        let headers = self.session.headers(method, self.clock.boot(), self.log_in().boxed()).await?;
        self.over_endpoints(call, &headers, sent).await
    }

    async fn log_in(&self) -> Result<Login, Fault> {
        let Some((username, password)) = self.session.login() else {
            return Err(Fault::new(FaultKind::Unauthorized, "a token needs no login"));
        };
        let params = Params::default().with("username", username).with("password", password.expose());
        let call = Call::new(&TICKET, &[]).with(params);
        let answer = self.over_endpoints(&call, &HeaderMap::new(), &AtomicBool::new(false)).await?;
        let data = call.judge(&answer)?;
        serde_json::from_value(data).map_err(|_| call.fault(FaultKind::Other, "the answer is not understood"))
    }

    async fn over_endpoints(&self, call: &Call, headers: &HeaderMap, sent: &AtomicBool) -> Result<Answer, Fault> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.endpoints.len();
        let mut failures: Vec<(String, ExchangeError)> = Vec::new();
        for step in 0..count {
            let index = (first + step) % count;
            let Some(endpoint) = self.endpoints.get(index) else { continue };
            match self.try_endpoint(call, headers, endpoint, sent).await? {
                Ok(answer) if step + 1 < count && never_began(call, &answer) => {
                    failures.push((endpoint.base.clone(), ExchangeError::NotSent(answer.text())));
                }
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(ExchangeError::Lost(text)) if call.route.changes => {
                    let text = format!("sent to {}, but no answer came: {text}", endpoint.base);
                    return Err(call.fault(FaultKind::UnknownOutcome, &text));
                }
                Err(error @ ExchangeError::TooLate) => {
                    return Err(call.fault(FaultKind::NotSent, &error.to_string()));
                }
                Err(error) => failures.push((endpoint.base.clone(), error)),
            }
        }
        Err(unreachable(call, &failures))
    }

    /// One endpoint; what changes nothing is sent a second time if its connection broke.
    async fn try_endpoint(
        &self,
        call: &Call,
        headers: &HeaderMap,
        endpoint: &Endpoint,
        sent: &AtomicBool,
    ) -> Result<Result<Answer, ExchangeError>, Fault> {
        let first = self.send(call, headers, endpoint, sent).await?;
        match first {
            Err(ExchangeError::Lost(_)) if !call.route.changes => self.send(call, headers, endpoint, sent).await,
            other => Ok(other),
        }
    }

    async fn send(
        &self,
        call: &Call,
        headers: &HeaderMap,
        endpoint: &Endpoint,
        sent: &AtomicBool,
    ) -> Result<Result<Answer, ExchangeError>, Fault> {
        let request = call.request(&endpoint.base, headers)?;
        let started = self.clock.boot();
        sent.store(true, Ordering::Relaxed);
        let outcome = match &call.window {
            Some(window) => self.exchange.send_within(request, window).await,
            None => self.exchange.send(request).await,
        };
        let code = match &outcome {
            Ok(answer) => answer.status().as_str().to_owned(),
            Err(ExchangeError::NotSent(_)) => "connect".to_owned(),
            Err(ExchangeError::Certificate(_)) => "certificate".to_owned(),
            Err(ExchangeError::TooLate) => "late".to_owned(),
            Err(ExchangeError::Lost(_)) => "lost".to_owned(),
        };
        if !matches!(outcome, Ok(_) | Err(ExchangeError::Lost(_))) {
            sent.store(false, Ordering::Relaxed);
        }
        let took = self.clock.boot().since(started);
        self.observer.observed(call.route.method.as_str(), call.route.path, &code, took);
        Ok(outcome.map(|answer| Answer::new(&answer)))
    }
}

/// Whether the answer says that the endpoint could not begin, so that another one may be asked the same: its cluster
/// file system is down (recorded 670–677), or its own API daemon (recorded 663–665).
fn never_began(call: &Call, answer: &Answer) -> bool {
    answer.message.contains("RPCEnvironment init request failed") || (answer.status == 595 && call.node().is_none())
}

fn unreachable(call: &Call, failures: &[(String, ExchangeError)]) -> Fault {
    let certificate = failures.iter().any(|(_, error)| matches!(error, ExchangeError::Certificate(_)));
    let kind = if certificate { FaultKind::Certificate } else { FaultKind::Unreachable };
    let tried: Vec<String> = failures.iter().map(|(base, error)| format!("{base}: {error}")).collect();
    call.fault(kind, &tried.join("; "))
}
