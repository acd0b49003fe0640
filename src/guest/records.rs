//! Reads what a script printed: one record a line, fields separated by tabs, printable ASCII only.
//!
//! The first record is `script NAME 1`, the last `end`, so that output that was cut is never taken for whole. Inside a
//! field a backslash is written `\\`, a tab `\t` and a line break `\n`. Whatever else comes is a [`BadAnswer`].

use std::fmt::Display;
use std::str::FromStr;

use thiserror::Error;

use super::channel::{Output, Script};

/// A script's output that cannot be read: the guest is broken, or something else answered in its place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the script \"{script}\" in the guest {problem}")]
pub struct BadAnswer {
    script: &'static str,
    problem: String,
}

impl BadAnswer {
    /// A bad answer of `script`; `problem` goes on after "the script … in the guest".
    pub fn new(script: Script, problem: impl Into<String>) -> Self {
        Self { script: script.name, problem: problem.into() }
    }
}

/// One line of a script's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    script: Script,
    line: usize,
    fields: Vec<String>,
}

impl Record {
    /// What the record is about: its first field.
    pub fn key(&self) -> &str {
        self.fields.first().map_or("", String::as_str)
    }

    /// The fields after the key.
    pub fn values(&self) -> &[String] {
        self.fields.get(1..).unwrap_or_default()
    }

    /// The fields after the key, if there are exactly `N`.
    pub fn exactly<const N: usize>(&self) -> Result<[&str; N], BadAnswer> {
        let values: Vec<&str> = self.values().iter().map(String::as_str).collect();
        <[&str; N]>::try_from(values)
            .map_err(|values| self.bad(format_args!("{} fields where {N} belong", values.len())))
    }

    /// A field as a number, an address or the like.
    pub fn parsed<T: FromStr>(&self, field: &str) -> Result<T, BadAnswer> {
        field.parse().map_err(|_| self.bad(format_args!("{field:?} does not belong there")))
    }

    /// A complaint about this record.
    pub fn bad(&self, why: impl Display) -> BadAnswer {
        let problem = format!("gave an unreadable answer (line {}, record {:?}: {why})", self.line, self.key());
        BadAnswer { script: self.script.name, problem }
    }
}

/// The records between the first and the last, in their order.
pub fn read(script: Script, output: &Output) -> Result<Vec<Record>, BadAnswer> {
    let bad = |problem: String| BadAnswer::new(script, problem);
    match output.exit_code {
        _ if output.truncated => return Err(bad("printed more than the channel carries".to_owned())),
        Some(0) => {}
        Some(code) => return Err(bad(format!("ended with exit code {code}{}", complaint(output)))),
        None => return Err(bad(format!("was ended by a signal{}", complaint(output)))),
    }
    let text = std::str::from_utf8(&output.stdout).map_err(|_| bad("printed bytes that are not text".to_owned()))?;
    let text = text.strip_suffix('\n').ok_or_else(|| bad(format!("printed no whole line{}", complaint(output))))?;
    let lines = text.split('\n').enumerate();
    let mut records = lines.map(|(index, line)| record(script, index + 1, line)).collect::<Result<Vec<_>, _>>()?;
    if records.first().is_none_or(|first| first.fields != ["script", script.name, "1"]) {
        return Err(bad("did not begin its answer with its name".to_owned()));
    }
    if records.pop().is_none_or(|last| last.fields != ["end"]) {
        return Err(bad(format!("did not finish its answer{}", complaint(output))));
    }
    Ok(records.into_iter().skip(1).collect())
}

fn record(script: Script, line: usize, text: &str) -> Result<Record, BadAnswer> {
    let bad = || BadAnswer::new(script, format!("gave an unreadable answer (line {line} has stray characters)"));
    let fields = text.split('\t').map(|field| unescape(field).ok_or_else(bad)).collect::<Result<Vec<_>, _>>()?;
    Ok(Record { script, line, fields })
}

/// The text of a field; none if it has characters that a script never prints.
fn unescape(field: &str) -> Option<String> {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                _ => return None,
            },
            ' '..='~' => character,
            _ => return None,
        });
    }
    Some(text)
}

/// The first line of standard error, for people: `: text`, or nothing.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line: String = line.chars().filter(|character| !character.is_control()).take(200).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::scripts::RESOLVE;
    use super::*;

    /// Output of a script that ended well.
    pub(crate) fn printed(text: impl Into<Vec<u8>>) -> Output {
        Output { exit_code: Some(0), stdout: text.into(), ..Output::default() }
    }

    fn problem(output: &Output) -> String {
        read(RESOLVE, output).unwrap_err().to_string()
    }

    #[test]
    fn fields_come_back_as_they_were() {
        let records = read(RESOLVE, &printed("script\tresolve\t1\nname\ta\\tb\\nc\\\\d\t\nend\n")).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].key(), "name");
        assert_eq!(records[0].exactly::<2>().unwrap(), ["a\tb\nc\\d", ""]);
    }

    #[test]
    fn output_that_was_cut_is_refused() {
        assert!(problem(&printed("script\tresolve\t1\nname\ta\n")).contains("did not finish"));
        assert!(problem(&printed("script\tresolve\t1\nname\ta\nend")).contains("no whole line"));
        assert!(problem(&printed("")).contains("no whole line"));
        let cut = Output { truncated: true, ..printed("script\tresolve\t1\nend\n") };
        assert!(problem(&cut).contains("more than the channel carries"));
    }

    #[test]
    fn another_scripts_answer_is_refused() {
        assert!(problem(&printed("script\tfacts\t1\nend\n")).contains("did not begin its answer with its name"));
    }

    #[test]
    fn a_failed_script_shows_its_complaint() {
        let failed = Output { exit_code: Some(127), stderr: b"\nsh: sed: not found\n".to_vec(), ..Output::default() };
        let text = problem(&failed);
        assert_eq!(text, "the script \"resolve\" in the guest ended with exit code 127: sh: sed: not found");
        assert!(problem(&Output::default()).contains("was ended by a signal"));
    }

    #[test]
    fn stray_characters_are_refused() {
        for field in ["a\rb", "w\u{f6}rld", "a\\x", "a\\", "\u{1b}[0m"] {
            let text = problem(&printed(format!("script\tresolve\t1\nname\t{field}\nend\n")));
            assert!(text.contains("line 2 has stray characters"), "{text}");
        }
        assert!(problem(&printed(b"\xff\n".to_vec())).contains("not text"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(stdout: Vec<u8>, stderr: Vec<u8>, exit_code: Option<i32>, truncated: bool) {
            let _ = read(RESOLVE, &Output { exit_code, stdout, stderr, truncated });
        }
    }
}
