//! The API as a tower service, so that a `kube::Client` can stand on it.

use std::future;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

use super::call::{Call, Verb};
use super::error::Refusal;
use super::fault::Fault;
use super::{KubeApi, disconnected, watch};

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// One client's way to the API.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) api: KubeApi,
    pub(super) user_agent: String,
}

impl Service<Request<Body>> for Endpoint {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).boxed()
    }
}

impl Endpoint {
    async fn answer(self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        if head.uri.path() == "/version" {
            return Ok(document(200, &version()));
        }
        let call = match Call::parse(&head, &body, &self.user_agent) {
            Ok(call) => self.api.number(call),
            Err(refusal) => return Ok(refused(&refusal)),
        };
        if self.api.is_away() {
            return Err(disconnected());
        }
        match self.api.fault_for(&call) {
            Fault::None => Ok(self.carry_out(call)),
            Fault::Answer(code) => Ok(refused(&self.api.log_refusal(call, Refusal::injected(code)))),
            Fault::Refuse => Err(disconnected()),
            Fault::LoseAnswer => {
                drop(self.carry_out(call));
                Err(disconnected())
            }
            Fault::GiveUp(code) => {
                drop(self.carry_out(call));
                Ok(refused(&Refusal::injected(code)))
            }
            Fault::Twice => {
                drop(self.carry_out(call.clone()));
                Ok(self.carry_out(call))
            }
            Fault::Hang => future::pending().await,
            Fault::Swallow => {
                drop(self.carry_out(call));
                future::pending().await
            }
            Fault::Late(delay) => {
                let late = async move {
                    tokio::time::sleep(delay).await;
                    self.carry_out(call)
                };
                Ok(tokio::spawn(late).await?)
            }
            Fault::LateAnswer(delay) => {
                let answer = self.carry_out(call);
                tokio::time::sleep(delay).await;
                Ok(answer)
            }
        }
    }

    fn carry_out(&self, call: Call) -> Response<AnswerBody> {
        if call.verb == Verb::Watch {
            return match watch::open(&self.api, call) {
                Ok(lines) => streamed(StreamBody::new(lines.map(|line| line.map(Frame::data)))),
                Err(refusal) => refused(&refusal),
            };
        }
        match self.api.perform(call) {
            Ok((code, object)) => document(code, &object),
            Err(refusal) => refused(&refusal),
        }
    }
}

fn refused(refusal: &Refusal) -> Response<AnswerBody> {
    document(refusal.code, &refusal.status())
}

fn document(code: u16, object: &Value) -> Response<AnswerBody> {
    let body = Full::new(Bytes::from(object.to_string())).map_err(|never| match never {}).boxed_unsync();
    respond(code, body)
}

fn streamed(body: impl hyper::body::Body<Data = Bytes, Error = BoxError> + Send + 'static) -> Response<AnswerBody> {
    respond(200, body.boxed_unsync())
}

fn respond(code: u16, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "37", "gitVersion": "v1.37.0-simulated", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "",
    })
}
