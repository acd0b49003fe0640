#!/usr/bin/env bash
# Builds the programs of a Kubernetes control plane, and Helm, from their Go modules at pinned versions.
#
# They land in ${XDG_CACHE_HOME:-$HOME/.cache}/stevedore/controlplane/<versions>/bin, where the Rust harness
# (src/controlplane) looks for them. What is already there, or in the folder that KUBEBUILDER_ASSETS names, is not
# built again. What is being done goes to standard error; standard output gets the folders with the programs, one a
# line, in the order in which they are searched. A first build takes about 13 minutes on two cores; Go keeps what it
# compiled, so that a later one takes seconds.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'control plane: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The version of a module in a folder's go.mod, which is the one place where versions are pinned.
pinned() {
  sed -n "s|^require $2 \(v[0-9][^ ]*\)\$|\1|p" "$here/$1/go.mod"
}

kubernetes=$(pinned kubernetes k8s.io/kubernetes)
etcd=$(pinned etcd go.etcd.io/etcd/server/v3)
helm=$(pinned helm helm.sh/helm/v4)
for version in "$kubernetes" "$etcd" "$helm"; do
  [ -n "$version" ] || die "a go.mod below $here does not say \`require MODULE VERSION\` of what it is there for"
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/stevedore/controlplane/kubernetes-$kubernetes-etcd-$etcd-helm-$helm
bin=$cache/bin
mkdir -p "$bin"

# The linker flags by which Kubernetes' programs know their version: without them the API server calls itself
# v0.0.0, and a chart's kubeVersion is never met.
kubernetes_flags() {
  local package=k8s.io/component-base/version major minor
  IFS=. read -r major minor _ <<<"${kubernetes#v}"
  printf -- '-X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
    "$package" "$kubernetes" "$package" "$major" "$package" "$minor" "$package"
}

# have NAME: is the program there?
have() {
  [ -x "$bin/$1" ] || { [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$1" ]; }
}

# build NAME MODULE PACKAGE VERSION [LINKER FLAGS]: under another name first, so that a half-written program is never found.
build() {
  local name=$1 module=$2 package=$3 version=$4 flags=${5:-} started=$SECONDS
  if have "$name"; then return; fi
  command -v go >/dev/null || die "building $name needs Go (see https://go.dev/doc/install), or a folder with it in KUBEBUILDER_ASSETS"
  say "building $name $version from its Go module; the first time takes minutes"
  CGO_ENABLED=0 nice go build -C "$here/$module" -trimpath -buildvcs=false -ldflags "-s -w $flags" \
    -o "$bin/.$name.$$" "$package" 9>&- || { rm -f "$bin/.$name.$$"; die "building $name failed"; }
  mv "$bin/.$name.$$" "$bin/$name"
  say "built $name in $((SECONDS - started)) s"
}

# One build at a time: a second one waits, then finds everything there.
if command -v flock >/dev/null; then
  exec 9>"$cache/lock"
  flock --nonblock 9 || { say "another build is running; waiting for it"; flock 9; }
fi

build etcd etcd go.etcd.io/etcd/server/v3 "$etcd"
build kube-apiserver kubernetes k8s.io/kubernetes/cmd/kube-apiserver "$kubernetes" "$(kubernetes_flags)"
build kube-controller-manager kubernetes k8s.io/kubernetes/cmd/kube-controller-manager "$kubernetes" "$(kubernetes_flags)"
build kubectl kubernetes k8s.io/kubernetes/cmd/kubectl "$kubernetes" "$(kubernetes_flags)"
build helm helm helm.sh/helm/v4/cmd/helm "$helm" "-X helm.sh/helm/v4/internal/version.version=$helm"

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then printf '%s\n' "$KUBEBUILDER_ASSETS"; fi
printf '%s\n' "$bin"
