//! A real API server takes what the operator writes of sessions, and finds it as the operator looks for it.

use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use stevedore::api::{WorkerSession, WorkerTask};

use super::lab::{Lab, runs, session};
use crate::crash::world::in_virtual_time;
use crate::support::{cluster, crds};

/// Sessions and tasks in every phase, as they are written in memory.
fn written() -> [Vec<Value>; 2] {
    in_virtual_time(async {
        let mut lab = Lab::with_worker().await;
        let vms = json!([{"id": "101"}, {"name": "nobody"}, {"name": "debian-worker"}, {"id": "102"}, {"id": "103"}]);
        lab.declare(session("night", &vms, &runs(&["sh", "-c", "echo told; exit 3"]))).await;
        lab.phase("night", "Failed").await;
        lab.declare(session("day", &vms, &json!({}))).await;
        lab.until("day", |status| status.tasks.unwrap_or_default().running == 2).await;
        lab.declare(session("late", &json!([{"id": "999"}]), &json!({"spec": {"hypervisorRef": {"name": "none"}}})))
            .await;
        lab.phase("late", "Pending").await;
        lab.world.kube.run_controllers();
        ["workersessions", "workertasks"].map(|resource| lab.world.kube.objects("stevedore.dev", resource))
    })
}

/// Makes an object like this one, and gives it the same status.
async fn make<K>(api: &Api<K>, object: &Value)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug,
    K: serde::Serialize + serde::de::DeserializeOwned,
{
    let name = object["metadata"]["name"].as_str().unwrap();
    let mut plain = object.clone();
    plain["metadata"] = json!({"name": name, "finalizers": []});
    let status = plain.as_object_mut().unwrap().remove("status").unwrap();
    let params = PostParams { field_manager: Some("stevedore".into()), ..PostParams::default() };
    api.create(&params, &serde_json::from_value(plain.clone()).unwrap()).await.unwrap();
    let body = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": name}, "status": status});
    let applied = PatchParams::apply("stevedore").force();
    let made = api.patch_status(name, &applied, &Patch::Apply(&body)).await.unwrap();
    let kept = serde_json::to_value(&made).unwrap();
    assert_eq!(kept["status"], status, "{name}: the API server keeps all of it");
    assert_eq!(kept["spec"], object["spec"], "{name}");
}

#[test]
fn a_real_api_server_takes_what_is_written() {
    let [sessions, tasks] = written();
    assert_eq!((sessions.len(), tasks.len()), (3, 10));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, namespace) = cluster::client_and_namespace("sessions").await;
        crds::installed(&client).await;
        let session_api = Api::<WorkerSession>::namespaced(client.clone(), &namespace);
        let task_api = Api::<WorkerTask>::namespaced(client, &namespace);
        for session in &sessions {
            make(&session_api, session).await;
        }
        for task in &tasks {
            make(&task_api, task).await;
        }
        let params = ListParams::default().fields("spec.sessionRef.name=day").limit(3);
        let page = task_api.list(&params).await.unwrap();
        assert!(
            page.items.iter().all(|task| task.spec.session_ref.name == "day" && task.name_any().starts_with("day-"))
        );
        let next = params.continue_token(&page.metadata.continue_.clone().unwrap());
        let rest = task_api.list(&next).await.unwrap();
        assert_eq!((page.items.len(), rest.items.len()), (3, 2));
    });
}
