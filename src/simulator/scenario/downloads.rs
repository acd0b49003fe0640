//! What URLs serve.

use serde::{Deserialize, Serialize};

use super::Seconds;

/// What one URL serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DownloadSpec {
    /// Size of the disk in the image, bytes.
    pub size: u64,
    /// Format of the image: `qcow2`, `raw` or `vmdk`; anything else is none that can be imported.
    pub format: String,
    /// Its SHA-256 checksum, hex; made from the URL if absent.
    pub sha256: Option<String>,
    /// Its SHA-512 checksum, hex; made from the URL if absent.
    pub sha512: Option<String>,
    /// How long the download takes; `timings.download` if absent.
    pub seconds: Option<Seconds>,
    /// Why it fails; absent if it does not.
    pub failure: Option<DownloadFailure>,
}

impl Default for DownloadSpec {
    fn default() -> Self {
        Self { size: 2 << 30, format: "qcow2".into(), sha256: None, sha512: None, seconds: None, failure: None }
    }
}

/// Why a download fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DownloadFailure {
    /// The server answers 404.
    NotFound,
    /// Nobody listens.
    Refused,
    /// The server's certificate is not trusted.
    Untrusted,
}
