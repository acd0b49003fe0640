//! What a VM is made from: a template, or an image that a host downloads once and keeps.

use std::fmt;
use std::time::Duration;

/// How long a download is waited for. An image of a few GiB takes minutes; what has not ended by then hangs, perhaps for
/// ever, and to ask once more does no harm: two downloads of one file fill it one after the other, checked both.
pub const LONGEST_DOWNLOAD: Duration = Duration::from_secs(30 * 60);
/// Hex digits of the checksum in a file's name: enough that no two images ever share one.
const NAME_DIGITS: usize = 32;

/// What a VM is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageWanted {
    /// A template on the VM's host, by name or id; the VM is a full clone of it.
    Template(String),
    /// An image that is downloaded onto a storage and imported.
    File(ImageFile),
}

impl ImageWanted {
    /// The image to download, if it is one.
    pub fn file(&self) -> Option<&ImageFile> {
        match self {
            Self::File(file) => Some(file),
            Self::Template(_) => None,
        }
    }
}

/// An image that is downloaded. What it holds is told by its checksum alone: wherever it comes from, it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Where it is downloaded from.
    pub url: String,
    /// The checksum that it must have.
    pub checksum: Checksum,
    /// Its format.
    pub format: ImageFormat,
    /// The storage that it is kept on.
    pub storage: String,
}

impl ImageFile {
    /// Its name on the storage. It follows from the checksum, so that what lies there under this name is this image, and
    /// ends with the suffix by which Proxmox VE knows the format, whatever the URL ends with.
    pub fn name(&self) -> String {
        let digits: String = self.checksum.hex.chars().take(NAME_DIGITS).collect();
        format!("stevedore-{digits}.{}", self.format.suffix())
    }
}

impl fmt::Display for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the image {} on the storage {}", self.name(), self.storage)
    }
}

/// A checksum with its algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Such as `sha256`.
    pub algorithm: &'static str,
    /// Hex digits, lower case.
    pub hex: String,
}

impl Checksum {
    /// Reads `sha256:` and 64, or `sha512:` and 128 hex digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let (algorithm, digits) = [("sha256", 64), ("sha512", 128)].into_iter().find(|(name, _)| *name == algorithm)?;
        let fits = hex.len() == digits && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self { algorithm, hex: hex.to_owned() })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

/// The format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// QEMU's own.
    Qcow2,
    /// The disk's bytes as they are.
    Raw,
    /// `VMware`'s.
    Vmdk,
}

impl ImageFormat {
    /// The suffix of the file's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
        }
    }
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageState {
    /// On the storage, whole and checked.
    Present,
    /// On its way there, and not for longer than [`LONGEST_DOWNLOAD`].
    Downloading,
    /// Neither.
    Absent,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(checksum: &str, format: ImageFormat) -> ImageFile {
        let checksum = Checksum::parse(checksum).unwrap();
        ImageFile { url: "https://x/a.img".into(), checksum, format, storage: "local".into() }
    }

    #[test]
    fn a_name_follows_from_checksum_and_format() {
        let sum = format!("sha256:{}{}", "0123456789abcdef".repeat(2), "f".repeat(32));
        let image = file(&sum, ImageFormat::Qcow2);
        assert_eq!(image.name(), "stevedore-0123456789abcdef0123456789abcdef.qcow2");
        assert_eq!(ImageFile { url: "http://y/b".into(), ..image.clone() }.name(), image.name());
        assert_ne!(file(&sum, ImageFormat::Raw).name(), image.name());
        assert_eq!(image.checksum.to_string(), sum);
    }

    #[test]
    fn other_checksums_are_refused() {
        let (short, upper) = ("a".repeat(63), "A".repeat(64));
        for bad in ["", "sha256:", &format!("sha256:{short}"), &format!("sha256:{upper}"), &format!("md5:{short}a")] {
            assert_eq!(Checksum::parse(bad), None, "{bad}");
        }
        assert!(Checksum::parse(&format!("sha512:{}", "0".repeat(128))).is_some());
    }
}
