//! Who we are to a hypervisor.

use crate::secret::Secret;

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API token (recommended).
    Token {
        /// Such as `stevedore@pve!operator`.
        id: String,
        /// Its secret, a uuid.
        secret: Secret,
    },
    /// A user.
    Password {
        /// With its realm, such as `stevedore@pve`.
        username: String,
        /// The password.
        password: Secret,
    },
}
