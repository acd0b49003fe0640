//! How the Kubernetes API behaves where the operator relies on it. The same checks run on the API in memory and on a
//! real API server, so that the one cannot drift from the other.

use futures::{StreamExt as _, TryStreamExt as _, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

const GROUP: &str = "conformance.stevedore.dev";

/// Runs all checks in a namespace that exists. It installs a custom resource definition of its own.
pub(crate) async fn conformance(client: &Client, namespace: &str) {
    install_probe_definition(client).await;
    let probes = Probes { api: Api::namespaced_with(client.clone(), namespace, &probe_resource()) };
    probes.create_and_find().await;
    probes.status_is_apart().await;
    probes.defaults_and_refusals().await;
    probes.stale_writes_conflict().await;
    probes.generation_counts_the_spec().await;
    probes.json_patch_that_does_not_fit().await;
    probes.writes_that_change_nothing().await;
    probes.another_uid_is_not_seen_on_status().await;
    probes.finalizers_hold_a_deletion().await;
    probes.unknown_fields().await;
    probes.apply_owns_and_removes().await;
    probes.apply_conflicts_and_co_owners().await;
    probes.conditions_of_two_managers().await;
    probes.apply_to_what_is_absent().await;
    probes.lists().await;
    probes.watches().await;
    leases_compare_and_swap(&Api::namespaced(client.clone(), namespace)).await;
    finalizers_by_json_patch(&Api::namespaced(client.clone(), namespace)).await;
    terminating_namespace(client, namespace).await;
}

fn probe_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", "Probe"), "probes")
}

pub(crate) fn probe_definition() -> CustomResourceDefinition {
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": {"type": "string"}, "status": {"type": "string"}, "reason": {"type": "string"},
    }});
    let spec = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer"}, "mode": {"type": "string", "default": "Plain"},
        "list": {"type": "array", "items": {"type": "string"}},
    }});
    let status = json!({"type": "object", "properties": {
        "phase": {"type": "string"}, "note": {"type": "string"},
        "vm": {"type": "object", "properties": {"id": {"type": "string"}, "host": {"type": "string"}}},
        "operation": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "conditions": {"type": "array", "items": condition,
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    }});
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("probes.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"plural": "probes", "singular": "probe", "kind": "Probe", "listKind": "ProbeList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"],
                    "properties": {"spec": spec, "status": status}}},
            }],
        },
    }))
    .unwrap()
}

async fn install_probe_definition(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = probe_definition();
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    await_condition(definitions, &definition.name_any(), is_crd_established()).await.unwrap();
}

/// The status code and reason of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn conflict() -> (u16, String) {
    (409, "Conflict".into())
}

fn json_patch(operations: Value) -> Patch<Value> {
    Patch::Json(serde_json::from_value(operations).unwrap())
}

fn version(object: &DynamicObject) -> String {
    object.resource_version().unwrap()
}

struct Probes {
    api: Api<DynamicObject>,
}

impl Probes {
    fn probe(name: &str, spec: &Value) -> DynamicObject {
        DynamicObject::new(name, &probe_resource()).data(json!({"spec": spec}))
    }

    async fn make(&self, name: &str) -> DynamicObject {
        self.api.create(&PostParams::default(), &Self::probe(name, &json!({"size": 1}))).await.unwrap()
    }

    async fn patch_status(&self, name: &str, operations: Value) -> Result<DynamicObject, kube::Error> {
        self.api.patch_status(name, &PatchParams::default(), &json_patch(operations)).await
    }

    async fn apply_status(&self, name: &str, manager: &str, status: Value) -> Result<DynamicObject, kube::Error> {
        self.apply_status_with(name, &PatchParams::apply(manager).force(), json!({"name": name}), status).await
    }

    async fn apply_status_with(
        &self,
        name: &str,
        params: &PatchParams,
        metadata: Value,
        status: Value,
    ) -> Result<DynamicObject, kube::Error> {
        let body =
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Probe", "metadata": metadata, "status": status});
        self.api.patch_status(name, params, &Patch::Apply(body)).await
    }

    async fn create_and_find(&self) {
        let made = self.make("found").await;
        assert!(made.uid().is_some() && made.creation_timestamp().is_some() && made.resource_version().is_some());
        let again = self.api.create(&PostParams::default(), &Self::probe("found", &json!({"size": 1}))).await;
        assert_eq!(refusal(again), (409, "AlreadyExists".into()));
        assert_eq!(self.api.get("found").await.unwrap().uid(), made.uid());
        assert_eq!(refusal(self.api.get("lost").await), (404, "NotFound".into()));
        assert!(self.api.get_opt("lost").await.unwrap().is_none());
        let mut nameless = Self::probe("", &json!({"size": 1}));
        nameless.metadata.name = None;
        nameless.metadata.generate_name = Some("made-".into());
        let named = self.api.create(&PostParams::default(), &nameless).await.unwrap();
        assert!(named.name_any().starts_with("made-") && named.name_any().len() > 5);
    }

