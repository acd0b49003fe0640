//! Over real sockets: whom the client trusts, and what it reads off the wire.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use sha2::{Digest, Sha256};
use stevedore::clock::{Clock, SystemClock};
use stevedore::domain::fault::FaultKind;
use stevedore::hypervisor::transport::client::HttpExchange;
use stevedore::hypervisor::transport::tls::TlsSettings;
use stevedore::hypervisor::transport::{Exchange, ExchangeError, PeerCertificate};
use stevedore::hypervisor::window::Window;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio_rustls::TlsAcceptor;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Server {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Server {
    /// A certificate for `names`, as a node of a cluster has one from the cluster's own CA.
    fn signed_by(issuer: &Issuer, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap();
        Self { certificate: certificate.der().clone(), key }
    }

    fn fingerprint(&self) -> String {
        Sha256::digest(&self.certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// Serves one answer to everything; presents the certificate with `key`, which need not be its own.
    async fn serve(&self, key: &KeyPair) -> SocketAddr {
        self.serve_with(key, service_fn(no_route)).await
    }

    /// The same with another service.
    async fn serve_with<S>(&self, key: &KeyPair, service: S) -> SocketAddr
    where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let provider = Arc::new(ring::default_provider());
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signing = provider.key_provider.load_private_key(der).unwrap();
        let chain = vec![self.certificate.clone()];
        let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, signing));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), service.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        address
    }
}

async fn no_route(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(answer_to(request.uri().path()))
}

/// What a proxy says of a node that is off: a status of its own, its text in the reason phrase only.
fn answer_to(path: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    if path == "/api2/json/version" {
        return response;
    }
    *response.status_mut() = StatusCode::from_u16(595).unwrap();
    response.extensions_mut().insert(ReasonPhrase::from_static(b"No route to host"));
    response
}

fn trusting(settings: &TlsSettings) -> HttpExchange {
    HttpExchange::new(settings).unwrap()
}

fn with_ca(issuer: &Issuer) -> TlsSettings {
    TlsSettings { ca_pem: Some(issuer.pem()), ..TlsSettings::default() }
}

fn with_pins(fingerprints: &[String]) -> TlsSettings {
    TlsSettings { fingerprints: fingerprints.to_vec(), ..TlsSettings::default() }
}

async fn ask(exchange: &HttpExchange, address: SocketAddr, path: &str) -> Result<Response<Bytes>, ExchangeError> {
    let request = Request::get(format!("https://{address}{path}")).body(Bytes::new()).unwrap();
    exchange.send(request).await
}

#[tokio::test]
async fn a_ca_bundle_vouches_for_its_servers() {
    let ca = authority("PVE Cluster Manager CA");
    let server = Server::signed_by(&ca, &["127.0.0.1", "localhost"]);
    let address = server.serve(&server.key).await;
    let exchange = trusting(&with_ca(&ca));
    let answer = ask(&exchange, address, "/api2/json/nodes/pve2/status").await.unwrap();
    assert_eq!(answer.status().as_u16(), 595);
    assert_eq!(answer.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"No route to host");
    let PeerCertificate { fingerprint, ends, .. } = exchange.peer("127.0.0.1").unwrap();
    assert_eq!(fingerprint, server.fingerprint());
    assert!(ends.is_some());
    assert_eq!(exchange.peer("elsewhere"), None);
}

