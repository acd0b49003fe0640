//! The downloads of one `Hypervisor`: which worker has which file downloaded, so that the others wait for it, and what
//! could not be downloaded, so that not each of them tries.
//!
//! Kept in this process alone. After a restart the host's tasks say what is on its way; should two workers ever ask for
//! the same file at once, the host downloads it twice, and either result is right.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::BootTime;
use crate::domain::backoff;
use crate::hypervisor::vm::image::LONGEST_DOWNLOAD;

/// After this time without a word a worker has given up.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How long a place counts as being filled. Whoever fills it gives up a little earlier, and says why.
const LONGEST: Duration = LONGEST_DOWNLOAD.saturating_add(FORGOTTEN);
/// Longer than any failure counts.
const PAST: Duration = Duration::from_secs(3 * 3600);

/// Who fills which place (a storage, and a file on it), and what failed.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    /// By place.
    fillers: BTreeMap<String, Filler>,
    /// By place and URL.
    failures: BTreeMap<(String, String), Failure>,
}

/// Who fills a place.
#[derive(Debug)]
struct Filler {
    /// The worker's UID.
    uid: String,
    since: BootTime,
    /// When it was last seen at it.
    seen: BootTime,
}

/// A download that failed.
#[derive(Debug)]
struct Failure {
    /// The worker (UID) that had it tried last.
    by: String,
    at: BootTime,
    why: String,
    /// How often in a row.
    times: u32,
}

impl Downloads {
    /// Who is not seen at work any more has been deleted, paused or changed its mind.
    pub(super) fn forget(&mut self, now: BootTime) {
        let is_at_it = |one: &Filler| now.since(one.seen) < FORGOTTEN && now.since(one.since) < LONGEST;
        self.fillers.retain(|_, filler| is_at_it(filler));
        self.failures.retain(|_, failure| now.since(failure.at) < PAST);
    }

    /// Who fills this place.
    pub(super) fn filler(&self, place: &str) -> Option<&str> {
        self.fillers.get(place).map(|filler| filler.uid.as_str())
    }

    /// Why the same could not be downloaded for another worker, as long as that counts: as long as the next test of a
    /// worker that failed would wait. A worker's own failures hold back its tests, and nothing here.
    pub(super) fn failure(&self, uid: &str, (place, url): (&str, &str), now: BootTime) -> Option<&str> {
        let failure = self.failures.get(&(place.to_owned(), url.to_owned()))?;
        let counts = failure.by != uid && now.since(failure.at) < backoff::TEST.delay(failure.times, 0);
        counts.then_some(failure.why.as_str())
    }

    /// A worker begins to fill a place, or goes on with it, and only with that one.
    pub(super) fn begin(&mut self, uid: &str, place: &str, now: BootTime) {
        let before = self.fillers.get(place).filter(|filler| filler.uid == uid);
        let since = before.map_or(now, |filler| filler.since);
        self.end(uid);
        self.fillers.insert(place.to_owned(), Filler { uid: uid.to_owned(), since, seen: now });
    }

    /// A worker is seen at work.
    pub(super) fn at_work(&mut self, uid: &str, now: BootTime) {
        for filler in self.fillers.values_mut().filter(|filler| filler.uid == uid) {
            filler.seen = now;
        }
    }

    /// A worker is not at it any more.
    pub(super) fn end(&mut self, uid: &str) {
        self.fillers.retain(|_, filler| filler.uid != uid);
    }

    /// A place was seen to be filled.
    pub(super) fn filled(&mut self, uid: &str, place: &str) {
        self.end(uid);
        self.failures.retain(|(failed, _), _| failed != place);
    }

    /// A worker could not fill a place.
    pub(super) fn failed(&mut self, uid: &str, (place, url): (&str, &str), why: &str, now: BootTime) {
        self.end(uid);
        let key = (place.to_owned(), url.to_owned());
        let times = self.failures.get(&key).map_or(1, |before| before.times.saturating_add(1));
        self.failures.insert(key, Failure { by: uid.to_owned(), at: now, why: why.to_owned(), times });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> BootTime {
        BootTime::from_start(Duration::from_secs(second))
    }

    #[test]
    fn a_place_is_filled_by_one_who_is_at_it() {
        let mut downloads = Downloads::default();
        downloads.begin("a", "nfs/x", second(0));
        assert_eq!(downloads.filler("nfs/x"), Some("a"));
        downloads.at_work("a", second(50));
        downloads.forget(second(100));
        assert_eq!(downloads.filler("nfs/x"), Some("a"), "seen 50 s ago");
        downloads.begin("a", "nfs/y", second(100));
        assert_eq!((downloads.filler("nfs/x"), downloads.filler("nfs/y")), (None, Some("a")));
        downloads.forget(second(160));
        assert_eq!(downloads.filler("nfs/y"), None);
    }

    #[test]
    fn a_place_that_does_not_fill_holds_nobody_up_for_ever() {
        let mut downloads = Downloads::default();
        let lasts = |downloads: &mut Downloads, from: u64, to: u64| {
            (from..to).step_by(10).all(|now| {
                downloads.at_work("a", second(now));
                downloads.forget(second(now));
                downloads.filler("nfs/x") == Some("a")
            })
        };
        downloads.begin("a", "nfs/x", second(0));
        assert!(lasts(&mut downloads, 0, 900));
        downloads.begin("a", "nfs/x", second(900));
        assert!(lasts(&mut downloads, 900, 1860), "sent again: still the same download");
        downloads.forget(second(1860));
        assert_eq!(downloads.filler("nfs/x"), None);
    }

    #[test]
    fn a_failure_counts_for_the_others_and_longer_each_time() {
        let (mut downloads, what) = (Downloads::default(), ("nfs/x", "https://a/x"));
        downloads.failed("a", what, "404", second(0));
        assert_eq!(downloads.failure("a", what, second(1)), None, "its own tests wait anyway");
        assert_eq!(downloads.failure("b", what, second(1)), Some("404"));
        assert_eq!(downloads.failure("b", ("nfs/x", "https://b/x"), second(1)), None, "from elsewhere it may come");
        assert_eq!(downloads.failure("b", what, second(61)), None);
        downloads.failed("b", what, "404", second(61));
        assert_eq!(downloads.failure("a", what, second(61 + 119)), Some("404"));
        downloads.filled("c", "nfs/x");
        assert_eq!(downloads.failure("a", what, second(61 + 119)), None);
    }
}
