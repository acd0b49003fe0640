//! What the simulated nodes download, and how that goes: as the scenario declares it. Only through [`Fetch`] does the
//! world learn of what lies outside of it, so that another source can take the place of the declared one.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256, Sha512};

use super::scenario::{DownloadFailure, DownloadSpec, Scenario};

/// Where downloads come from.
pub(crate) trait Fetch: Debug + Send + Sync {
    /// Begins to fetch a URL.
    fn begin(&self, url: &str) -> Box<dyn Fetching>;
}

/// A download under way.
pub(crate) trait Fetching: Debug + Send {
    /// How it stands now.
    fn go_on(&mut self) -> Progress;
}

/// How a download stands.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Ask again after this time.
    Wait(Duration),
    /// It has ended.
    Ended(Result<Content, Failed>),
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Size of the disk in it, bytes.
    pub(crate) size: u64,
    /// Its format, whatever its name says.
    pub(crate) format: String,
    pub(crate) sums: Sums,
    /// Where it lies on this machine, if it was really fetched.
    pub(crate) file: Option<PathBuf>,
}

/// Why nothing was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// What wget prints.
    pub(crate) line: String,
    /// The code that it exits with.
    pub(crate) code: u8,
}

/// Checksums of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Stands for the content where no checksum is known.
    identity: String,
    sha256: Option<String>,
    sha512: Option<String>,
}

impl Sums {
    /// Those of a content that is known by a text alone.
    pub(crate) fn of(identity: &str) -> Self {
        Self { identity: identity.to_owned(), sha256: None, sha512: None }
    }

    /// Those of a file that was read.
    pub(crate) fn known(sha256: &[u8], sha512: &[u8]) -> Self {
        let (sha256, sha512) = (hex(sha256), hex(sha512));
        Self { identity: sha512.clone(), sha256: Some(sha256), sha512: Some(sha512) }
    }

    /// Hex digits by one of the algorithms that Proxmox VE knows.
    pub(crate) fn by(&self, algorithm: &str) -> String {
        let known = match algorithm {
            "sha256" => self.sha256.clone(),
            "sha512" => self.sha512.clone(),
            _ => None,
        };
        known.unwrap_or_else(|| {
            let digits = match algorithm {
                "md5" => 32,
                "sha1" => 40,
                "sha224" => 56,
                "sha256" => return hex(&Sha256::digest(&self.identity)),
                "sha384" => 96,
                _ => 128,
            };
            hex(&Sha512::digest(format!("{algorithm} {}", self.identity))).chars().take(digits).collect()
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl DownloadSpec {
    fn sums(&self, url: &str) -> Sums {
        Sums { sha256: self.sha256.clone(), sha512: self.sha512.clone(), ..Sums::of(url) }
    }
}

impl Scenario {
    /// The checksum of what a URL serves, such as `sha256:…`; absent if it serves nothing.
    pub fn checksum_of(&self, url: &str, algorithm: &str) -> Option<String> {
        let declared = self.downloads.get(url)?;
        Some(format!("{algorithm}:{}", declared.sums(url).by(algorithm)))
    }
}

/// What a scenario declares.
#[derive(Debug)]
pub(crate) struct Declared {
    by_url: BTreeMap<String, DownloadSpec>,
    /// How long one takes unless it says so itself.
    takes: Duration,
}

impl Declared {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        Self { by_url: scenario.downloads.clone(), takes: scenario.timings.download.span() }
    }

    /// What is behind a URL. Another path on a host that serves something is not found there; other hosts are unknown.
    fn behind(&self, url: &str) -> Result<Content, Failed> {
        let Some(declared) = self.by_url.get(url) else {
            let is_known = self.by_url.keys().any(|known| host(known) == host(url));
            return Err(if is_known { failed(DownloadFailure::NotFound, url) } else { unknown(url) });
        };
        match declared.failure {
            Some(failure) => Err(failed(failure, url)),
            None => Ok(Content {
                size: declared.size,
                format: declared.format.clone(),
                sums: declared.sums(url),
                file: None,
            }),
        }
    }
}

impl Fetch for Declared {
    fn begin(&self, url: &str) -> Box<dyn Fetching> {
        let own = self.by_url.get(url).and_then(|declared| declared.seconds);
        let takes = own.map_or(self.takes, super::scenario::Seconds::span);
        Box::new(Pending { takes: Some(takes), end: self.behind(url) })
    }
}

/// A declared download: it takes its time, and ends as it must.
#[derive(Debug)]
struct Pending {
    takes: Option<Duration>,
    end: Result<Content, Failed>,
}

impl Fetching for Pending {
    fn go_on(&mut self) -> Progress {
        match self.takes.take() {
            Some(takes) => Progress::Wait(takes),
            None => Progress::Ended(self.end.clone()),
        }
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':', '?', '#']).next().unwrap_or(rest)
}

fn unknown(url: &str) -> Failed {
    Failed { line: format!("wget: unable to resolve host address '{}'", host(url)), code: 4 }
}

fn failed(failure: DownloadFailure, url: &str) -> Failed {
    let (line, code) = match failure {
        DownloadFailure::NotFound => ("ERROR 404: Not Found.".to_owned(), 8),
        DownloadFailure::Refused => (format!("connect to {} failed: Connection refused.", host(url)), 4),
        DownloadFailure::Untrusted => (format!("ERROR: cannot verify {}'s certificate", host(url)), 5),
    };
    Failed { line, code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_serve_what_is_declared_and_nothing_else() {
        let url = "https://images.lab/worker.img";
        let sha256 = Some("a".repeat(64));
        let spec = DownloadSpec { size: 5 << 30, sha256, ..DownloadSpec::default() };
        let scenario = Scenario { downloads: BTreeMap::from([(url.to_owned(), spec)]), ..Scenario::default() };
        let declared = Declared::of(&scenario);
        let content = declared.behind(url).unwrap();
        assert_eq!((content.size, content.format.as_str()), (5 << 30, "qcow2"));
        assert_eq!(content.sums.by("sha256"), "a".repeat(64));
        assert_eq!(content.sums.by("sha512").len(), 128);
        assert_eq!(content.sums.by("md5").len(), 32);
        assert_eq!(scenario.checksum_of(url, "sha256"), Some(format!("sha256:{}", "a".repeat(64))));
        assert_eq!(declared.behind("https://images.lab:8443/other").unwrap_err().code, 8);
        assert_eq!(declared.behind("https://elsewhere.lab/worker.img").unwrap_err().code, 4);
    }
}
