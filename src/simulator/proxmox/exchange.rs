//! The way for a client in this process, without a socket: each request goes to the node that its endpoint names.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use super::{Outcome, Simulator};
use crate::hypervisor::transport::{Exchange, ExchangeError};

#[async_trait]
impl Exchange for Simulator {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let node = request.uri().host().unwrap_or_default().to_owned();
        match self.call_at(&node, request).await {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Dropped => Err(ExchangeError::Lost("connection closed before message completed".to_owned())),
        }
    }
}
