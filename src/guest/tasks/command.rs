//! A command on its way into a guest: a text that a shell in the unit reads, in pieces that the channel carries.
//!
//! The text gives the shell the words as they are, between single quotes, and the variables, which so are in no file that
//! others than root can read and in no list of processes. systemd sees nothing of either, so it expands nothing.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::domain::attempt::belongs_to_shells;
use crate::guest::channel::LARGEST_INPUT;
use crate::guest::scripts::TASK_COMMAND;
use crate::secret::Secret;

/// What a piece carries besides its first line.
const PIECE: usize = LARGEST_INPUT - 1024;
/// Linux takes no longer word, and no longer variable with its name, counting the byte at its end (`MAX_ARG_STRLEN`).
const LONGEST_WORD: usize = 128 * 1024 - 1;
/// Words and variables together: less than what Linux takes where nobody has set another limit (2 MiB).
const LONGEST_COMMAND: usize = 1024 * 1024;

/// A command that is to run in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, by its path or by a name in `PATH`, and its arguments: word for word, nothing is expanded.
    pub argv: Vec<String>,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// Variables whose values are secret. They go before those in `env`.
    pub secret_env: Vec<(String, Secret)>,
    /// The user that it runs as.
    pub user: String,
    /// How long it may run, in whole seconds.
    pub timeout: Duration,
}

/// A command that can be sent.
pub(super) struct Ready {
    /// At least one.
    pub(super) pieces: Vec<Zeroizing<Vec<u8>>>,
    pub(super) user: String,
    /// How long it may run.
    pub(super) seconds: u64,
}

impl Command {
    /// The reason why no guest can run it, if there is one; no secret stands in it.
    pub fn check(&self) -> Result<(), String> {
        self.check_program()?;
        self.check_size()?;
        self.variables().try_for_each(|(name, _)| check_name(name))?;
        check_user(&self.user)
    }

    /// Makes it ready; else the reason of [`check`](Self::check).
    pub(super) fn ready(&self) -> Result<Ready, String> {
        self.check()?;
        let seconds = self.timeout.as_secs() + u64::from(self.timeout.subsec_nanos() > 0);
        Ok(Ready { pieces: pieces(&self.text()), user: self.user.clone(), seconds: seconds.max(1) })
    }

    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let plain = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        plain.chain(self.secret_env.iter().map(|(name, value)| (name.as_str(), value.expose())))
    }

    fn check_program(&self) -> Result<(), String> {
        match self.argv.first() {
            None => Err("the command has no words".to_owned()),
            Some(program) if program.is_empty() || program.starts_with('-') => {
                Err(format!("{program:?} is not the name of a program"))
            }
            Some(_) => Ok(()),
        }
    }

    fn check_size(&self) -> Result<(), String> {
        let words =
            (1..).zip(&self.argv).map(|(number, word)| (format!("word {number} of the command"), word.as_str(), 0));
        let variables = self.variables().map(|(name, value)| (format!("the variable {name}"), value, name.len() + 1));
        let mut total = 0;
        for (what, text, more) in words.chain(variables) {
            if text.contains('\0') {
                return Err(format!("{what} has a NUL byte, which no program can be given"));
            }
            if text.len() + more > LONGEST_WORD {
                return Err(format!("{what} is longer than 128 KiB, which Linux does not take"));
            }
            total += text.len() + more + 1;
        }
        if total > LONGEST_COMMAND {
            return Err("the command and its variables are longer than 1 MiB".to_owned());
        }
        Ok(())
    }

    /// What the shell in the unit reads; what its first argument is, [`TASK_COMMAND`] says.
    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new("set -- \"$1\"".to_owned());
        for word in &self.argv {
            text.push(' ');
            quote(word, &mut text);
        }
        text.push('\n');
        for (name, value) in self.variables() {
            let _ = write!(text, "export {name}=");
            quote(value, &mut text);
            text.push('\n');
        }
        text.push_str(TASK_COMMAND);
        text
    }
}

/// Appends a word as a shell reads it without changing anything.
fn quote(word: &str, text: &mut String) {
    text.push('\'');
    for letter in word.chars() {
        match letter {
            '\'' => text.push_str("'\\''"),
            _ => text.push(letter),
        }
    }
    text.push('\'');
}

