//! What several integration tests stand on.

pub(crate) mod cluster;
pub(crate) mod crds;
pub(crate) mod golden;
pub(crate) mod seed;
