//! Downloading a file onto a storage: `download_file_from_url` of pve-common. It gets its name only when it is whole and
//! checked; one that is there already is checked, not downloaded.

use super::super::World;
use super::super::storage::{Volume, format_of};
use super::super::task::{Job, Step, TaskId};
use crate::simulator::fetch::{Content, Failed, Fetching, Progress, Sums};

/// What is downloaded, and onto which storage.
#[derive(Clone, Debug)]
pub(crate) struct DownloadOrder {
    pub(crate) node: String,
    pub(crate) storage: String,
    /// `iso`, `vztmpl` or `import`.
    pub(crate) content: String,
    pub(crate) filename: String,
    pub(crate) url: String,
    /// Algorithm and hex digits.
    pub(crate) checksum: Option<(String, String)>,
}

/// Downloads.
#[derive(Debug)]
pub(crate) struct DownloadJob {
    order: DownloadOrder,
    fetching: Option<Box<dyn Fetching>>,
}

impl DownloadJob {
    pub(crate) fn new(order: DownloadOrder) -> Self {
        Self { order, fetching: None }
    }

    fn volume(&self) -> String {
        format!("{}/{}", self.order.content, self.order.filename)
    }

    fn path(&self, world: &World) -> String {
        let folder = world.storages.get(&self.order.storage).map(super::super::storage::Storage::path);
        let content = if self.order.content == "import" { "import" } else { "template/iso" };
        format!("{}/{content}/{}", folder.unwrap_or_default(), self.order.filename)
    }

    fn begin(&mut self, world: &mut World, task: TaskId) -> Result<Step, String> {
        let path = self.path(world);
        world.log(task, format!("downloading {} to {path}", self.order.url));
        let (node, volume) = (&self.order.node, self.volume());
        let existing = world.storages.get(&self.order.storage).and_then(|storage| storage.volume(node, &volume));
        let Some(existing) = existing.cloned() else {
            self.fetching = Some(world.fetch.begin(&self.order.url));
            return self.go_on(world, task);
        };
        let sums = existing.sums.unwrap_or_else(|| Sums::of(&existing.name));
        match self.mismatch(&sums) {
            _ if self.order.checksum.is_none() => Err(format!("refusing to override existing file '{path}'")),
            Some(text) => Err(format!("{text}, aborting")),
            None => {
                let line = "calculating checksum of existing file...OK, got correct file already, no need to download";
                world.log(task, line);
                Ok(Step::Done)
            }
        }
    }

    /// What is wrong with a file's checksum.
    fn mismatch(&self, sums: &Sums) -> Option<String> {
        let (algorithm, expected) = self.order.checksum.as_ref()?;
        let got = sums.by(algorithm);
        let fits = got.eq_ignore_ascii_case(expected);
        (!fits).then(|| format!("checksum mismatch: got '{got}' != expect '{expected}'"))
    }

    fn go_on(&mut self, world: &mut World, task: TaskId) -> Result<Step, String> {
        let Some(fetching) = &mut self.fetching else { return self.begin(world, task) };
        match fetching.go_on() {
            Progress::Wait(span) => Ok(Step::Wait(span)),
            Progress::Ended(Ok(content)) => {
                let file = content.file.clone();
                let kept = self.keep(world, task, content);
                if let (Err(_), Some(vmm), Some(file)) = (&kept, &world.vmm, file) {
                    vmm.remove(&file);
                }
                kept
            }
            Progress::Ended(Err(Failed { line, code })) => {
                world.log(task, line);
                let target = format!("{}.tmp_dwnl.{task}", self.path(world));
                Err(format!(
                    "download failed: command 'wget '--progress=dot:giga' -O {target} {}' failed: exit code {code}",
                    self.order.url
                ))
            }
        }
    }

    fn keep(&self, world: &mut World, task: TaskId, content: Content) -> Result<Step, String> {
        if let Some(text) = self.mismatch(&content.sums) {
            return Err(text);
        }
        if self.order.checksum.is_some() {
            world.log(task, "calculating checksum...OK, checksum verified");
        }
        let (name, format) = (self.volume(), format_of(&self.order.filename));
        if self.order.content == "import" && content.format != format {
            return Err(format!("failed to verify file: Image is not in {format} format"));
        }
        let path = self.path(world);
        world.log(task, format!("download of '{}' to '{path}' finished", self.order.url));
        let made = world.wall();
        let storage = world.storages.get_mut(&self.order.storage).ok_or("the storage vanished")?;
        let (size, sums, file) = (content.size, Some(content.sums), content.file);
        let content = self.order.content.clone();
        let volume = Volume { name, vmid: None, size, format, content, parent: None, sums, made, file };
        storage.put(&self.order.node, volume);
        Ok(Step::Done)
    }
}

impl Job for DownloadJob {
    fn step(&mut self, world: &mut World, task: TaskId) -> Step {
        self.go_on(world, task).unwrap_or_else(Step::Fail)
    }
}
