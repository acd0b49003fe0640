//! `stevedore check image`: boots an image as a worker's VM, and says whether it can be a worker.
//!
//! The VM is deployed on a simulated Proxmox VE by the operator's own client, run by QEMU, and looked into by the
//! operator's own checks; so what passes here is what a worker's test asks for.

mod findings;
mod remedy;
mod trial;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use self::findings::Finding;
pub use self::trial::{Trial, TrialError, Wish};
use crate::api::common::Span;
use crate::hypervisor::vm::image::{Checksum, ImageFile, ImageFormat, ImageWanted};
use crate::simulator::qemu::{Downloaded, ImageInfo, QemuError};

/// By how much the disk is larger than the image, so that there is something to grow into, GiB.
const ROOM_GIB: u64 = 7;

/// Which image to try, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The image: a qcow2, raw or vmdk file, or an http or https URL of one.
    #[arg(value_name = "FILE|URL")]
    image: String,

    /// The systemd unit of the backup agent in it, as in service.unit of a Worker.
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,

    /// The firmware that boots it.
    #[arg(long, value_enum, default_value_t)]
    firmware: Firmware,

    /// Memory of the machine, MiB.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    memory: u64,

    /// How long the guest may take from power-on until its agent answers.
    #[arg(long, default_value = "10m", value_parser = Span::typed)]
    patience: Duration,
}

/// What boots a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// A BIOS, as Stevedore's own VMs have.
    #[default]
    Bios,
    /// UEFI, without Secure Boot.
    Uefi,
}

/// The image is not what a worker needs, or could not be tried.
#[derive(Debug, Error)]
pub enum CheckError {
    /// It could not be tried.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// Proxmox VE cannot import it.
    #[error("the image is a {0}, which cannot be imported: convert it with `qemu-img convert -O qcow2 -c`")]
    Format(String),
    /// Something is missing.
    #[error("{0} of these keep the image from being a worker")]
    Unfit(usize),
}

/// Tries an image, prints what was found line by line, and fails if it cannot be a worker.
pub async fn run(args: Args) -> Result<(), CheckError> {
    say(&format!("trying {}; this takes a minute or two", args.image));
    let image = Image::find(&args.image).map_err(TrialError::Qemu)?;
    let (file, info) = image.parts();
    let gib = info.size.div_ceil(1 << 30);
    say(&Finding::good("image", format!("is a {} of {gib} GiB; its checksum is {}", info.format, info.checksum))
        .to_string());
    let disk = kept(&args.image, info)?;
    let wish = Wish {
        memory_mib: args.memory,
        uefi: args.firmware == Firmware::Uefi,
        disk_gib: gib + ROOM_GIB,
        image: ImageWanted::File(disk.clone()),
        ..Wish::of("candidate", 5000)
    };
    let trial = Trial::open(file, |world| {
        let storages = world.storages.iter_mut().filter(|storage| storage.name == disk.storage);
        storages.for_each(|storage| drop(storage.files.insert(format!("import/{}", disk.name()), file.to_owned())));
    })?;
    let mut unfit = 0;
    findings::collect(&trial, &wish, args.unit.as_deref(), args.patience, |finding| {
        unfit += usize::from(finding.is_fault());
        say(&finding.to_string());
    })
    .await?;
    if unfit > 0 {
        return Err(CheckError::Unfit(unfit));
    }
    say("this image can be a worker");
    Ok(())
}

/// The image as a host keeps it once it is downloaded: so a worker's VM is made of it, with the very same hardware.
fn kept(url: &str, info: &ImageInfo) -> Result<ImageFile, CheckError> {
    let format = match info.format.as_str() {
        "qcow2" => ImageFormat::Qcow2,
        "raw" => ImageFormat::Raw,
        "vmdk" => ImageFormat::Vmdk,
        other => return Err(CheckError::Format(other.to_owned())),
    };
    let checksum = Checksum::parse(&info.checksum).ok_or_else(|| CheckError::Format(info.format.clone()))?;
    Ok(ImageFile { url: url.to_owned(), checksum, format, storage: "local".to_owned() })
}

/// The image that is tried.
enum Image {
    Local(PathBuf, ImageInfo),
    /// Gone with this.
    Remote(Downloaded),
}

impl Image {
    /// Downloads it, if it is a URL, and looks at it.
    fn find(image: &str) -> Result<Self, QemuError> {
        if image.starts_with("http://") || image.starts_with("https://") {
            return Downloaded::from(image).map(Self::Remote);
        }
        let file = PathBuf::from(image);
        let info = ImageInfo::of(&file)?;
        Ok(Self::Local(file, info))
    }

    fn parts(&self) -> (&Path, &ImageInfo) {
        match self {
            Self::Local(file, info) => (file, info),
            Self::Remote(downloaded) => (&downloaded.file, &downloaded.info),
        }
    }
}

fn say(line: &str) {
    // A closed output is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{line}");
}
