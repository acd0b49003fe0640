//! The files of a control plane: one private folder, and files in it that only their owner reads.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Error;

/// Makes a new folder in the system's folder for temporary files, readable by its owner only.
pub(super) fn private_folder(purpose: &str) -> Result<PathBuf, Error> {
    let path = std::env::temp_dir().join(format!("stevedore-{purpose}-{}", uuid::Uuid::new_v4().simple()));
    DirBuilder::new().mode(0o700).create(&path).map_err(Error::file("create", &path))?;
    Ok(path)
}

/// Writes a new file in the folder, readable by its owner only, and gives its path.
pub(super) fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(content.as_ref()))
        .map_err(Error::file("write", &path))?;
    Ok(path)
}
