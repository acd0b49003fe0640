//! The wish to end, as a token that many parts share. The first signal asks; the second one does not ask.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Set once, never taken back. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    wish: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that nobody has set yet.
    pub fn new() -> Self {
        Self { wish: Arc::new(watch::Sender::new(false)) }
    }

    /// Asks everything that holds the token to end.
    pub fn request(&self) {
        self.wish.send_replace(true);
    }

    /// True once the end was asked for.
    pub fn is_requested(&self) -> bool {
        *self.wish.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) {
        let mut wish = self.wish.subscribe();
        // The sender lives in `self`, so this ends only with the wish.
        let _ = wish.wait_for(|wanted| *wanted).await;
    }

    /// Sets the token at the first SIGTERM or SIGINT. At the second one, or one that comes after the token was set
    /// otherwise, the process ends at once with exit code 1.
    ///
    /// # Errors
    ///
    /// The operating system refused a signal handler.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let token = self.clone();
        tokio::spawn(async move {
            loop {
                let name = next(&mut terminate, &mut interrupt).await;
                if token.is_requested() {
                    tracing::warn!(signal = name, "asked to end again: ending at once");
                    std::process::exit(1);
                }
                tracing::info!(signal = name, "asked to end: stopping in order; a second signal ends at once");
                token.request();
            }
        });
        Ok(())
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wish_reaches_those_who_wait_and_those_who_come_later() {
        let token = Shutdown::new();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move { token.requested().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished() && !token.is_requested());
        token.request();
        waiting.await.unwrap();
        token.requested().await;
        assert!(token.is_requested());
    }
}
