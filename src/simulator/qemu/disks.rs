//! Disks as qcow2 files. Whatever format a volume's name tells, its content takes no more room than was written.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{Tools, run};

/// Firmware variables that remember nothing.
const FIRMWARE_VARIABLES: &str = "OVMF_VARS_4M.fd";
/// Bytes that no operating system does without.
const LEAST_SYSTEM: u64 = 16 << 20;
/// Where Debian's package ovmf puts the firmware.
const FIRMWARE: &str = "/usr/share/OVMF";

/// The code of the UEFI firmware.
pub(super) fn firmware_code() -> Result<PathBuf, String> {
    firmware("OVMF_CODE_4M.fd")
}

fn firmware(name: &str) -> Result<PathBuf, String> {
    let file = Path::new(FIRMWARE).join(name);
    if file.is_file() {
        return Ok(file);
    }
    Err(format!("EFI base image '{}' not found: apt-get install ovmf", file.display()))
}

/// Makes an empty disk.
pub(super) fn make(tools: &Tools, file: &Path, bytes: u64) -> Result<(), String> {
    let size = bytes.to_string();
    image(tools, ["create", "-q", "-f", "qcow2"], [file.as_os_str().to_owned(), size.into()])
}

/// Copies a disk or an image. A qcow2 file keeps its form; its blocks are shared where the file system can.
pub(super) fn copy(tools: &Tools, from: &Path, to: &Path) -> Result<(), String> {
    match Format::of(from)? {
        Format::Qcow2 { backed: false } => {
            let mut copy = Command::new("cp");
            copy.args(["--reflink=auto", "--sparse=auto", "--dereference", "--no-preserve=mode"]).arg(from).arg(to);
            run(&mut copy).map(drop)
        }
        format => {
            let arguments = ["convert", "-q", "-f", format.name(), "-O", "qcow2"];
            image(tools, arguments, [from.as_os_str().to_owned(), to.as_os_str().to_owned()])
        }
    }
}

/// Makes a disk that holds only what differs from `base`.
pub(super) fn link(tools: &Tools, base: &Path, to: &Path) -> Result<(), String> {
    let format = Format::of(base)?;
    let arguments = ["create", "-q", "-f", "qcow2", "-F", format.name(), "-b"];
    image(tools, arguments, [base.as_os_str().to_owned(), to.as_os_str().to_owned()])
}

/// Grows a disk that no process has open.
pub(super) fn grow(tools: &Tools, file: &Path, bytes: u64) -> Result<(), String> {
    let size = bytes.to_string();
    image(tools, ["resize", "-q", "-f", "qcow2"], [file.as_os_str().to_owned(), size.into()])
}

/// Makes variables of the UEFI firmware that remember nothing.
pub(super) fn make_firmware_variables(file: &Path) -> Result<(), String> {
    let template = firmware(FIRMWARE_VARIABLES)?;
    std::fs::copy(&template, file).map(drop).map_err(|error| format!("cannot copy {}: {error}", template.display()))
}

/// Whether a disk holds as much as an operating system at least, or lies over another that may.
pub(super) fn has_content(file: &Path) -> bool {
    let written = std::fs::metadata(file).map_or(0, |data| data.blocks() * 512);
    written > LEAST_SYSTEM || Format::of(file).is_ok_and(|format| format == Format::Qcow2 { backed: true })
}

fn image<'a>(
    tools: &Tools,
    arguments: impl IntoIterator<Item = &'a str>,
    files: impl IntoIterator<Item = OsString>,
) -> Result<(), String> {
    let mut command = Command::new(&tools.qemu_img);
    command.args(arguments).args(files);
    run(&mut command).map(drop).map_err(|said| format!("command '/usr/bin/qemu-img' failed: {said}"))
}

/// The form of an image, as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Qcow2 { backed: bool },
    Vmdk,
    Raw,
}

impl Format {
    fn of(file: &Path) -> Result<Self, String> {
        let mut head = Vec::new();
        let read = File::open(file).and_then(|file| file.take(16).read_to_end(&mut head));
        read.map_err(|error| format!("failed to stat '{}': {error}", file.display()))?;
        Ok(match head.get(..4) {
            Some(b"QFI\xfb") => Self::Qcow2 { backed: head.get(8..16).is_some_and(|offset| offset != [0; 8]) },
            Some(b"KDMV" | b"# Di") => Self::Vmdk,
            _ => Self::Raw,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Qcow2 { .. } => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Raw => "raw",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_tells_its_form_by_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        let backed = [b"QFI\xfb\0\0\0\x03".as_slice(), &[0, 0, 0, 0, 0, 0, 1, 0]].concat();
        let cases: [(&[u8], Format); 4] = [
            (b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\0\0", Format::Qcow2 { backed: false }),
            (&backed, Format::Qcow2 { backed: true }),
            (b"KDMV\x01\0\0\0", Format::Vmdk),
            (b"", Format::Raw),
        ];
        for (head, format) in cases {
            std::fs::write(&file, head).unwrap();
            assert_eq!(Format::of(&file), Ok(format));
        }
        assert!(Format::of(&folder.path().join("none")).unwrap_err().starts_with("failed to stat"));
    }
}
