//! Creating a virtual machine. Until all disks are made the configuration holds nothing but `lock: create`.

use std::collections::BTreeMap;

use super::super::World;
use super::super::config::Config;
use super::super::drives::{Wish, drive_options};
use super::super::prop::Net;
use super::super::task::{Job, LockWish, Step, TaskId};
use super::super::update::tidy;
use super::super::vmm::Awaited;
use super::{CREATE_LOCK, StartJob};

/// Makes the disks and then writes the configuration.
#[derive(Debug)]
pub(crate) struct CreateJob {
    pub(crate) node: String,
    pub(crate) vmid: u32,
    /// Everything the caller asked for, besides what steers the call.
    pub(crate) options: BTreeMap<String, String>,
    /// Start it afterwards.
    pub(crate) start: bool,
    stage: Stage,
    config: Config,
    awaited: Awaited,
}

#[derive(Debug)]
enum Stage {
    Lock,
    Disks,
    Write,
    Start(StartJob),
}

impl CreateJob {
    pub(crate) fn new(node: &str, vmid: u32, options: BTreeMap<String, String>, start: bool) -> Self {
        let (config, awaited) = (Config::default(), Awaited::default());
        Self { node: node.to_owned(), vmid, options, start, stage: Stage::Lock, config, awaited }
    }

    fn make_disks(&mut self, world: &mut World, task: TaskId) -> Result<Step, String> {
        let drives = drive_options(&self.options);
        let wishes: Vec<_> = drives.iter().map(|(_, drive)| Wish::of(drive)).collect();
        for (key, drive) in drives {
            let carried_out = world.carry_out(&self.node, self.vmid, &key, &drive);
            self.awaited.add(world.take_begun());
            let (text, lines) = carried_out?;
            for line in lines {
                world.log(task, line);
            }
            self.config.set(&key, text);
        }
        self.stage = Stage::Write;
        Ok(Step::Wait(world.drive_time(&wishes)))
    }

    fn write(&mut self, world: &mut World) -> Result<(), String> {
        world.writable(&self.node, self.vmid)?;
        for (key, value) in &self.options {
            if self.config.get(key).is_none() {
                self.config.set(key, tidy(key, value));
            }
        }
        let nets: Vec<_> = self.config.nets().map(|(key, net)| (key.to_owned(), net)).collect();
        for (key, net) in nets {
            let net: Net = world.with_mac(net);
            self.config.set(&key, net.print());
        }
        if self.config.get("boot").is_none() {
            self.config.set("boot", default_boot(&self.config));
        }
        world.draw_identity(&mut self.config);
        let config = std::mem::take(&mut self.config);
        let vm = world.vm_mut(self.vmid).ok_or_else(|| "the configuration vanished".to_owned())?;
        vm.config = config;
        world.note(self.vmid);
        Ok(())
    }

    fn undo(&self, world: &mut World) {
        world.free_drives(&self.node, self.vmid, &self.config);
        world.take(self.vmid);
    }

    fn failed(&self, world: &mut World, error: &str) -> Step {
        self.undo(world);
        Step::Fail(format!("unable to create VM {} - {error}", self.vmid))
    }
}

impl Job for CreateJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        match self.awaited.step(world, task) {
            Some(Step::Fail(error)) => return self.failed(world, &error),
            Some(step) => return step,
            None => {}
        }
        match &mut self.stage {
            Stage::Lock => {
                self.stage = Stage::Disks;
                Step::Lock(LockWish::on(self.vmid, CREATE_LOCK))
            }
            Stage::Disks => self.make_disks(world, task).unwrap_or_else(|error| self.failed(world, &error)),
            Stage::Write => {
                if let Err(error) = self.write(world) {
                    return self.failed(world, &error);
                }
                if !self.start {
                    return Step::Done;
                }
                self.stage = Stage::Start(StartJob::holding_lock(&self.node, self.vmid));
                self.step(world, task)
            }
            Stage::Start(start) => start.step(world, task),
        }
    }

    fn cancel(&mut self, world: &mut World, task: TaskId) -> Option<String> {
        if let Stage::Start(start) = &mut self.stage {
            return start.cancel(world, task);
        }
        self.undo(world);
        Some(format!("unable to create VM {} - interrupted by signal", self.vmid))
    }
}

/// Boot order when none is given: the first disk, the first drive for media, the first network (recorded 532).
fn default_boot(config: &Config) -> String {
    let drive = |cdrom| config.drives().find(|(_, drive)| drive.is_cdrom() == cdrom).map(|(key, _)| key);
    let devices = [drive(false), drive(true), config.nets().next().map(|(key, _)| key)];
    format!("order={}", devices.into_iter().flatten().collect::<Vec<_>>().join(";"))
}
