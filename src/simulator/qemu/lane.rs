//! A thread that does one deed after the other.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

type Deed = Box<dyn FnOnce() + Send>;

/// Does deeds in order, on a thread of its own. Dropping it waits until the last one is done.
#[derive(Debug)]
pub(super) struct Lane {
    // Taken on drop: the thread ends when nobody can send to it.
    sender: Option<mpsc::Sender<Deed>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Starts a thread.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Deed>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || receiver.into_iter().for_each(|deed| deed()))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Does this after all that was begun before.
    pub(super) fn begin(&self, deed: impl FnOnce() + Send + 'static) {
        if let Some(sender) = &self.sender {
            // It cannot be gone: it ends with us.
            let _ = sender.send(Box::new(deed));
        }
    }

    /// The same, and waits for its result; nothing if the deed broke down.
    pub(super) fn run<T: Send + 'static>(&self, deed: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (result, wait) = mpsc::sync_channel(1);
        self.begin(move || {
            let _ = result.send(deed());
        });
        wait.recv().ok()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // On its own thread there is nothing to wait for.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn deeds_are_done_in_order() {
        let (lane, done) = (Lane::start("test").unwrap(), Arc::new(Mutex::new(Vec::new())));
        for number in 0..3 {
            let done = done.clone();
            lane.begin(move || done.lock().unwrap().push(number));
        }
        let all = done.clone();
        assert_eq!(lane.run(move || all.lock().unwrap().clone()), Some(vec![0, 1, 2]));
    }
}
