//! What a Deployment would have the kubelet run, read so that it can be run as a plain process.
//!
//! Only what an operator's Deployment needs is understood; anything else is refused rather than left out.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, KeyToPath, ObjectFieldSelector, PodSpec, Secret, Volume, VolumeMount,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::Error;

/// A program's arguments, surroundings and rights, as a Deployment's only container has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The namespace of the Pod.
    pub namespace: String,
    /// The name of the Pod.
    pub pod_name: String,
    /// The ServiceAccount that the Pod runs as.
    pub service_account: String,
    /// What comes after the program's name; `$(NAME)` is replaced already.
    pub args: Vec<String>,
    /// The environment: literal values, the downward API, and keys of a Secret or ConfigMap.
    pub env: BTreeMap<String, String>,
    /// The folders that are mounted.
    pub mounts: Vec<Mount>,
}

/// A folder that is mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, such as `/etc/stevedore`.
    pub path: String,
    /// The files of a Secret or ConfigMap by their paths in the folder; none for an `emptyDir`.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl ProcessSpec {
    /// Sets an argument of the form `--name=value`, in the place of one of that name or at the end. For what two processes
    /// on one machine cannot share, as two Pods can: a port.
    #[must_use]
    pub fn with_arg(mut self, name: &str, value: &str) -> Self {
        let (prefix, arg) = (format!("{name}="), format!("{name}={value}"));
        match self.args.iter_mut().find(|arg| arg.starts_with(&prefix)) {
            Some(present) => *present = arg,
            None => self.args.push(arg),
        }
        self
    }
}

/// Reads what the Pod number `replica` of a Deployment would run. Its name is the Deployment's with the number.
///
/// # Errors
///
/// If the Deployment, or a Secret or ConfigMap that it needs, is not there, or it says something that is not understood:
/// several containers, `envFrom`, volumes other than `configMap`, `secret` and `emptyDir`.
pub async fn read(client: &Client, namespace: &str, name: &str, replica: u32) -> Result<ProcessSpec, Error> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let deployment = deployments.get(name).await.map_err(Error::api(format!("no Deployment {namespace}/{name}")))?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec).unwrap_or_default();
    let pod_name = format!("{name}-{replica}");
    let service_account = pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned());
    let reader = Reader { client, namespace, name, pod_name: &pod_name, service_account: &service_account };
    let container = reader.container(&pod)?;
    let env = reader.env(container).await?;
    let args = args(container, &env);
    let mounts = reader.mounts(&pod, container).await?;
    Ok(ProcessSpec { namespace: namespace.to_owned(), pod_name, service_account, args, env, mounts })
}

/// Says in a Deployment's status that all its Pods are available, which nobody else does where there is no kubelet.
pub async fn mark_available(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let failed = || Error::api(format!("no status for Deployment {namespace}/{name}"));
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let deployment = deployments.get(name).await.map_err(failed())?;
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let condition = |kind: &str, reason: &str| json!({ "type": kind, "status": "True", "reason": reason });
    let status = json!({ "status": {
        "observedGeneration": deployment.metadata.generation,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        "conditions": [
            condition("Available", "MinimumReplicasAvailable"),
            condition("Progressing", "NewReplicaSetAvailable"),
        ],
    }});
    let params = PatchParams::default();
    deployments.patch_status(name, &params, &Patch::Merge(&status)).await.map_err(failed())?;
    Ok(())
}

/// Reads one Deployment.
struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
    name: &'a str,
    pod_name: &'a str,
    service_account: &'a str,
}

