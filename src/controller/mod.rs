//! Floor 3. The Kubernetes side: snapshot, plan, execute, status, events.
