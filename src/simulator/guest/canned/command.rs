//! What a command does, as its words say.
//!
//! Known are `true`, `false`, `sleep N`, `echo WORD…`, `printf '%s\n' WORD…`, `printenv NAME`, and `sh -c SCRIPT` with a row of
//! these, `exit N`, `kill -SIGNAL $$` and `trap '' TERM`. There is no program `nosuch` and none with a blank in its name;
//! what is in `/etc` cannot be run. Every other program ends at once and well.

use std::time::Duration;

use super::words::{Variables, statements};
use crate::guest::scripts::TASK_COMMAND;
use crate::guest::tasks::Ended;

/// What a command does when nobody disturbs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    /// How long it runs.
    pub(super) lasts: Duration,
    pub(super) end: Ended,
    /// What it prints, each part when it has run for so long.
    pub(super) printed: Vec<(Duration, String)>,
    /// Whether it goes on when it is asked to end.
    pub(super) stubborn: bool,
}

impl Course {
    /// The course of the command that a guest was given.
    pub(super) fn of(text: &str) -> Self {
        let mut variables = Variables::new();
        let mut argv = Vec::new();
        let own = text.strip_suffix(TASK_COMMAND).unwrap_or(text);
        for mut words in statements(own, &Variables::new()) {
            match words.first().map(String::as_str) {
                Some("set") => argv = words.split_off(3.min(words.len())),
                Some("export") => {
                    let pair = words.get(1).and_then(|word| word.split_once('='));
                    variables.extend(pair.map(|(name, value)| (name.to_owned(), value.to_owned())));
                }
                _ => {}
            }
        }
        Self::run(&argv, &variables)
    }

    /// One that ends at once without having begun.
    pub(super) fn refused(why: String) -> Self {
        Self { end: Ended::CouldNotStart(why), ..Self::new() }
    }

    fn new() -> Self {
        Self { lasts: Duration::ZERO, end: Ended::Exited(0), printed: Vec::new(), stubborn: false }
    }

    fn run(argv: &[String], variables: &Variables) -> Self {
        let program = argv.first().map_or("", String::as_str);
        if program.starts_with("/etc/") {
            return Self::refused(format!("{program} cannot be run by this user"));
        }
        if program == "nosuch" || program.contains(' ') {
            return Self::refused(format!("there is no program {program} in the guest"));
        }
        let mut course = Self::new();
        course.take(argv, variables);
        course
    }

    /// Adds what a statement does; whether it was the last.
    fn take(&mut self, words: &[String], variables: &Variables) -> bool {
        let (program, args) = words.split_first().map_or(("", words), |(program, args)| (program.as_str(), args));
        let first = args.first().map_or("", String::as_str);
        let mut code = 0;
        match program.rsplit('/').next().unwrap_or(program) {
            "false" => code = 1,
            "sleep" => self.lasts += seconds(first),
            "echo" => self.print(&[args.join(" ")]),
            "printf" if first == "%s\\n" => self.print(&args[1..]),
            "printenv" => match variables.get(first) {
                Some(value) => self.print(std::slice::from_ref(value)),
                None => code = 1,
            },
            "sh" if first == "-c" => {
                let script = args.get(1).map_or("", String::as_str);
                return statements(script, variables).iter().any(|words| self.take(words, variables));
            }
            "trap" => self.stubborn = first.is_empty(),
            "exit" => {
                self.end = Ended::Exited(first.parse().unwrap_or(0));
                return true;
            }
            "kill" => {
                self.end = Ended::Signalled(signal(first));
                return true;
            }
            _ => {}
        }
        self.end = Ended::Exited(code);
        false
    }

    fn print(&mut self, lines: &[String]) {
        self.printed.extend(lines.iter().map(|line| (self.lasts, format!("{line}\n"))));
    }
}

fn seconds(text: &str) -> Duration {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
}

/// The name of a signal as `kill` is given it.
fn signal(text: &str) -> String {
    match text.trim_start_matches('-') {
        "9" => "KILL".to_owned(),
        "15" => "TERM".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(argv: &[&str]) -> Course {
        let words: Vec<String> = argv.iter().map(|word| format!(" '{}'", word.replace('\'', "'\\''"))).collect();
        Course::of(&format!("set -- \"$1\"{}\nexport A='b c'\n{TASK_COMMAND}", words.concat()))
    }

    #[test]
    fn a_course_is_what_the_words_say() {
        let asleep = course(&["sleep", "7.5"]);
        assert_eq!((asleep.lasts, asleep.end), (Duration::from_millis(7500), Ended::Exited(0)));
        assert_eq!(course(&["/bin/false"]).end, Ended::Exited(1));
        let script = course(&["/bin/sh", "-c", "trap '' TERM; echo \"$A\"; sleep 2; echo x; exit 3; sleep 9"]);
        let printed = [(Duration::ZERO, "b c\n".to_owned()), (Duration::from_secs(2), "x\n".to_owned())];
        let expected =
            Course { lasts: Duration::from_secs(2), end: Ended::Exited(3), printed: printed.into(), stubborn: true };
        assert_eq!(script, expected);
        assert_eq!(course(&["sh", "-c", "kill -9 $$"]).end, Ended::Signalled("KILL".into()));
        assert_eq!(course(&["sh", "-c", "sleep 1; false"]).end, Ended::Exited(1));
        assert!(matches!(course(&["nosuch"]).end, Ended::CouldNotStart(_)));
        assert_eq!(course(&["printenv", "A"]).printed, [(Duration::ZERO, "b c\n".to_owned())]);
        assert_eq!(course(&["backup", "--all"]), Course::new());
    }
}
