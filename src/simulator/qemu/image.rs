//! What an image is, whatever its name says; also one that is downloaded only to look at it.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::error::QemuError;
use super::fetch::{Wget, broken};
use super::tools::{Tools, run};
use crate::simulator::fetch::{Content, Failed, Sums};
use crate::watchdog::Watchdog;

/// What an image is, whatever its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its format, such as `qcow2`.
    pub format: String,
    /// Size of the disk in it, bytes.
    pub size: u64,
    /// Its checksum, as a Worker declares it.
    pub checksum: String,
}

impl ImageInfo {
    /// Looks at a file.
    pub fn of(file: &Path) -> Result<Self, QemuError> {
        let content = examine(&Tools::find()?, file).map_err(|failed| unusable(&file.display().to_string(), failed))?;
        let checksum = format!("sha256:{}", content.sums.by("sha256"));
        Ok(Self { format: content.format.clone(), size: content.size, checksum })
    }
}

/// An image that was downloaded, in a folder of its own. The folder goes when this is dropped, or when the process ends
/// in any other way, even by SIGKILL; before that, what is still being downloaded.
#[derive(Debug)]
pub struct Downloaded {
    /// The image.
    pub file: PathBuf,
    /// What it is.
    pub info: ImageInfo,
    _watchdog: Watchdog,
}

impl Downloaded {
    /// Downloads a URL, and looks at what it serves.
    ///
    /// # Errors
    ///
    /// If a program is missing, there is no room, the download fails, or it is no image.
    pub fn from(url: &str) -> Result<Self, QemuError> {
        // Before gigabytes come.
        Tools::find()?;
        let parent = std::env::temp_dir();
        let folder = tempfile::Builder::new().prefix("stevedore-image-").tempdir_in(&parent);
        let folder = folder.map_err(QemuError::file("create a folder in", parent))?;
        let watchdog = Watchdog::over(folder.path()).map_err(QemuError::file("watch over", folder.path()))?;
        // From here on the watchdog removes it.
        let file = folder.keep().join("image");
        let wget = Wget::start(url, &file, &watchdog).map_err(|failed| unusable(url, failed))?;
        let ended = wget.wait();
        watchdog.forget(wget.id());
        ended.map_err(|failed| unusable(url, failed))?;
        Ok(Self { info: ImageInfo::of(&file)?, file, _watchdog: watchdog })
    }
}

fn unusable(image: &str, failed: Failed) -> QemuError {
    QemuError::Image { image: image.to_owned(), reason: failed.line }
}

pub(super) fn examine(tools: &Tools, file: &Path) -> Result<Content, Failed> {
    let mut command = Command::new(&tools.qemu_img);
    let told = run(command.args(["info", "--output=json", "--"]).arg(file)).map_err(broken)?;
    let told: Value = serde_json::from_slice(&told.stdout).map_err(|error| broken(error.to_string()))?;
    let size = told["virtual-size"].as_u64().ok_or_else(|| broken("the image has no size"))?;
    let format = told["format"].as_str().unwrap_or("raw").to_owned();
    let sums = sums(file).map_err(|error| broken(format!("{} cannot be read: {error}", file.display())))?;
    Ok(Content { size, format, sums, file: Some(PathBuf::from(file)) })
}

fn sums(file: &Path) -> io::Result<Sums> {
    let mut opened = std::fs::File::open(file)?;
    let (mut sha256, mut sha512, mut buffer) = (Sha256::new(), Sha512::new(), vec![0; 1 << 20]);
    loop {
        let count = opened.read(&mut buffer)?;
        if count == 0 {
            return Ok(Sums::known(&sha256.finalize(), &sha512.finalize()));
        }
        sha256.update(&buffer[..count]);
        sha512.update(&buffer[..count]);
    }
}
