//! Why machines cannot be real, said so that a person knows what to do.

use std::io;
use std::path::PathBuf;

/// A world whose machines QEMU runs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// A program is not installed.
    #[error("QEMU guests need {program}, which is not installed: apt-get install {package}")]
    Missing {
        /// The program.
        program: String,
        /// The package of Debian and Ubuntu that has it.
        package: &'static str,
    },
    /// No network namespace.
    #[error(
        "QEMU guests need a network namespace, and it was refused ({reason}): run this as root, or in a user namespace: \
         unshare --user --map-root-user -- COMMAND (where that is refused, too: sysctl -w \
         kernel.apparmor_restrict_unprivileged_userns=0 kernel.unprivileged_userns_clone=1)"
    )]
    Namespace {
        /// What the system said.
        reason: String,
    },
    /// No network cards for guests.
    #[error(
        "QEMU guests need /dev/net/tun, and it cannot be opened ({0}): as root, modprobe tun && chmod 666 /dev/net/tun"
    )]
    Tun(io::Error),
    /// A file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name of a socket has a limit.
    #[error("the folder {} has too long a name for the sockets in it: choose one with at most {most} letters", path.display())]
    LongPath {
        /// The folder.
        path: PathBuf,
        /// Letters that it may have.
        most: usize,
    },
    /// The network could not be built.
    #[error("the guests' network could not be built: `{command}` said: {said}")]
    Network {
        /// The command.
        command: String,
        /// Its output.
        said: String,
    },
    /// A target cannot be listened on.
    #[error("the target {target} of the guests' network cannot be opened: {reason}")]
    Target {
        /// `host:port`.
        target: String,
        /// Why.
        reason: String,
    },
    /// A rule of the scenario is about the inside of a guest.
    #[error("the scenario's {rule} is for simulated guests: QEMU cannot do that from outside; {instead}")]
    Rule {
        /// Where it stands, and its name.
        rule: String,
        /// What to do.
        instead: &'static str,
    },
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// Not an image, or not to be had.
    #[error("{image} cannot be used as an image: {reason}")]
    Image {
        /// Its path or URL.
        image: String,
        /// Why.
        reason: String,
    },
}

impl QemuError {
    /// For `map_err` on files.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
