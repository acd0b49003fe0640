//! What an image has that workers need, as the script [`IMAGE`] tells it at the first boot of an image.

use super::channel::Output;
use super::records::{BadAnswer, Record, read};
use super::scripts::IMAGE;

/// The oldest version of systemd that workers can do with; `scripts/guarded.sh` says why.
pub const OLDEST_SYSTEMD: u32 = 245;

/// What an image has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// The name of process 1, such as `systemd`.
    pub init: String,
    /// The number of systemd's version; none where nothing told it.
    pub systemd: Option<u32>,
    /// The programs that were asked for and are not there.
    pub missing: Vec<String>,
    /// `apt`, `dnf` or `none`.
    pub packages: String,
    /// The package manager's lock file, if somebody holds it.
    pub lock_held: Option<String>,
    /// The user that cloud-init was asked to make: how many SSH keys may log in as it; none without the user.
    pub user_keys: Option<u32>,
    /// How many SSH host keys there are.
    pub host_keys: u32,
}

impl ImageFacts {
    /// Reads the output of [`IMAGE`].
    pub fn read(output: &Output) -> Result<Self, BadAnswer> {
        let mut facts = Self::default();
        for record in read(IMAGE, output)? {
            facts.take(&record)?;
        }
        if facts.init.is_empty() {
            return Err(BadAnswer::new(IMAGE, "did not tell what runs"));
        }
        Ok(facts)
    }

    fn take(&mut self, record: &Record) -> Result<(), BadAnswer> {
        match record.key() {
            "init" => record.exactly().map(|[name]| name.clone_into(&mut self.init)),
            "systemd" => record.exactly().map(|[version]| self.systemd = version.parse().ok()),
            "program" => record.exactly().map(|[name, there]| {
                if there == "no" {
                    self.missing.push(name.to_owned());
                }
            }),
            "packages" => record.exactly().map(|[name]| name.clone_into(&mut self.packages)),
            "lock" => record.exactly().map(|[state, file]| self.lock_held = (state == "held").then(|| file.to_owned())),
            "user" => self.take_user(record),
            "host-keys" => {
                let [number] = record.exactly()?;
                self.host_keys = record.parsed(number)?;
                Ok(())
            }
            _ => Err(record.bad("nothing of that name is known")),
        }
    }

    fn take_user(&mut self, record: &Record) -> Result<(), BadAnswer> {
        let [_, there, keys] = record.exactly()?;
        self.user_keys = if there == "yes" { Some(record.parsed(keys)?) } else { None };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::records::tests::printed;
    use super::*;

    #[test]
    fn an_answer_is_read_whole() {
        let text = "script\timage\t1\ninit\tsystemd\nsystemd\t252\nprogram\tnc\tno\nprogram\tip\tyes\npackages\tapt\n\
                    lock\theld\t/var/lib/dpkg/lock-frontend\nuser\tstevedore\tyes\t1\nhost-keys\t3\nend\n";
        let facts = ImageFacts::read(&printed(text)).unwrap();
        let expected = ImageFacts {
            init: "systemd".into(),
            systemd: Some(252),
            missing: vec!["nc".into()],
            packages: "apt".into(),
            lock_held: Some("/var/lib/dpkg/lock-frontend".into()),
            user_keys: Some(1),
            host_keys: 3,
        };
        assert_eq!(facts, expected);
        assert!(ImageFacts::read(&printed("script\timage\t1\nend\n")).is_err());
    }

    proptest! {
        #[test]
        fn reading_never_panics(lines in "(?:(?:init|systemd|program|lock|user|host-keys)(?:\t(?:yes|no|held|[ -~]{0,9})){0,4}\n){0,6}") {
            let _ = ImageFacts::read(&printed(format!("script\timage\t1\n{lines}end\n")));
        }
    }
}
