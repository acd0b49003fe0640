//! The programs of the machine that real guests need.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::error::QemuError;

/// Finds the program `$1`, also where those of administrators are.
const FIND: &str = r#"PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"; command -v -- "$1""#;

/// The programs, found.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) qemu: PathBuf,
    pub(super) qemu_img: PathBuf,
    pub(super) dnsmasq: PathBuf,
    pub(super) ip: PathBuf,
    pub(super) unshare: PathBuf,
    /// Makes ISO images, with the arguments that go first.
    pub(super) mkisofs: (PathBuf, &'static [&'static str]),
}

impl Tools {
    /// Finds them, or says which package is missing.
    pub(super) fn find() -> Result<Self, QemuError> {
        let mkisofs = find("genisoimage").map(|path| (path, &[] as &[&str]));
        let mkisofs = mkisofs.or_else(|| find("xorriso").map(|path| (path, &["-as", "mkisofs"] as &[&str])));
        Ok(Self {
            qemu: need("qemu-system-x86_64", "qemu-system-x86")?,
            qemu_img: need("qemu-img", "qemu-utils")?,
            dnsmasq: need("dnsmasq", "dnsmasq-base")?,
            ip: need("ip", "iproute2")?,
            unshare: need("unshare", "util-linux")?,
            mkisofs: mkisofs.ok_or_else(|| QemuError::Missing {
                program: "genisoimage or xorriso".into(),
                package: "genisoimage",
            })?,
        })
    }
}

fn need(program: &str, package: &'static str) -> Result<PathBuf, QemuError> {
    find(program).ok_or_else(|| QemuError::Missing { program: program.to_owned(), package })
}

/// Finds a program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let found = run(Command::new("/bin/sh").args(["-c", FIND, "sh", program])).ok()?;
    Some(PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()))
}

/// Runs a command to its end; the error is what it wrote, in one line.
pub(super) fn run(command: &mut Command) -> Result<Output, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot start {name}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(said(&output.stderr, &output.stdout, &output.status.to_string()))
}

/// What a failed program said, in one line; `otherwise` if it said nothing.
pub(super) fn said(stderr: &[u8], stdout: &[u8], otherwise: &str) -> String {
    let text = [stderr, stdout].map(|bytes| String::from_utf8_lossy(bytes).trim().replace('\n', "; "));
    text.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = need("no-such-program", "its-package").unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.ends_with("apt-get install its-package"), "{error}");
    }

    #[test]
    fn a_failed_command_says_what_it_wrote() {
        let error = run(Command::new("sh").args(["-c", "echo one >&2; echo two >&2; exit 3"])).unwrap_err();
        assert_eq!(error, "one; two");
    }
}
