//! The small HTTP server for probes and metrics: `/healthz`, `/readyz`, `/metrics`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::lease::Leadership;
use super::metrics::{self, Metrics};
use super::readiness::{Pulse, Readiness};
use super::shutdown::Shutdown;

/// How long a client may take to send a request, or keep an idle connection.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// What the server tells about.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `/healthz`: 200 while it beats.
    pub pulse: Pulse,
    /// `/readyz`: 200 once every gate is open.
    pub readiness: Readiness,
    /// `/readyz` says who leads; a process that waits for the lead is ready too.
    pub leadership: Leadership,
    /// `/metrics`.
    pub metrics: Metrics,
}

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Takes the port.
    ///
    /// # Errors
    ///
    /// The address is not ours, or in use.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot serve probes and metrics on {address}: {error}"))
        })?;
        Ok(Self { listener })
    }

    /// The address that was taken; the port is a real one even if 0 was asked for.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the end is asked for. Give it a token of its own: probes and metrics are wanted to the last.
    pub async fn serve(self, facts: Facts, stop: Shutdown) {
        let facts = Arc::new(facts);
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(tokio::spawn(converse(stream, facts.clone()))),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection for probes and metrics");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

async fn converse(stream: TcpStream, facts: Arc<Facts>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&facts, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(REQUEST_DEADLINE);
    if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection for probes and metrics ended badly");
    }
}

fn answer(facts: &Facts, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    }
    match path {
        "/healthz" => healthz(facts),
        "/readyz" => readyz(facts),
        "/metrics" => {
            let mut response = text(StatusCode::OK, facts.metrics.text());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            response
        }
        _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".into()),
    }
}

fn healthz(facts: &Facts) -> Response<Full<Bytes>> {
    match facts.pulse.stopped_for() {
        None => text(StatusCode::OK, "ok\n".into()),
        Some(silence) => {
            let body = format!("the main loop has not moved for {} s\n", silence.as_secs());
            text(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

fn readyz(facts: &Facts) -> Response<Full<Bytes>> {
    let missing = facts.readiness.missing();
    if missing.is_empty() {
        return text(StatusCode::OK, format!("ready\n{}\n", role(&facts.leadership)));
    }
    let lines: Vec<String> = missing.iter().map(|(gate, waits_for)| format!("{gate}: {waits_for}")).collect();
    text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", lines.join("\n")))
}

fn role(leadership: &Leadership) -> String {
    match (leadership.is_leader(), leadership.holder()) {
        (true, _) => "this process leads".into(),
        (false, Some(holder)) => format!("not the leader: {holder} leads, this process stands by"),
        (false, None) => "not the leader: nobody is known to lead, this process stands by".into(),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    use super::*;
    use crate::clock::{SharedClock, SystemClock};

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let response = client.get(format!("http://{address}{path}").parse().unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn probes_and_metrics_over_a_real_socket() {
        let clock: SharedClock = Arc::new(SystemClock);
        let readiness = Readiness::with_closed(&[("crds", "a look at the installed CRDs")]);
        let facts = Facts {
            pulse: Pulse::new(clock.clone(), Duration::from_secs(3600)),
            readiness: readiness.clone(),
            leadership: Leadership::without_election(clock),
            metrics: Metrics::new(),
        };
        facts.metrics.leads("stevedore", true);
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = admin.address().unwrap();
        let stop = Shutdown::new();
        let serving = tokio::spawn(admin.serve(facts, stop.clone()));

        assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
        assert_eq!(get(address, "/readyz").await, (503, "not ready\ncrds: a look at the installed CRDs\n".into()));
        readiness.open("crds");
        assert_eq!(get(address, "/readyz").await, (200, "ready\nthis process leads\n".into()));
        let (status, metrics) = get(address, "/metrics").await;
        assert!(status == 200 && metrics.contains("leader_election_master_status{name=\"stevedore\"} 1"));
        assert_eq!(get(address, "/secrets").await.0, 404);
        stop.request();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.address().unwrap();
        let error = Admin::bind(address).await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
