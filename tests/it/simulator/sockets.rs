//! The API on a socket, with TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::ext::ReasonPhrase;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use stevedore::clock::SystemClock;
use stevedore::simulator::cli;
use stevedore::simulator::guest_exec::EchoGuest;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Release, Scenario};
use stevedore::simulator::server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) type HttpsClient =
    Client<hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>, Full<Bytes>>;

pub(crate) fn client(ca_pem: &str) -> HttpsClient {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(https)
}

async fn get(client: &HttpsClient, server: &Server, path: &str) -> (u16, String, serde_json::Value) {
    let request = Request::builder()
        .uri(format!("https://localhost:{}/api2/json{path}", server.addr.port()))
        .header("Authorization", format!("PVEAPIToken={DEMO_TOKEN}={DEMO_SECRET}"))
        .body(Full::default())
        .unwrap();
    let answer = client.request(request).await.unwrap();
    let reason =
        answer.extensions().get::<ReasonPhrase>().map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, reason.unwrap_or_default(), serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_node_answers_under_its_clusters_authority() {
    let simulator = Simulator::new(Scenario::default_demo(), Arc::new(SystemClock));
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(&simulator, listen).await.unwrap();
    let other = Server::start_node(&simulator, "pve2", listen).await.unwrap();
    assert_eq!(server.fingerprint, other.fingerprint);
    let client = client(&server.ca_pem);
    for server in [&server, &other] {
        let (status, _, body) = get(&client, server, "/nodes/localhost/certificates/info").await;
        assert_eq!((status, body["data"][0]["fingerprint"].as_str()), (200, Some(server.fingerprint.as_str())));
        let (status, reason, _) = get(&client, server, "/nodes/pve1/qemu/77777/config").await;
        assert_eq!(
            (status, reason.as_str()),
            (500, "Configuration file 'nodes/pve1/qemu-server/77777.conf' does not exist")
        );
    }
}

#[tokio::test]
async fn plain_http_is_sent_to_https() {
    let simulator = Simulator::new(Scenario::default_demo(), Arc::new(SystemClock));
    let server = Server::start(&simulator, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /api2/json/version HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 301 "), "{text}");
}

#[tokio::test]
async fn the_command_line_serves_every_node_and_writes_the_authority() {
    let folder = tempfile::tempdir().unwrap();
    let args = cli::Args {
        guests: cli::GuestArgs::default(),
        listen: "127.0.0.1:0".parse().unwrap(),
        scenario: None,
        release: Release::V8,
        write_ca: Some(folder.path().join("ca.pem")),
        every_node: true,
        print_scenario: false,
    };
    let (_simulator, servers) = cli::start(&args, Arc::new(EchoGuest)).await.unwrap();
    assert_eq!(servers.iter().map(|server| server.node.as_str()).collect::<Vec<_>>(), ["pve1", "pve2", "pve3"]);
    let client = client(&std::fs::read_to_string(folder.path().join("ca.pem")).unwrap());
    let (_, _, body) = get(&client, &servers[2], "/version").await;
    assert_eq!(body["data"]["release"], "8.4");
}

#[test]
fn the_scenario_that_is_printed_can_be_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.yaml");
    let print = |args: &[&str]| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_stevedore"));
        let output = program.args(["simulate", "proxmox", "--print-scenario"]).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = print(&["--release", "8.4"]);
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(print(&["--scenario", file.to_str().unwrap()]), printed);
    assert_eq!(Scenario::from_file(&file).unwrap().release, Release::V8);
}
