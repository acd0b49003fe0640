//! The Kubernetes API in memory: its conformance, its faults, and a real controller on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher::{self, Event};
use serde_json::json;
use stevedore::clock::TimerClock;
use stevedore::simulator::kubernetes::{Fault, KubeApi, Verb};

use crate::kube_conformance;
use crate::support::cluster;

fn api() -> KubeApi {
    KubeApi::new(Arc::new(TimerClock::starting_at("2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap())))
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "default")
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_behaves_as_the_operator_expects() {
    let api = api();
    api.add_namespace("conformance");
    kube_conformance::conformance(&api.client("conformance/1"), "conformance").await;
}

#[tokio::test]
async fn a_real_api_server_behaves_the_same() {
    let (client, namespace) = cluster::client_and_namespace("conformance").await;
    kube_conformance::conformance(&client, &namespace).await;
}

#[tokio::test(start_paused = true)]
async fn writes_are_logged_and_refusals_injected() {
    let api = api();
    let client = api.client("tester/1");
    maps(&client).create(&PostParams::default(), &map("a")).await.unwrap();
    maps(&client).get("a").await.unwrap();
    api.intercept(|call| if call.verb == Verb::Delete { Fault::Answer(StatusCode::CONFLICT) } else { Fault::None });
    let refused = maps(&client).delete("a", &DeleteParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.is_conflict()));
    let writes = api.writes();
    let summary: Vec<_> = writes.iter().map(|write| (write.call.verb, write.code, write.changed)).collect();
    assert_eq!(summary, [(Verb::Create, 201, true), (Verb::Delete, 409, false)]);
    assert_eq!(writes[0].call.user_agent, "tester/1");
    assert_eq!((api.count(Verb::Get), api.count(Verb::Create)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn answers_get_lost_and_come_late() {
    let api = api();
    let client = api.client("tester");
    api.intercept(|_| Fault::LoseAnswer);
    assert!(maps(&client).create(&PostParams::default(), &map("lost")).await.is_err());
    assert!(api.object("", "configmaps", "default", "lost").is_some(), "done, although the client got an error");
    api.intercept(|_| Fault::Refuse);
    assert!(maps(&client).create(&PostParams::default(), &map("refused")).await.is_err());
    assert!(api.object("", "configmaps", "default", "refused").is_none());
    api.intercept(|_| Fault::Late(Duration::from_secs(30)));
    let late = maps(&client);
    let params = PostParams::default();
    let late_map = map("late");
    let create = late.create(&params, &late_map);
    assert!(tokio::time::timeout(Duration::from_secs(10), create).await.is_err(), "the client gives up");
    assert!(api.object("", "configmaps", "default", "late").is_none());
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(api.object("", "configmaps", "default", "late").is_some(), "and the write arrives all the same");
    api.intercept(|_| Fault::Hang);
    let get = tokio::time::timeout(Duration::from_secs(3600), late.get("late"));
    assert!(get.await.is_err(), "never answered");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_survives_absence_and_lost_history() {
    let api = api();
    let client = api.client("tester");
    let stream = watcher::watcher(maps(&client), watcher::Config::default());
    pin_mut!(stream);
    let mut seen = async |wanted: &str| {
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(map) | Event::InitApply(map)) if map.metadata.name.as_deref() == Some(wanted) => return,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    };
    let add = async |name: &str| drop(maps(&client).create(&PostParams::default(), &map(name)).await.unwrap());
    add("one").await;
    seen("one").await;
    api.set_away(true);
    assert!(maps(&client).list(&ListParams::default()).await.is_err());
    api.set_away(false);
    add("two").await;
    seen("two").await;
    api.hold_watches(true);
    add("three").await;
    let early = tokio::time::timeout(Duration::from_secs(60), seen("three")).await;
    assert!(early.is_err(), "held back");
    api.compact();
    api.hold_watches(false);
    seen("three").await;
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_begins_with_what_is_there() {
    let api = api();
    let client = api.client("tester");
    maps(&client).create(&PostParams::default(), &map("one")).await.unwrap();
    let stream = watcher::watcher(maps(&client), watcher::Config::default().streaming_lists());
    let events: Vec<_> = stream.take(3).map(Result::unwrap).collect().await;
    assert!(matches!(&events[..], [Event::Init, Event::InitApply(_), Event::InitDone]), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_controller_runs_on_it_in_virtual_time() {
    let api = api();
    let client = api.client("tester");
    let count = Arc::new(AtomicU64::new(0));
    maps(&client).create(&PostParams::default(), &map("one")).await.unwrap();
    let controller = Controller::new(maps(&client), watcher::Config::default());
    let running = tokio::spawn(
        controller
            .run(
                |_, count: Arc<Arc<AtomicU64>>| async move {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, std::convert::Infallible>(Action::requeue(Duration::from_secs(3600)))
                },
                |_, _, _| Action::await_change(),
                Arc::new(count.clone()),
            )
            .for_each(|_| std::future::ready(())),
    );
    tokio::time::sleep(Duration::from_secs(10 * 3600 + 60)).await;
    assert_eq!(count.load(Ordering::Relaxed), 11, "once, and then every hour");
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    maps(&client).patch("one", &PatchParams::default(), &patch).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count.load(Ordering::Relaxed), 12);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn owners_and_namespaces_take_their_dependents_along() {
    let api = api();
    api.add_namespace("a");
    api.install(&kube_conformance::probe_definition());
    let client = api.client("tester");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "a");
    let owner = maps.create(&PostParams::default(), &map("owner")).await.unwrap();
    let dependent = json!({"metadata": {"name": "owned", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid},
    ]}});
    maps.create(&PostParams::default(), &serde_json::from_value(dependent).unwrap()).await.unwrap();
    api.run_controllers();
    assert!(api.object("", "configmaps", "a", "owned").is_some());
    maps.delete("owner", &DeleteParams::foreground()).await.unwrap();
    assert!(api.object("", "configmaps", "a", "owner").is_some(), "waits for its dependents");
    api.run_controllers();
    assert!(api.objects("", "configmaps").is_empty());
    maps.create(&PostParams::default(), &map("other")).await.unwrap();
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    namespaces.delete("a", &DeleteParams::default()).await.unwrap();
    api.run_controllers();
    assert!(api.object("", "namespaces", "", "a").is_none() && api.objects("", "configmaps").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_owner_may_leave_its_dependents_behind() {
    let api = api();
    let client = api.client("tester");
    let owner = maps(&client).create(&PostParams::default(), &map("owner")).await.unwrap();
    let dependent = json!({"metadata": {"name": "owned", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid},
    ]}});
    maps(&client).create(&PostParams::default(), &serde_json::from_value(dependent).unwrap()).await.unwrap();
    maps(&client).delete("owner", &DeleteParams::orphan()).await.unwrap();
    assert!(maps(&client).get_opt("owner").await.unwrap().is_some(), "the garbage collector comes first");
    api.run_controllers();
    assert!(maps(&client).get_opt("owner").await.unwrap().is_none());
    let left = maps(&client).get("owned").await.unwrap();
    assert_eq!(left.metadata.owner_references.unwrap_or_default().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn partial_objects_and_dry_runs() {
    let api = api();
    let client = api.client("tester");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps(&client).create(&dry, &map("dry")).await.unwrap();
    assert!(api.objects("", "configmaps").is_empty());
    maps(&client).create(&PostParams::default(), &map("one")).await.unwrap();
    let partial = maps(&client).list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(partial.items.len(), 1);
    let object: DynamicObject = serde_json::from_value(api.objects("", "configmaps").remove(0)).unwrap();
    assert_eq!(object.metadata.creation_timestamp.unwrap().0.to_string(), "2026-11-01T00:00:00Z");
}
