//! Where the programs of the control plane are.

use std::path::{Path, PathBuf};

use super::Error;

/// The go.mod files pin the versions; `tests/controlplane/build.sh` reads the same lines.
const KUBERNETES: &str = include_str!("../../tests/controlplane/kubernetes/go.mod");
const ETCD: &str = include_str!("../../tests/controlplane/etcd/go.mod");
const HELM: &str = include_str!("../../tests/controlplane/helm/go.mod");

/// The programs that a control plane is made of, and the clients that tests drive it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The controllers.
    pub kube_controller_manager: PathBuf,
    /// The command line of Kubernetes.
    pub kubectl: PathBuf,
    /// The package manager that installs the chart.
    pub helm: PathBuf,
}

impl Binaries {
    /// Looks in the folder that `KUBEBUILDER_ASSETS` names, then in the cache folder that `make control-plane` fills
    /// (`$XDG_CACHE_HOME/stevedore/controlplane/…/bin`, or under `~/.cache`).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] names every program that is in neither, and the command that builds them.
    pub fn find() -> Result<Self, Error> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        Self::find_in(&assets.into_iter().chain(cache_folder()).collect::<Vec<_>>())
    }

    /// Looks in these folders, the first that has a program wins.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] names every program that is in none of them.
    pub fn find_in(folders: &[PathBuf]) -> Result<Self, Error> {
        let mut missing = Vec::new();
        let mut find = |name: &'static str| {
            let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
            found.unwrap_or_else(|| {
                missing.push(name);
                PathBuf::new()
            })
        };
        let binaries = Self {
            etcd: find("etcd"),
            kube_apiserver: find("kube-apiserver"),
            kube_controller_manager: find("kube-controller-manager"),
            kubectl: find("kubectl"),
            helm: find("helm"),
        };
        if missing.is_empty() {
            return Ok(binaries);
        }
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Err(Error::Missing { programs: missing.join(", "), folders: folders.join(", ") })
    }
}

/// The folder that the build script fills; none if the environment names no home.
fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(bin_folder(&cache))
}

/// The folder below a cache folder, named by the versions in it.
fn bin_folder(cache: &Path) -> PathBuf {
    let kubernetes = pinned(KUBERNETES, "k8s.io/kubernetes");
    let etcd = pinned(ETCD, "go.etcd.io/etcd/server/v3");
    let helm = pinned(HELM, "helm.sh/helm/v4");
    let versions = format!("kubernetes-{kubernetes}-etcd-{etcd}-helm-{helm}");
    cache.join("stevedore").join("controlplane").join(versions).join("bin")
}

/// The version in the line `require MODULE VERSION`; empty if there is none, which no folder is called.
fn pinned<'a>(go_mod: &'a str, module: &str) -> &'a str {
    go_mod
        .lines()
        .find_map(|line| line.strip_prefix("require ")?.strip_prefix(module)?.strip_prefix(' '))
        .unwrap_or_default()
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_has_a_program_wins() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm"] {
            std::fs::write(second.path().join(name), "").unwrap();
        }
        std::fs::write(first.path().join("kubectl"), "").unwrap();
        let found = Binaries::find_in(&[first.path().to_owned(), second.path().to_owned()]).unwrap();
        assert_eq!(found.kubectl, first.path().join("kubectl"));
        assert_eq!(found.helm, second.path().join("helm"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        let error = Binaries::find_in(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("kube-apiserver, kube-controller-manager, kubectl, helm"), "{error}");
        assert!(error.contains("make control-plane"), "{error}");
        assert!(!error.contains("etcd,"), "{error}");
    }

    #[test]
    fn the_folder_is_named_by_the_pinned_versions() {
        let folder = bin_folder(Path::new("/cache")).display().to_string();
        assert!(folder.starts_with("/cache/stevedore/controlplane/kubernetes-v1."), "{folder}");
        assert!(folder.contains("-etcd-v3.") && folder.contains("-helm-v4."), "{folder}");
    }
}
