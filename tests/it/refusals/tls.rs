//! Over real sockets: certificates that are not accepted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stevedore::app::connector::HttpsConnector;
use stevedore::hypervisor::transport::Unobserved;
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Scenario};
use stevedore::simulator::server::Server;

use super::lab::{Lab, hypervisor_says};
use crate::crash::operator::Operator;
use crate::crash::world::{World, hypervisor, secret, seed};

/// A lab whose Hypervisor is reached over HTTPS and trusted as `tls` says.
async fn served(tls: Value) -> (Lab, Server) {
    let world = World::bare(seed(), Scenario::default_demo());
    let server = Server::start(&world.pve, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut object = hypervisor();
    object["spec"]["endpoints"] = json!([format!("https://{}", server.addr)]);
    object["spec"]["tls"] = tls;
    world.create(secret(DEMO_TOKEN, DEMO_SECRET)).await;
    world.create(object).await;
    let connector = HttpsConnector {
        deadline: Duration::from_secs(10),
        clock: world.clock.clone(),
        observer: Arc::new(Unobserved),
    };
    let operator = Operator::connecting(&world, 0, Arc::new(connector));
    (Lab { world, operator }, server)
}

fn fingerprint(message: &str) -> String {
    let (_, rest) = message.split_once("SHA-256 ").unwrap();
    rest.chars().take_while(|c| c.is_ascii_hexdigit() || *c == ':').collect()
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for() {
    let (mut lab, server) = served(json!({})).await;
    let words = ["127.0.0.1", "system's CAs", "SHA-256", "tls.caRef", "tls.fingerprints"];
    let message = lab.says(hypervisor_says(("CertificateValid", "False", "Untrusted"), &words)).await;
    lab.says(hypervisor_says(("Ready", "False", "Untrusted"), &words)).await;
    assert!(lab.world.pve.faults().log().is_empty(), "no credential was sent to it");
    // A person compares what is presented, and sets what the message says.
    lab.world.edit_hypervisor(json!({"spec": {"tls": {"fingerprints": [fingerprint(&message)]}}})).await;
    lab.says(hypervisor_says(("CertificateValid", "True", "Trusted"), &[])).await;
    lab.says(hypervisor_says(("Ready", "True", "Connected"), &[])).await;
    drop(server);
}

#[tokio::test]
async fn a_certificate_with_another_fingerprint() {
    let pin = ["AB"; 32].join(":");
    let (mut lab, server) = served(json!({"fingerprints": [pin]})).await;
    let words = ["127.0.0.1", "not in tls.fingerprints", "SHA-256", "comparing it on the server itself"];
    let message = lab.says(hypervisor_says(("CertificateValid", "False", "FingerprintMismatch"), &words)).await;
    lab.says(hypervisor_says(("Ready", "False", "FingerprintMismatch"), &words)).await;
    assert!(lab.world.pve.faults().log().is_empty(), "no credential was sent to it");
    assert_ne!(fingerprint(&message), pin);
    drop(server);
}
