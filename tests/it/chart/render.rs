//! What the chart renders and what it refuses, by helm alone.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use stevedore::controlplane::Binaries;

use super::folder;

/// The one value that has no default.
pub(super) const IMAGE: &str = r#"image.repository="registry.example.org/stevedore""#;

/// Runs helm on the chart without a cluster: its output, or what it complains of.
fn helm(command: &[&str], sets: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let mut helm = Command::new(Binaries::find().unwrap().helm);
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(name, home.path());
    }
    helm.args(command).arg(folder()).args(["--set-json", IMAGE]);
    for set in sets {
        helm.args(["--set-json", set]);
    }
    let output = helm.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr) + &text(output.stdout)) }
}

/// The objects that an installation called `release` in the namespace `ops` consists of.
fn render(sets: &[&str]) -> Vec<Value> {
    let yaml = helm(&["template", "release", "--namespace=ops"], sets).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&yaml).map(|document| {
        let value: serde_yaml::Value = serde::Deserialize::deserialize(document).unwrap();
        serde_json::to_value(value).unwrap()
    });
    documents.filter(|object| !object.is_null()).collect()
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    object
}

fn kinds(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Every toggle in its other position; all of them are linted, rendered and installed.
pub(super) const TOGGLES: [&[&str]; 9] = [
    &[],
    &["crds.enabled=false"],
    &["rbac.create=false"],
    &["rbac.aggregate=false"],
    &["serviceAccount.create=false", r#"serviceAccount.name="mine""#],
    &["replicas=3", r#"lease={"duration":"1m30s","renewInterval":"5s"}"#, r#"logFormat="text""#],
    &[r#"extraArgs=["--allowed-endpoints=10.0.0.0/8"]"#, r#"extraEnv=[{"name":"A","value":"b"}]"#],
    &[r#"image={"repository":"r/s","tag":"x","pullPolicy":"Always"}"#, r#"imagePullSecrets=[{"name":"key"}]"#],
    &[
        r#"fullnameOverride="other""#,
        r#"podLabels={"a":"b"}"#,
        r#"podAnnotations={"a":"b"}"#,
        r#"nodeSelector={"a":"b"}"#,
        r#"tolerations=[{"operator":"Exists"}]"#,
        r#"affinity={"podAntiAffinity":{}}"#,
        r#"priorityClassName="high""#,
        r#"serviceAccount={"create":true,"name":"","annotations":{"a":"b"}}"#,
    ],
];

#[test]
fn every_toggle_is_linted_and_rendered() {
    for sets in TOGGLES {
        helm(&["lint", "--strict"], sets).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
        assert!(kinds(&render(sets)).contains("Deployment"), "{sets:?}");
    }
}

#[test]
fn the_definitions_are_the_generated_ones_and_stay_after_an_uninstall() {
    let objects = render(&[]);
    for file in std::fs::read_dir(folder().join("../../crds")).unwrap() {
        let file = file.unwrap();
        let generated = std::fs::read_to_string(file.path()).unwrap();
        let in_chart = std::fs::read_to_string(folder().join("files/crds").join(file.file_name())).unwrap();
        assert!(generated == in_chart, "{} differs in the chart: run `make crds`", file.path().display());
        let mut expected: Value = serde_yaml::from_str(&generated).unwrap();
        expected["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
        let name = expected["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(*named(&objects, "CustomResourceDefinition", &name) == expected, "{name} is changed by the template");
    }
}

#[test]
fn the_operator_may_do_what_it_needs_and_no_more() {
    let objects = render(&[]);
    let rules = |kind, name| -> Vec<String> {
        let rules = named(&objects, kind, name)["rules"].as_array().unwrap();
        rules.iter().map(rule).collect()
    };
    let cluster = rules("ClusterRole", "release-stevedore");
    assert_eq!(
        cluster,
        [
            " configmaps,secrets: get,patch",
            " namespaces: get",
            "apiextensions.k8s.io customresourcedefinitions [hypervisors.stevedore.dev,workers.stevedore.dev,\
             workersessions.stevedore.dev,workertasks.stevedore.dev]: get",
            "events.k8s.io events: create,patch",
            "stevedore.dev hypervisors,workers,workersessions,workertasks: get,list,patch,watch",
            "stevedore.dev hypervisors/status,workers/status,workersessions/status,workertasks/status: patch",
            "stevedore.dev workersessions,workertasks: delete",
            "stevedore.dev workertasks: create",
            "stevedore.dev workersessions/finalizers: update",
        ]
    );
    let leases = ["coordination.k8s.io leases: create", "coordination.k8s.io leases [stevedore]: get,update"];
    assert_eq!(rules("Role", "release-stevedore"), leases);
    assert_eq!(one(&objects, "Role")["metadata"]["namespace"], "ops");
}

#[test]
fn the_role_is_for_the_lease_that_the_arguments_name() {
    let objects = render(&[r#"extraArgs=["--log=debug","--lease-name=mine"]"#]);
    let rules = one(&objects, "Role")["rules"].as_array().unwrap();
    assert_eq!(rule(&rules[1]), "coordination.k8s.io leases [mine]: get,update");
}

/// A rule in one line. Its lists are in the order of the alphabet.
fn rule(rule: &Value) -> String {
    let list = |field: &str| {
        let words: Vec<_> = rule[field].as_array().into_iter().flatten().map(|word| word.as_str().unwrap()).collect();
        assert!(words.is_sorted(), "{field} is not in order: {words:?}");
        words.join(",")
    };
    let names = list("resourceNames");
    let names = if names.is_empty() { names } else { format!(" [{names}]") };
    format!("{} {}{names}: {}", list("apiGroups"), list("resources"), list("verbs"))
}

#[test]
fn toggles_do_what_they_say() {
    let gone = |sets: &[&str]| -> Vec<String> {
        let all = kinds(&render(&[]));
        all.difference(&kinds(&render(sets))).cloned().collect()
    };
    assert_eq!(gone(&["crds.enabled=false"]), ["CustomResourceDefinition"]);
    assert_eq!(gone(&["rbac.create=false"]), ["ClusterRoleBinding", "Role", "RoleBinding"]);
    assert_eq!(gone(&["rbac.create=false", "rbac.aggregate=false"])[0], "ClusterRole");
    let mine = ["serviceAccount.create=false", r#"serviceAccount.name="mine""#];
    assert_eq!(gone(&mine), ["ServiceAccount"]);
    let objects = render(&mine);
    assert_eq!(one(&objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"], "mine");
    assert_eq!(one(&objects, "ClusterRoleBinding")["subjects"][0]["name"], "mine");
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = format!(r#"image={{"repository":"r/s","tag":"x","digest":"{digest}"}}"#);
    let objects = render(&[&image]);
    let container = &one(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], format!("r/s@{digest}"));
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (set, complaint) in [
        ("replica=2", "replica"),
        (r#"replicas="2""#, "replicas"),
        ("replicas=-1", "replicas"),
        (r#"logFormat="xml""#, "logFormat"),
        (r#"lease.duration="60""#, "duration"),
        (r#"lease.duration="""#, "duration"),
        (r#"lease.duration="0s""#, "duration"),
        (r#"lease.duration="30s1m""#, "duration"),
        ("lease.jitter=1", "jitter"),
        (r#"image.digest="latest""#, "digest"),
        (r#"image.repository="""#, "image.repository is needed: no image is published"),
        (r#"crds.enabled="yes""#, "enabled"),
        ("crds.keep=false", "keep"),
        (r#"extraArgs=["run"]"#, "extraArgs"),
        (r#"resources.limits={"memory":"lots"}"#, "memory"),
        ("serviceAccount.create=false", "serviceAccount.name is needed"),
        (r#"serviceAccount.name="Not_A_Name""#, "name"),
    ] {
        let error = helm(&["template", "release"], &[set]).expect_err(set);
        assert!(error.contains(complaint), "{set}: {error}");
    }
}
