//! What simulated nodes really download: with wget, as real nodes do.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::Qemu;
use super::error::QemuError;
use super::tools::{Tools, find, run};
use crate::simulator::fetch::{Content, Failed, Fetch, Fetching, Progress, Sums};

/// How often a task looks whether its download has ended.
const LOOK: Duration = Duration::from_millis(200);
/// What wget exits with for failures that have no code of their own.
const GENERIC: u8 = 1;

impl Fetch for Qemu {
    fn begin(&self, url: &str) -> Box<dyn Fetching> {
        let (ended, receiver) = mpsc::channel();
        let (tools, url, file) = (self.0.tools.clone(), url.to_owned(), self.download_file());
        // A thread that cannot be started has dropped its end of the channel, which is told as a failure.
        let _ = std::thread::Builder::new().name("guest-download".to_owned()).spawn(move || {
            // Nobody waits for it any more when the task was stopped.
            let _ = ended.send(fetch(&tools, &url, &file));
        });
        Box::new(UnderWay(receiver))
    }
}

#[derive(Debug)]
struct UnderWay(Receiver<Result<Content, Failed>>);

impl Fetching for UnderWay {
    fn go_on(&mut self) -> Progress {
        match self.0.try_recv() {
            Ok(end) => Progress::Ended(end),
            Err(TryRecvError::Empty) => Progress::Wait(LOOK),
            Err(TryRecvError::Disconnected) => Progress::Ended(Err(broken("the download was lost"))),
        }
    }
}

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
        Ok(Self::told(&content))
    }

    /// Downloads a URL into a new file and looks at it.
    pub fn download(url: &str, file: &Path) -> Result<Self, QemuError> {
        let content = fetch(&Tools::find()?, url, file).map_err(|failed| unusable(url, failed))?;
        Ok(Self::told(&content))
    }

    fn told(content: &Content) -> Self {
        let checksum = format!("sha256:{}", content.sums.by("sha256"));
        Self { format: content.format.clone(), size: content.size, checksum }
    }
}

fn unusable(image: &str, failed: Failed) -> QemuError {
    QemuError::Image { image: image.to_owned(), reason: failed.line }
}

fn broken(line: impl Into<String>) -> Failed {
    Failed { line: line.into(), code: GENERIC }
}

/// Downloads a file and finds out what it is; it stays only if all of that went well.
fn fetch(tools: &Tools, url: &str, file: &Path) -> Result<Content, Failed> {
    let content = download(url, file).and_then(|()| examine(tools, file));
    if content.is_err() {
        // Gone with the folder at last.
        let _ = std::fs::remove_file(file);
    }
    content
}

fn download(url: &str, file: &Path) -> Result<(), Failed> {
    let wget = find("wget").ok_or_else(|| broken("wget is missing: apt-get install wget"))?;
    let mut command = Command::new(wget);
    command.arg("--progress=dot:giga").arg("-O").arg(file).arg("--").arg(url).stdin(Stdio::null());
    let output = command.output().map_err(|error| broken(format!("wget cannot be started: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("wget failed").to_owned();
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(GENERIC);
    Err(Failed { line, code })
}

fn examine(tools: &Tools, file: &Path) -> Result<Content, Failed> {
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