/// The name becomes an assignment in a shell.
fn check_name(name: &str) -> Result<(), String> {
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
    if !begins || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Err(format!("{name:?} is not the name of a variable: letters, digits and _, no digit first"));
    }
    if belongs_to_shells(name) {
        return Err(format!("the variable {name} cannot be given, because shells keep it for themselves"));
    }
    Ok(())
}

/// The name goes to systemd, which would expand `%`.
fn check_user(user: &str) -> Result<(), String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-' | '@' | '+');
    if user.is_empty() || user.starts_with('-') || user.len() > 255 || !user.chars().all(fits) {
        return Err(format!("{user:?} is not the name of a user"));
    }
    Ok(())
}

/// The text in pieces. The first line of each says which text it is of, and how long that is.
fn pieces(text: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut head = String::new();
    for byte in &Sha256::digest(text.as_bytes())[..16] {
        let _ = write!(head, "{byte:02x}");
    }
    let _ = writeln!(head, " {}", text.len());
    text.as_bytes().chunks(PIECE).map(|piece| Zeroizing::new([head.as_bytes(), piece].concat())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn command(argv: &[&str]) -> Command {
        Command {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            secret_env: Vec::new(),
            user: "root".to_owned(),
            timeout: Duration::from_millis(1500),
        }
    }

    fn refusal(command: &Command) -> String {
        command.ready().err().unwrap()
    }

    #[test]
    fn the_shell_gets_words_between_single_quotes() {
        let mut wanted = command(&["echo", "a'b", "$HOME %n\n"]);
        wanted.env = vec![("A".into(), "1".into())];
        wanted.secret_env = vec![("B".into(), Secret::new("s3cret".into()))];
        let text = wanted.text();
        let expected =
            "set -- \"$1\" 'echo' 'a'\\''b' '$HOME %n\n'\nexport A='1'\nexport B='s3cret'\n# Stands at the end";
        assert!(text.starts_with(expected), "{}", *text);
        assert_eq!(wanted.ready().unwrap().seconds, 2);
        assert!(!format!("{wanted:?}").contains("s3cret"));
    }

    #[test]
    fn what_no_guest_can_run_is_refused_in_words_without_the_secret() {
        assert_eq!(refusal(&command(&[])), "the command has no words");
        assert_eq!(refusal(&command(&["-x"])), "\"-x\" is not the name of a program");
        assert_eq!(
            refusal(&command(&["a", "b\0"])),
            "word 2 of the command has a NUL byte, which no program can be given"
        );
        let long = "x".repeat(LONGEST_WORD);
        assert!(command(&["a", &long]).ready().is_ok());
        let longer = format!("{long}x");
        assert_eq!(
            refusal(&command(&["a", &longer])),
            "word 2 of the command is longer than 128 KiB, which Linux does not take"
        );
        assert!(refusal(&command(&[&*long; 9])).contains("longer than 1 MiB"));
        for name in ["", "1A", "a-b", "A=", "ä", "UID", "BASHOPTS", "_"] {
            let secret_env = vec![(name.to_owned(), Secret::new("hunter2".into()))];
            let text = refusal(&Command { secret_env, ..command(&["a"]) });
            assert!(text.contains(name) && !text.contains("hunter2"), "{text}");
        }
        for user in ["", "-x", "a b", "%n", "ä"] {
            let text = refusal(&Command { user: user.to_owned(), ..command(&["a"]) });
            assert_eq!(text, format!("{user:?} is not the name of a user"));
        }
    }

    proptest! {
        #[test]
        fn pieces_fit_and_are_the_text(length in 0usize..200_000) {
            let text = "ö".repeat(length / 2) + &"x".repeat(length % 2 + 1);
            let (mut whole, mut heads) = (Vec::new(), Vec::new());
            for piece in pieces(&text) {
                prop_assert!(piece.len() <= LARGEST_INPUT);
                let end = piece.iter().position(|byte| *byte == b'\n').unwrap();
                heads.push(piece[..end].to_vec());
                whole.extend_from_slice(&piece[end + 1..]);
            }
            prop_assert_eq!(whole, text.as_bytes());
            heads.dedup();
            prop_assert_eq!(heads.len(), 1);
            let size = format!(" {}", text.len());
            prop_assert!(heads[0].ends_with(size.as_bytes()));
        }
    }
}