    async fn status_is_apart(&self) {
        let mut probe = Self::probe("apart", &json!({"size": 1}));
        probe.data["status"] = json!({"phase": "Forged"});
        let made = self.api.create(&PostParams::default(), &probe).await.unwrap();
        assert!(made.data.get("status").is_none(), "status is dropped at creation");
        let both = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"size": 2}, "status": {"phase": "Real"}});
        let by_status = self.api.patch_status("apart", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
        assert_eq!((&by_status.data["spec"]["size"], &by_status.data["status"]["phase"]), (&json!(1), &json!("Real")));
        assert!(by_status.labels().is_empty());
        let both = json!({"spec": {"size": 3}, "status": {"phase": "Forged"}});
        let by_main = self.api.patch("apart", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
        assert_eq!((&by_main.data["spec"]["size"], &by_main.data["status"]["phase"]), (&json!(3), &json!("Real")));
        let without = self.patch_status("apart", json!([{"op": "remove", "path": "/status"}])).await.unwrap();
        assert!(without.data.get("status").is_none());
    }

    async fn defaults_and_refusals(&self) {
        assert_eq!(self.make("default").await.data["spec"]["mode"], "Plain");
        for wrong in [&json!({}), &json!({"size": "1"})] {
            let refused = self.api.create(&PostParams::default(), &Self::probe("wrong", wrong)).await;
            assert_eq!(refusal(refused), (422, "Invalid".into()));
        }
        let wrong =
            self.patch_status("default", json!([{"op": "add", "path": "/status", "value": {"phase": 1}}])).await;
        assert_eq!(refusal(wrong).0, 422);
    }

    async fn stale_writes_conflict(&self) {
        let old = version(&self.make("stale").await);
        let first = json!([{"op": "add", "path": "/status", "value": {"phase": "One"}}]);
        let fresh = version(&self.patch_status("stale", first).await.unwrap());
        let claim = |version: &str| {
            json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
                {"op": "add", "path": "/status/operation", "value": {"id": "op-1", "null": null}},
            ])
        };
        assert_eq!(refusal(self.patch_status("stale", claim(&old)).await), conflict());
        let merge = json!({"metadata": {"resourceVersion": old}, "status": {"phase": "One"}});
        let merged = self.api.patch_status("stale", &PatchParams::default(), &Patch::Merge(&merge)).await;
        assert_eq!(refusal(merged), conflict(), "even with identical content");
        let metadata = json!({"name": "stale", "resourceVersion": old});
        let params = PatchParams::apply("conformance").force();
        let applied = self.apply_status_with("stale", &params, metadata, json!({"phase": "One"})).await;
        assert_eq!(refusal(applied), conflict());
        let mut whole = self.api.get("stale").await.unwrap();
        whole.metadata.resource_version = Some(old);
        assert_eq!(refusal(self.api.replace("stale", &PostParams::default(), &whole).await), conflict());
        whole.metadata.resource_version = None;
        assert_eq!(refusal(self.api.replace("stale", &PostParams::default(), &whole).await).0, 422);
        let claimed = self.patch_status("stale", claim(&fresh)).await.unwrap();
        assert_eq!(claimed.data["status"]["operation"], json!({"id": "op-1", "null": null}));
        let metadata = json!({"name": "stale", "resourceVersion": version(&claimed)});
        let applied = self.apply_status_with("stale", &params, metadata, json!({"phase": "Two"})).await.unwrap();
        assert_eq!(applied.data["status"]["phase"], "Two");
    }

    async fn generation_counts_the_spec(&self) {
        assert_eq!(self.make("generation").await.metadata.generation, Some(1));
        let patch = async |patch: Value| {
            let patched = self.api.patch("generation", &PatchParams::default(), &Patch::Merge(&patch)).await;
            patched.unwrap().metadata.generation
        };
        assert_eq!(patch(json!({"metadata": {"labels": {"a": "b"}}})).await, Some(1));
        assert_eq!(patch(json!({"spec": {"size": 2}})).await, Some(2));
        let status = json!([{"op": "add", "path": "/status", "value": {"phase": "One"}}]);
        assert_eq!(self.patch_status("generation", status).await.unwrap().metadata.generation, Some(2));
    }

    async fn json_patch_that_does_not_fit(&self) {
        self.make("patched").await;
        let early = json!([{"op": "add", "path": "/status/operation", "value": {}}]);
        assert_eq!(refusal(self.patch_status("patched", early).await).0, 422, "there is no status to add to");
        let test = json!([{"op": "test", "path": "/spec/size", "value": 7}]);
        let tested = self.api.patch("patched", &PatchParams::default(), &json_patch(test)).await;
        assert_eq!(refusal(tested).0, 422);
        let absent = json!([{"op": "add", "path": "/status", "value": {}}]);
        assert_eq!(refusal(self.patch_status("absent", absent).await), (404, "NotFound".into()));
    }

    async fn writes_that_change_nothing(&self) {
        self.make("same").await;
        let status = json!({"phase": "One"});
        let first = self.apply_status("same", "conformance", status.clone()).await.unwrap();
        let again = self.apply_status("same", "conformance", status.clone()).await.unwrap();
        assert_eq!(version(&first), version(&again));
        let patch = json!([{"op": "add", "path": "/status", "value": status}]);
        assert_eq!(version(&first), version(&self.patch_status("same", patch).await.unwrap()));
    }

    async fn another_uid_is_not_seen_on_status(&self) {
        self.make("uid").await;
        let patch = json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "status": {"phase": "Late"}});
        let written = self.api.patch_status("uid", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        assert_eq!(written.data["status"]["phase"], "Late");
    }

    async fn finalizers_hold_a_deletion(&self) {
        let mut probe = Self::probe("held", &json!({"size": 1}));
        probe.metadata.finalizers = Some(vec!["stevedore.dev/a".into(), "stevedore.dev/b".into()]);
        self.api.create(&PostParams::default(), &probe).await.unwrap();
        let answer = self.api.delete("held", &DeleteParams::default()).await.unwrap();
        let held = answer.left().expect("an object that is still there");
        assert!(held.metadata.deletion_timestamp.is_some());
        let set = async |finalizers: Value| {
            let patch = json!([{"op": "replace", "path": "/metadata/finalizers", "value": finalizers}]);
            self.api.patch("held", &PatchParams::default(), &json_patch(patch)).await
        };
        let more = set(json!(["stevedore.dev/a", "stevedore.dev/b", "stevedore.dev/c"])).await;
        assert_eq!(refusal(more).0, 422, "no new finalizers on the way out");
        set(json!(["stevedore.dev/a"])).await.unwrap();
        let status = json!([{"op": "add", "path": "/status", "value": {"phase": "Leaving"}}]);
        self.patch_status("held", status).await.unwrap();
        set(json!([])).await.unwrap();
        assert!(self.api.get_opt("held").await.unwrap().is_none());
        self.make("free").await;
        assert!(self.api.delete("free", &DeleteParams::default()).await.unwrap().is_right());
        assert_eq!(refusal(self.api.delete("free", &DeleteParams::default()).await).0, 404);
    }

    async fn unknown_fields(&self) {
        self.make("unknown").await;
        let patch = json!([{"op": "add", "path": "/status", "value": {"phase": "One", "later": {"a": 1}}}]);
        let pruned = self.patch_status("unknown", patch).await.unwrap();
        assert_eq!(pruned.data["status"], json!({"phase": "One"}), "pruned without a word");
        let applied = self.apply_status("unknown", "conformance", json!({"later": {"a": 1}})).await;
        assert_eq!(refusal(applied).0, 500);
        let deep = json!([{"op": "add", "path": "/status/operation", "value": {"any": [{"thing": null}]}}]);
        let kept = self.patch_status("unknown", deep).await.unwrap();
        assert_eq!(kept.data["status"]["operation"], json!({"any": [{"thing": null}]}));
    }

    async fn apply_owns_and_removes(&self) {
        self.make("owned").await;
        let full = json!({"phase": "One", "note": "n", "vm": {"id": "100", "host": "pve1"}});
        self.apply_status("owned", "conformance", full).await.unwrap();
        let fewer = self.apply_status("owned", "conformance", json!({"phase": "One", "vm": {"id": "100"}})).await;
        assert_eq!(fewer.unwrap().data["status"], json!({"phase": "One", "vm": {"id": "100"}}));
        let fewer = self.apply_status("owned", "conformance", json!({"phase": "One"})).await.unwrap();
        assert_eq!(fewer.data["status"], json!({"phase": "One"}), "an emptied object goes too");
        let none = self.apply_status("owned", "conformance", json!({})).await;
        assert_eq!(refusal(none).0, 422, "the last owned field takes the status away");
    }

    async fn apply_conflicts_and_co_owners(&self) {
        self.make("shared").await;
        self.apply_status("shared", "one", json!({"phase": "One", "note": "n"})).await.unwrap();
        let gentle = PatchParams::apply("two");
        let metadata = json!({"name": "shared"});
        let other = self.apply_status_with("shared", &gentle, metadata.clone(), json!({"phase": "Two"})).await;
        assert_eq!(refusal(other), conflict());
        self.apply_status_with("shared", &gentle, metadata, json!({"phase": "One"})).await.unwrap();
        let left = self.apply_status("shared", "one", json!({"note": "n"})).await.unwrap();
        assert_eq!(left.data["status"]["phase"], "One", "a co-owned field stays when one owner leaves it out");
        let patch = json!({"status": {"note": "edited"}});
        let edit = PatchParams { field_manager: Some("editor".into()), ..PatchParams::default() };
        self.api.patch_status("shared", &edit, &Patch::Merge(&patch)).await.unwrap();
        let left = self.apply_status("shared", "one", json!({"phase": "One"})).await.unwrap();
        assert_eq!(left.data["status"]["note"], "edited", "what another manager changed is no longer ours to remove");
        let forced = self.apply_status("shared", "one", json!({"phase": "One", "note": "ours"})).await.unwrap();
        assert_eq!(forced.data["status"]["note"], "ours");
    }

    async fn conditions_of_two_managers(&self) {
        self.make("conditions").await;
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let both = json!({"conditions": [condition("Ready", "True"), condition("Tested", "False")]});
        self.apply_status("conditions", "one", both).await.unwrap();
        let third = json!({"conditions": [condition("Deployed", "True")]});
        self.apply_status("conditions", "two", third).await.unwrap();
        let fewer = json!({"conditions": [condition("Ready", "False")]});
        let after = self.apply_status("conditions", "one", fewer).await.unwrap();
        let conditions = json!([condition("Ready", "False"), condition("Deployed", "True")]);
        assert_eq!(after.data["status"]["conditions"], conditions);
    }

    async fn apply_to_what_is_absent(&self) {
        let absent = self.apply_status("absent", "conformance", json!({"phase": "One"})).await;
        assert_eq!(refusal(absent), (404, "NotFound".into()));
        let params = PatchParams::apply("conformance").force();
        let body = |data: Value| {
            let mut probe = DynamicObject::new("applied", &probe_resource()).data(data);
            probe.metadata.finalizers = Some(vec!["stevedore.dev/a".into()]);
            Patch::Apply(probe)
        };
        let only_finalizer = self.api.patch("applied", &params, &body(json!({}))).await;
        assert_eq!(refusal(only_finalizer).0, 422, "it tries to create the object");
        let made = self.api.patch("applied", &params, &body(json!({"spec": {"size": 1}}))).await.unwrap();
        assert_eq!((made.metadata.generation, made.finalizers().len()), (Some(1), 1));
        let managers = made.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect::<Vec<_>>();
        assert_eq!(managers, ["conformance"]);
    }

    async fn lists(&self) {
        for index in 0..5 {
            let mut probe = Self::probe(&format!("listed-{index}"), &json!({"size": index}));
            probe.metadata.labels = Some([("set".into(), if index < 3 { "low" } else { "high" }.into())].into());
            self.api.create(&PostParams::default(), &probe).await.unwrap();
        }
        let names = async |params: ListParams| {
            let list = self.api.list(&params).await.unwrap();
            list.items.iter().map(kube::ResourceExt::name_any).collect::<Vec<_>>()
        };
        assert_eq!(names(ListParams::default().labels("set=high")).await, ["listed-3", "listed-4"]);
        assert_eq!(
            names(ListParams::default().labels("set in (low)").fields("metadata.name=listed-1")).await,
            ["listed-1"]
        );
        let page = self.api.list(&ListParams::default().labels("set").limit(2)).await.unwrap();
        let token = page.metadata.continue_.clone().expect("more pages");
        assert_eq!(page.items.len(), 2);
        let rest = names(ListParams::default().labels("set").limit(10).continue_token(&token)).await;
        assert_eq!(rest, ["listed-2", "listed-3", "listed-4"]);
    }

    async fn watches(&self) {
        let from = self.api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        let params = WatchParams::default().labels("watched=yes").timeout(20);
        let events = self.api.watch(&params, &from).await.unwrap();
        pin_mut!(events);
        let label = |value: &str| json!({"metadata": {"labels": {"watched": value}}});
        let mut probe = Self::probe("watched", &json!({"size": 1}));
        probe.metadata.labels = Some([("watched".to_owned(), "yes".to_owned())].into());
        self.api.create(&PostParams::default(), &probe).await.unwrap();
        self.make("unwatched").await;
        let write = async |patch: Value| {
            self.api.patch("watched", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        };
        write(json!({"spec": {"size": 2}})).await;
        write(label("no")).await;
        write(label("yes")).await;
        self.api.delete("watched", &DeleteParams::default()).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 5 {
            match events.try_next().await.unwrap().expect("the watch ended early") {
                WatchEvent::Added(_) => seen.push("added"),
                WatchEvent::Modified(_) => seen.push("modified"),
                WatchEvent::Deleted(_) => seen.push("deleted"),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => panic!("{status:?}"),
            }
        }
        assert_eq!(seen, ["added", "modified", "deleted", "added", "deleted"]);
        let existing = self.api.watch(&WatchParams::default().labels("set=low").timeout(20), "0").await.unwrap();
        let existing: Vec<_> = existing.take(3).try_collect().await.unwrap();
        assert!(existing.iter().all(|event| matches!(event, WatchEvent::Added(_))));
    }
}

