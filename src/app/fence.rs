//! Keeps changing requests to hypervisors back once this process has no right to send them any more.
//!
//! Whoever decides on a change asks the gate, too. But between that and the sending lie reads, queues and a login, and
//! a process may be suspended in any of them until another one leads. So the gate is asked once more, at the last
//! moment, and a request that is not answered when the lead is lost is given up.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
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
        if is_harmless(&request) {
            return self.exchange.send(request).await;
        }
        if !self.gate.may_change(self.deadline) {
            let text = "not sent: this process does not lead, or not for long enough";
            return Err(ExchangeError::Withheld(text.to_owned()));
        }
        let mut answer = self.exchange.send(request);
        poll_fn(|context| {
            if !self.gate.may_change(Duration::ZERO) {
                return Poll::Ready(Err(ExchangeError::Lost("given up: this process leads no more".to_owned())));
            }
            answer.as_mut().poll(context)
        })
        .await
    }

    fn peer(&self, host: &str) -> Option<PeerCertificate> {
        self.exchange.peer(host)
    }
}
