//! Process 1 of a simulated guest, as far as units of ours need it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::order::Order;
use super::unit;

/// The units that run in one boot of a guest. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Process1 {
    root: PathBuf,
    boots: u64,
    /// By name.
    units: BTreeMap<String, Unit>,
}

/// A unit that runs.
#[derive(Debug)]
struct Unit {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Process1 {
    pub(super) fn new(root: PathBuf, boots: u64) -> Self {
        Self { root, boots, units: BTreeMap::new() }
    }

    pub(super) fn is_of(&self, boots: u64) -> bool {
        self.boots == boots
    }

    /// Starts the units that programs ordered, and stops those that they want stopped.
    pub(super) fn attend(&mut self) -> io::Result<()> {
        self.units.retain(|_, unit| !unit.task.is_finished());
        for entry in fs::read_dir(self.root.join("run/units"))? {
            let folder = entry?.path();
            let Some(name) = folder.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
            if !self.units.contains_key(&name)
                && let Ok(order) = fs::read_to_string(folder.join("order"))
            {
                self.start(name.clone(), &folder, &order)?;
            }
            if fs::exists(folder.join("stop"))?
                && let Some(unit) = self.units.get(&name)
            {
                unit.stop.notify_one();
            }
        }
        Ok(())
    }

    fn start(&mut self, name: String, folder: &Path, order: &str) -> io::Result<()> {
        let stop = Arc::new(Notify::new());
        let unit = unit::Unit {
            root: self.root.clone(),
            folder: folder.to_owned(),
            order: Order::read(order),
            stop: Arc::clone(&stop),
        };
        unit.tell("activating")?;
        self.units.insert(name, Unit { stop, task: tokio::spawn(unit.run()) });
        Ok(())
    }
}