async fn leases_compare_and_swap(leases: &Api<Lease>) {
    let lease = |holder: &str, version: Option<String>| -> Lease {
        serde_json::from_value(json!({
            "metadata": {"name": "swap", "resourceVersion": version}, "spec": {"holderIdentity": holder},
        }))
        .unwrap()
    };
    let params = PostParams::default();
    let first = leases.create(&params, &lease("a", None)).await.unwrap();
    assert_eq!(refusal(leases.create(&params, &lease("b", None)).await), (409, "AlreadyExists".into()));
    let second = leases.replace("swap", &params, &lease("b", first.resource_version())).await.unwrap();
    assert_eq!(refusal(leases.replace("swap", &params, &lease("c", first.resource_version())).await), conflict());
    assert_eq!(leases.get("swap").await.unwrap().spec.unwrap().holder_identity.as_deref(), Some("b"));
    assert_ne!(first.resource_version(), second.resource_version());
    let delete = DeleteParams::default()
        .preconditions(kube::api::Preconditions { resource_version: first.resource_version(), uid: None });
    assert_eq!(refusal(leases.delete("swap", &delete).await), conflict());
    leases.delete("swap", &DeleteParams::default()).await.unwrap();
}

async fn finalizers_by_json_patch(maps: &Api<ConfigMap>) {
    let absent = json!([{"op": "add", "path": "/metadata/finalizers", "value": ["stevedore.dev/in-use.x"]}]);
    let patched = maps.patch("absent", &PatchParams::default(), &json_patch(absent.clone())).await;
    assert_eq!(refusal(patched), (404, "NotFound".into()));
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "ca"}, "data": {"ca.crt": "x"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let held = maps.patch("ca", &PatchParams::default(), &json_patch(absent)).await.unwrap();
    assert_eq!(held.finalizers(), ["stevedore.dev/in-use.x"]);
    let release = json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": held.resource_version()},
        {"op": "test", "path": "/metadata/finalizers/0", "value": "stevedore.dev/in-use.x"},
        {"op": "remove", "path": "/metadata/finalizers/0"},
    ]);
    let free = maps.patch("ca", &PatchParams::default(), &json_patch(release)).await.unwrap();
    assert!(free.finalizers().is_empty());
    let without_version: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "ca"}, "data": {"ca.crt": "y"}})).unwrap();
    maps.replace("ca", &PostParams::default(), &without_version).await.unwrap();
    maps.delete("ca", &DeleteParams::default()).await.unwrap();
}

async fn terminating_namespace(client: &Client, near: &str) {
    let name = format!("{near}-leaving");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let probes = Probes { api: Api::namespaced_with(client.clone(), &name, &probe_resource()) };
    let mut held = Probes::probe("held", &json!({"size": 1}));
    held.metadata.finalizers = Some(vec!["stevedore.dev/a".into()]);
    probes.api.create(&PostParams::default(), &held).await.unwrap();
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    let new = probes.api.create(&PostParams::default(), &Probes::probe("new", &json!({"size": 1}))).await;
    assert_eq!(refusal(new), (403, "Forbidden".into()));
    let status = json!([{"op": "add", "path": "/status", "value": {"phase": "Leaving"}}]);
    probes.patch_status("held", status).await.unwrap();
    let release = json!({"metadata": {"finalizers": null}});
    probes.api.patch("held", &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
}
