//! Users, tokens and what they may do.

use serde::{Deserialize, Serialize};

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserSpec {
    /// `name@realm`.
    pub id: String,
    /// Password for `/access/ticket`; absent: no login.
    pub password: Option<String>,
    /// False for a disabled account.
    pub enabled: bool,
    /// API tokens.
    pub tokens: Vec<TokenSpec>,
}

impl Default for UserSpec {
    fn default() -> Self {
        Self { id: String::new(), password: None, enabled: true, tokens: Vec::new() }
    }
}

/// An API token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenSpec {
    /// Name after the `!`.
    pub id: String,
    /// Secret.
    pub secret: String,
    /// Privilege separation: rights are the intersection of the user's and the token's.
    pub privsep: bool,
    /// Seconds since 1970 after which it is refused.
    pub expire: Option<i64>,
}

impl Default for TokenSpec {
    fn default() -> Self {
        Self { id: String::new(), secret: String::new(), privsep: true, expire: None }
    }
}

/// One access control entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AclSpec {
    /// Path, such as `/` or `/vms/100`.
    pub path: String,
    /// `user@realm` or `user@realm!token`.
    pub to: String,
    /// Role.
    pub role: String,
    /// Whether it holds below the path, too.
    #[serde(default = "yes")]
    pub propagate: bool,
}

fn yes() -> bool {
    true
}
