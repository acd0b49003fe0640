//! Floor 1. The custom resources of `stevedore.dev/v1alpha1`.
