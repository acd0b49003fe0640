//! The control plane that other tests stand on is a real one, and nothing of it is left behind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Resource};
use stevedore::controlplane::{ControlPlane, Options};

use crate::support::cluster;

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

async fn gone<K>(api: Api<K>, name: &str, uid: &str)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let wait = await_condition(api, name, conditions::is_deleted(uid));
    tokio::time::timeout(Duration::from_secs(120), wait).await.expect("it is never deleted").unwrap();
}

#[tokio::test]
async fn objects_are_applied_and_a_namespace_goes_with_all_that_is_in_it() {
    let (client, namespace) = cluster::client_and_namespace("apply").await;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let params = PatchParams::apply("test");
    let map = config_map("map", "value");
    maps.patch("map", &params, &Patch::Apply(&map)).await.unwrap();
    assert_eq!(maps.get("map").await.unwrap().data.unwrap()["key"], "value");

    let namespaces = Api::<Namespace>::all(client);
    let uid = namespaces.get(&namespace).await.unwrap().metadata.uid.unwrap();
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    gone(namespaces, &namespace, &uid).await;
    assert!(maps.get_opt("map").await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let (client, namespace) = cluster::client_and_namespace("owner").await;
    let maps = Api::<ConfigMap>::namespaced(client, &namespace);
    let owner = maps.create(&PostParams::default(), &config_map("owner", "")).await.unwrap();
    let mut dependent = config_map("dependent", "");
    dependent.metadata.owner_references =
        Some(vec![OwnerReference { block_owner_deletion: None, ..owner.controller_owner_ref(&()).unwrap() }]);
    let dependent = maps.create(&PostParams::default(), &dependent).await.unwrap();
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    gone(maps, "dependent", &dependent.metadata.uid.unwrap()).await;
}

#[tokio::test]
async fn a_service_account_may_do_what_rbac_says_and_the_audit_log_tells() {
    let plane = cluster::shared().await;
    let (_, namespace) = cluster::client_and_namespace("rbac").await;
    let in_namespace = ["--namespace", &namespace];
    for command in [
        &["create", "serviceaccount", "clerk"][..],
        &["create", "role", "clerk", "--verb=get", "--resource=configmaps"],
        &["create", "rolebinding", "clerk", "--role=clerk", &format!("--serviceaccount={namespace}:clerk")],
        &["create", "configmap", "map", "--from-literal=key=value"],
    ] {
        plane.kubectl(&[command, &in_namespace].concat()).await.unwrap().success().unwrap();
    }
    let token = plane.service_account_token(&namespace, "clerk").await.unwrap();
    let client = plane.client_with_token(&token).await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(client, &namespace);
    assert_eq!(maps.get("map").await.unwrap().data.unwrap()["key"], "value");
    let refused = maps.delete("map", &DeleteParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.is_forbidden()), "{refused}");

    let kubeconfig = plane.kubeconfig_for_token(&token).unwrap();
    let flag = format!("--kubeconfig={}", kubeconfig.display());
    let whoami = plane.kubectl(&["auth", "whoami", &flag]).await.unwrap().success().unwrap();
    assert!(whoami.contains(&format!("system:serviceaccount:{namespace}:clerk")), "{whoami}");

    let user = format!("system:serviceaccount:{namespace}:clerk");
    let events = plane.audit_events().unwrap();
    let of_maps = events.iter().filter(|event| event.user == user && event.resource == "configmaps");
    let seen: Vec<_> = of_maps.map(|event| (event.verb.as_str(), event.name.as_str(), event.code)).collect();
    assert_eq!(seen, [("get", "map", Some(200)), ("delete", "map", Some(403))]);
}

/// The minor version that the API server behaves like, by its own words.
async fn emulated_version(client: &Client) -> String {
    let info = client.apiserver_version().await.unwrap();
    format!("{}.{}", info.emulation_major.unwrap(), info.emulation_minor.unwrap())
}

#[tokio::test]
async fn an_older_kubernetes_is_emulated_and_nothing_is_left_after_the_stop() {
    let options = Options { emulated_version: Some("1.34".to_owned()), ..Options::default() };
    let plane = ControlPlane::start(options).await.unwrap();
    assert_eq!(emulated_version(&plane.client().await.unwrap()).await, "1.34");
    let processes: Vec<PathBuf> = plane.process_ids().map(|(_, id)| process_folder(id)).collect();
    let folder = plane.folder().to_owned();
    assert_eq!(processes.len(), 3);
    assert!(folder.exists() && processes.iter().all(|process| lives(process)));
    plane.stop().await;
    assert!(!folder.exists());
    assert!(!processes.iter().any(|process| lives(process)));
}

/// Set in the process that [`what_a_killed_process_started_ends_with_it`] starts and kills.
const HOLD: &str = "STEVEDORE_TEST_HOLDS_A_CONTROL_PLANE";

#[tokio::test]
async fn what_a_killed_process_started_ends_with_it() {
    if std::env::var_os(HOLD).is_some() {
        return hold_a_control_plane().await;
    }
    let this = "controlplane::what_a_killed_process_started_ends_with_it";
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([this, "--exact", "--nocapture"])
        .env(HOLD, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    let paths: Vec<_> = lines.skip_while(|line| line != "holding").skip(1).take(3).map(PathBuf::from).collect();
    assert_eq!(paths.len(), 3, "the other process did not hold a control plane");
    assert!(paths.iter().all(|path| lives(path)), "{paths:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    while paths.iter().any(|path| lives(path)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a control plane, prints the paths that exist as long as it does, and waits for the end.
async fn hold_a_control_plane() {
    let plane = ControlPlane::start(Options { controllers: false, ..Options::default() }).await.unwrap();
    println!("\nholding\n{}", plane.folder().display());
    for (_, id) in plane.process_ids() {
        println!("{}", process_folder(id).display());
    }
    std::future::pending::<()>().await;
}

/// Is the folder, or the process that the folder shows, still there? One that nobody has waited for yet (`Z`) is not.
fn lives(path: &Path) -> bool {
    path.exists() && std::fs::read_to_string(path.join("stat")).map_or(true, |stat| !stat.contains(") Z "))
}

/// Where Linux shows a process.
fn process_folder(id: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{id}"))
}
