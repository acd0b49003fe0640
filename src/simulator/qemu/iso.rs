//! The cloud-init drive as a real ISO image.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::tools::{Tools, run};
use crate::simulator::world::cloudinit::Seed;

/// Most bytes of all texts; Proxmox VE's drive has 4 MiB and leaves room for the rest.
const MOST: usize = 3 << 20;

/// Writes the drive to `file`, as Proxmox VE does (qemu-server 9.2.6, `commit_cloudinit_disk`).
pub(super) fn write(tools: &Tools, seed: &Seed, file: &Path) -> Result<(), String> {
    if seed.files.iter().map(|(_, text)| text.len()).sum::<usize>() > MOST {
        return Err("Cloud-Init sum of snippets too big (> 3 MiB)".to_owned());
    }
    let folder = file.with_extension("seed");
    let failed = |error: std::io::Error| format!("cannot write below {}: {error}", folder.display());
    // What an interrupted start left behind would be on the drive, too.
    let _ = fs::remove_dir_all(&folder);
    lay_out(seed, &folder).map_err(failed)?;
    let made = run(&mut command(tools, seed, &folder, file));
    let _ = fs::remove_dir_all(&folder);
    made.map(drop).map_err(|said| format!("generating the cloud-init ISO failed: {said}"))
}

fn lay_out(seed: &Seed, folder: &Path) -> std::io::Result<()> {
    for (name, text) in &seed.files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, text)?;
    }
    Ok(())
}

fn command(tools: &Tools, seed: &Seed, folder: &Path, file: &Path) -> Command {
    let (program, first) = &tools.mkisofs;
    let mut command = Command::new(program);
    command.args(*first).args(["-quiet", "-iso-level", "3", "-J", "-R", "-V", seed.label, "-o"]).arg(file).arg(folder);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_laid_out_under_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![("user-data", "u".to_owned()), ("openstack/content/0000", "n".to_owned())];
        lay_out(&Seed { label: "cidata", files }, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("user-data")).unwrap(), "u");
        assert_eq!(fs::read_to_string(folder.path().join("openstack/content/0000")).unwrap(), "n");
    }
}
