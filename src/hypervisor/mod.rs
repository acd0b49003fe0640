//! Floor 2. The outside world of VMs. Knows nothing of Kubernetes.
