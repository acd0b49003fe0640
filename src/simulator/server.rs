//! A simulated node on a socket: HTTPS as the real one speaks it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::certificates::CertificateError;
use super::proxmox::{Outcome, Peer, Simulator};
use super::qemu::QemuError;

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Most of a body that is read; more than the API takes.
const MAX_BODY: usize = 4 << 20;
/// First byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// A simulated node could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address or free this one")]
    Listen {
        /// Address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Real guests do not reach it.
    #[error(transparent)]
    Guests(#[from] QemuError),
}

/// A node of a simulated cluster that listens. Dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct Server {
    /// The node it plays.
    pub node: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where real guests reach it: at their routers. Empty if there are none.
    pub inside: Vec<SocketAddr>,
    /// The cluster's certificate authority, as PEM.
    pub ca_pem: String,
    /// The authority's SHA-256 fingerprint, upper case with colons, as `/nodes/N/certificates/info` reports it.
    pub fingerprint: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Server {
    /// Serves the first node.
    pub async fn start(simulator: &Simulator, listen: SocketAddr) -> Result<Self, ServerError> {
        let node = simulator.nodes().into_iter().next().unwrap_or_default();
        Self::start_node(simulator, &node, listen).await
    }

    /// Serves the node called `node`; real guests reach it at the same port of their routers.
    pub async fn start_node(simulator: &Simulator, node: &str, listen: SocketAddr) -> Result<Self, ServerError> {
        let listening = TcpListener::bind(listen).await;
        let listener = listening.map_err(|source| ServerError::Listen { address: listen, source })?;
        let addr = listener.local_addr().map_err(|source| ServerError::Listen { address: listen, source })?;
        let mut local = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), addr.ip()];
        let (mut listeners, mut inside) = (vec![listener], Vec::new());
        if let Some(qemu) = simulator.qemu() {
            local.extend(qemu.gateways());
            inside.extend(qemu.gateways().into_iter().map(|gateway| SocketAddr::new(gateway, addr.port())));
            let listening = qemu.listen(addr.port())?.into_iter().map(TcpListener::from_std);
            let listening = listening.collect::<Result<Vec<_>, _>>();
            listeners.extend(listening.map_err(|source| ServerError::Listen { address: addr, source })?);
        }
        let authority = simulator.authority()?;
        let identity = authority.node(node, &local)?;
        simulator.world(|world| {
            if let Some(node) = world.nodes.get_mut(node) {
                node.fingerprint = Some(identity.fingerprint);
                node.pem = identity.pem;
            }
            // Guests reach the API where it is served.
            world.scenario.network.open.push(addr.to_string());
        });
        let (acceptor, name) = (TlsAcceptor::from(identity.tls), node.to_owned());
        let serve = |listener| tokio::spawn(serve(listener, acceptor.clone(), simulator.clone(), name.clone()));
        let tasks = listeners.into_iter().map(serve).collect();
        let (ca_pem, fingerprint) = (authority.pem.clone(), authority.fingerprint.clone());
        Ok(Self { node: node.to_owned(), addr, inside, ca_pem, fingerprint, tasks })
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, simulator: Simulator, node: String) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, acceptor.clone(), simulator.clone(), node.clone()));
                }
                // Out of file descriptors or the like: a short rest lets connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut stream: TcpStream, acceptor: TlsAcceptor, simulator: Simulator, node: String) {
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().ok().map(Peer);
    if let Some(Peer(address)) = peer {
        simulator.faults().connected(address);
    }
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1)) {
        return;
    }
    if first[0] != TLS_HANDSHAKE {
        let _ = redirect(&mut stream).await;
        return;
    }
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let node = Arc::new(node);
    let service = service_fn(move |request| answer(simulator.clone(), node.clone(), peer, request));
    // An error is a client that went away, or a connection that a fault closed.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Plain HTTP is sent to HTTPS (recorded 552).
async fn redirect(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; 1024];
    let read = stream.read(&mut head).await?;
    let status = if head[..read].starts_with(b"GET ") { "301 Moved Permanently" } else { "308 Permanent Redirect" };
    let addr = stream.local_addr()?;
    let text =
        format!("HTTP/1.1 {status}\r\nLocation: https://{addr}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// The connection is closed instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the simulator closes the connection")]
struct Closed;

async fn answer(
    simulator: Simulator,
    node: Arc<String>,
    peer: Option<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (mut head, body) = request.into_parts();
    peer.map(|peer| head.extensions.insert(peer));
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| Closed)?.to_bytes();
    match simulator.call_at(&node, Request::from_parts(head, body)).await {
        Outcome::Answered(response) => Ok(response.map(Full::new)),
        Outcome::Dropped => Err(Closed),
    }
}