fn refused(outcome: Result<Response<Bytes>, ExchangeError>) -> String {
    match outcome.unwrap_err() {
        ExchangeError::Certificate(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_ca_and_another_name_are_refused_with_what_was_shown() {
    let ca = authority("theirs");
    let server = Server::signed_by(&ca, &["127.0.0.1"]);
    let address = server.serve(&server.key).await;
    let text = refused(ask(&trusting(&with_ca(&authority("ours"))), address, "/").await);
    assert!(text.contains(&server.fingerprint()) && text.contains("tls.caRef"), "{text}");

    let elsewhere = Server::signed_by(&ca, &["pve9.example.org"]);
    let address = elsewhere.serve(&elsewhere.key).await;
    assert!(refused(ask(&trusting(&with_ca(&ca)), address, "/").await).contains("127.0.0.1"));

    // Nothing is said about trust: the system's CAs know nothing of it.
    let fault = HttpExchange::new(&TlsSettings::default());
    match fault {
        Ok(exchange) => drop(refused(ask(&exchange, address, "/").await)),
        Err(fault) => assert_eq!(fault.kind, FaultKind::Certificate),
    }
}

#[tokio::test]
async fn any_of_several_pins_will_do_and_no_other() {
    let server = Server::signed_by(&authority("theirs"), &["pve9.example.org"]);
    let address = server.serve(&server.key).await;
    let old = Server::signed_by(&authority("old"), &["x"]).fingerprint();
    let pins = [old.clone(), server.fingerprint().to_lowercase()];
    assert!(ask(&trusting(&with_pins(&pins)), address, "/").await.is_ok());
    let text = refused(ask(&trusting(&with_pins(&[old])), address, "/").await);
    assert!(text.contains("tls.fingerprints") && text.contains(&server.fingerprint()), "{text}");
}

#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_worth_nothing() {
    let server = Server::signed_by(&authority("theirs"), &["127.0.0.1"]);
    let thief = KeyPair::generate().unwrap();
    let address = server.serve(&thief).await;
    refused(ask(&trusting(&with_pins(&[server.fingerprint()])), address, "/").await);
    let everyone = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    refused(ask(&trusting(&everyone), address, "/").await);
}

#[tokio::test]
async fn who_trusts_everyone_is_let_through() {
    let server = Server::signed_by(&authority("theirs"), &["pve9.example.org"]);
    let address = server.serve(&server.key).await;
    let everyone = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    assert!(ask(&trusting(&everyone), address, "/api2/json/version").await.is_ok());
}

#[tokio::test]
async fn not_sent_and_lost_are_told_apart() {
    let everyone = || trusting(&TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    assert!(matches!(ask(&everyone(), closed, "/").await, Err(ExchangeError::NotSent(_))));

    // Takes the request and hangs up.
    let server = Server::signed_by(&authority("theirs"), &["127.0.0.1"]);
    let der = PrivateKeyDer::try_from(server.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.certificate.clone()], der)
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4096]).await;
            }
        }
    });
    assert!(matches!(ask(&everyone(), address, "/").await, Err(ExchangeError::Lost(_))));
}

/// Longer than any machine needs.
const LONG: Duration = Duration::from_secs(60);

fn open_for(time: Duration) -> Window {
    Window::until(SystemClock.boot().plus(time), Arc::new(SystemClock))
}

#[tokio::test]
async fn what_leaves_within_a_window_arrives_whole_or_not_at_all() {
    let ca = authority("PVE Cluster Manager CA");
    let server = Server::signed_by(&ca, &["127.0.0.1"]);
    let (sender, mut arrived) = unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
            let _ = sender.send((format!("{} {}", head.method, head.uri), host, body));
            Ok(answer_to(head.uri.path()))
        }
    });
    let address = server.serve_with(&server.key, service).await;
    let exchange = trusting(&with_ca(&ca));
    let request = |method: &str| {
        let uri = format!("https://{address}/api2/json/nodes/pve2/qemu/100?purge=1");
        Request::builder().method(method).uri(uri).header("content-length", 3).body(Bytes::from("a=b")).unwrap()
    };

    let answer = exchange.send_within(request("POST"), &open_for(LONG)).await.unwrap();
    assert_eq!(answer.status().as_u16(), 595);
    assert_eq!(answer.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"No route to host");
    let line = "POST /api2/json/nodes/pve2/qemu/100?purge=1".to_owned();
    assert_eq!(arrived.try_recv().unwrap(), (line, address.to_string(), Bytes::from("a=b")));

    let closed = open_for(LONG).while_true(|| false);
    assert_eq!(exchange.send_within(request("DELETE"), &closed).await.unwrap_err(), ExchangeError::TooLate);
    // What was sent over the same exchange afterwards would have come later.
    assert!(exchange.send(request("PUT")).await.is_ok());
    assert!(arrived.try_recv().unwrap().0.starts_with("PUT"));
    refused(trusting(&with_ca(&authority("ours"))).send_within(request("PUT"), &open_for(LONG)).await);
    assert!(arrived.try_recv().is_err());
}

#[tokio::test]
async fn a_window_closes_over_a_connection_that_does_not_come_about() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let everyone = trusting(&TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() });
    let request = Request::delete(format!("https://{address}/")).body(Bytes::new()).unwrap();
    // The server takes the connection and then says nothing.
    let outcome = everyone.send_within(request, &open_for(Duration::from_millis(200))).await;
    assert_eq!(outcome.unwrap_err(), ExchangeError::TooLate);
    drop(listener);
    let request = Request::delete(format!("https://{address}/")).body(Bytes::new()).unwrap();
    let outcome = everyone.send_within(request, &open_for(LONG)).await;
    assert!(matches!(outcome, Err(ExchangeError::NotSent(_))), "{outcome:?}");
}
