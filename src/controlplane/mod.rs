//! A real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager) run as plain processes, for tests and the demo.