impl Reader<'_> {
    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        let (namespace, name) = (self.namespace.to_owned(), self.name.to_owned());
        Err(Error::Deployment { namespace, name, reason: reason.into() })
    }

    fn container<'p>(&self, pod: &'p PodSpec) -> Result<&'p Container, Error> {
        if pod.init_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
            return self.refuse("init containers cannot be run as a process");
        }
        match &pod.containers[..] {
            [container] if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) => {
                self.refuse("`envFrom` is not understood, only `env` is")
            }
            [container] => Ok(container),
            _ => self.refuse("only a Pod of one container can be run as a process"),
        }
    }

    async fn env(&self, container: &Container) -> Result<BTreeMap<String, String>, Error> {
        let mut env = BTreeMap::new();
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.value(variable, &env).await? {
                env.insert(variable.name.clone(), value);
            }
        }
        Ok(env)
    }

    /// None for a variable whose source is optional and not there.
    async fn value(&self, variable: &EnvVar, env: &BTreeMap<String, String>) -> Result<Option<String>, Error> {
        match &variable.value_from {
            None => Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), env))),
            Some(EnvVarSource { field_ref: Some(field), .. }) => self.field(field).map(Some),
            Some(EnvVarSource { secret_key_ref: Some(key), .. }) => {
                let files = self.secret(&key.name).await?;
                self.entry(files, &key.name, &key.key, key.optional)
            }
            Some(EnvVarSource { config_map_key_ref: Some(key), .. }) => {
                let files = self.config_map(&key.name).await?;
                self.entry(files, &key.name, &key.key, key.optional)
            }
            Some(_) => self.refuse(format!("the source of the variable {} is not understood", variable.name)),
        }
    }

    fn entry(
        &self,
        files: Option<Files>,
        object: &str,
        key: &str,
        optional: Option<bool>,
    ) -> Result<Option<String>, Error> {
        match files.unwrap_or_default().remove(key) {
            Some(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            None if optional == Some(true) => Ok(None),
            None => self.refuse(format!("there is no key {key} in {object}")),
        }
    }

    /// The downward API.
    fn field(&self, field: &ObjectFieldSelector) -> Result<String, Error> {
        match field.field_path.as_str() {
            "metadata.name" => Ok(self.pod_name.to_owned()),
            "metadata.namespace" => Ok(self.namespace.to_owned()),
            "spec.serviceAccountName" => Ok(self.service_account.to_owned()),
            "status.podIP" | "status.hostIP" => Ok("127.0.0.1".to_owned()),
            other => self.refuse(format!("the field {other} is not known of a process")),
        }
    }

    async fn mounts(&self, pod: &PodSpec, container: &Container) -> Result<Vec<Mount>, Error> {
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            let files = match volume {
                Some(volume) => self.files(volume, mount).await?,
                None => return self.refuse(format!("there is no volume {}", mount.name)),
            };
            mounts.push(Mount { path: mount.mount_path.clone(), files });
        }
        Ok(mounts)
    }

    async fn files(&self, volume: &Volume, mount: &VolumeMount) -> Result<Files, Error> {
        if mount.sub_path.is_some() || mount.sub_path_expr.is_some() {
            return self.refuse(format!("a part of the volume {} cannot be mounted, only all of it", volume.name));
        }
        let (files, items, optional) = if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            (self.secret(name).await?, &source.items, source.optional)
        } else if let Some(source) = &volume.config_map {
            (self.config_map(&source.name).await?, &source.items, source.optional)
        } else if volume.empty_dir.is_some() {
            (Some(Files::new()), &None, None)
        } else {
            return self.refuse(format!("the kind of the volume {} is not understood", volume.name));
        };
        match files {
            Some(files) => Ok(select(files, items.as_deref().unwrap_or_default())),
            None if optional == Some(true) => Ok(Files::new()),
            None => self.refuse(format!("what the volume {} is made of is not there", volume.name)),
        }
    }

    async fn secret(&self, name: &str) -> Result<Option<Files>, Error> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), self.namespace);
        let secret = secrets.get_opt(name).await.map_err(Error::api(format!("cannot read the Secret {name}")))?;
        Ok(secret.map(|secret| secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect()))
    }

    async fn config_map(&self, name: &str) -> Result<Option<Files>, Error> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), self.namespace);
        let map = maps.get_opt(name).await.map_err(Error::api(format!("cannot read the ConfigMap {name}")))?;
        Ok(map.map(|map| {
            let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
            let binary = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
            text.chain(binary).collect()
        }))
    }
}

type Files = BTreeMap<String, Vec<u8>>;

/// All arguments. The first word of `command` is the program, which the caller knows better.
fn args(container: &Container, env: &BTreeMap<String, String>) -> Vec<String> {
    let command = container.command.iter().flatten().skip(1);
    command.chain(container.args.iter().flatten()).map(|arg| expand(arg, env)).collect()
}

/// All files, or those that are listed, under their other names.
fn select(mut files: Files, items: &[KeyToPath]) -> Files {
    if items.is_empty() {
        return files;
    }
    items.iter().filter_map(|item| Some((item.path.clone(), files.remove(&item.key)?))).collect()
}

/// Replaces `$(NAME)` by the variable's value, as the kubelet does: an unknown one stays as it is, `$$` is a `$`.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let variable = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = match (after.strip_prefix('$'), variable) {
            (Some(after), _) => {
                expanded.push('$');
                after
            }
            (None, Some((name, after))) if env.contains_key(name) => {
                expanded.push_str(&env[name]);
                after
            }
            _ => {
                expanded.push('$');
                after
            }
        };
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_the_kubelet_does() {
        let env = BTreeMap::from([("POD".to_owned(), "p-0".to_owned())]);
        assert_eq!(expand("--id=$(POD)/$(POD)", &env), "--id=p-0/p-0");
        assert_eq!(expand("$(NONE) $POD $$(POD) 5$", &env), "$(NONE) $POD $(POD) 5$");
    }

    #[test]
    fn listed_keys_get_their_other_names_and_the_rest_is_left_out() {
        let files = Files::from([("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])]);
        let item = KeyToPath { key: "a".to_owned(), path: "sub/x".to_owned(), mode: None };
        assert_eq!(select(files, &[item]), Files::from([("sub/x".to_owned(), vec![1])]));
    }

    #[test]
    fn an_argument_is_set_in_its_place_or_at_the_end() {
        let spec = ProcessSpec {
            namespace: String::new(),
            pod_name: String::new(),
            service_account: String::new(),
            args: vec!["run".to_owned(), "--port=1".to_owned(), "--other=2".to_owned()],
            env: BTreeMap::new(),
            mounts: Vec::new(),
        };
        let spec = spec.with_arg("--port", "0").with_arg("--new", "3");
        assert_eq!(spec.args, ["run", "--port=0", "--other=2", "--new=3"]);
    }
}
