//! Keeps changing requests to hypervisors back once this process has no right to send them any more.
//!
//! Whoever decides on a change asks the gate, too. But between that and the sending lie reads, queues and a login, and
//! a process may be suspended in any of them until another one leads. So the gate is asked once more, at the last
//! moment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};

use crate::controller::context::Gate;
use crate::hypervisor::transport::{Exchange, ExchangeError, PeerCertificate};

/// An exchange that sends what changes something only through an open gate.
#[derive(Debug)]
pub struct Fenced {
    exchange: Arc<dyn Exchange>,
    gate: Arc<dyn Gate>,
    deadline: Duration,
}

impl Fenced {
    /// The same exchange behind `gate`, which must be open for `deadline`, the longest that a call may take.
    pub fn new(exchange: Arc<dyn Exchange>, gate: Arc<dyn Gate>, deadline: Duration) -> Self {
        Self { exchange, gate, deadline }
    }
}

/// Whether a request changes nothing: a question, or a login.
fn is_harmless(request: &Request<Bytes>) -> bool {
    request.method() == Method::GET || request.uri().path().ends_with("/access/ticket")
}

#[async_trait]
impl Exchange for Fenced {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        if is_harmless(&request) || self.gate.may_change(self.deadline) {
            return self.exchange.send(request).await;
        }
        Err(ExchangeError::Withheld("not sent: this process does not lead, or not for long enough".to_owned()))
    }

    fn peer(&self, host: &str) -> Option<PeerCertificate> {
        self.exchange.peer(host)
    }
}
