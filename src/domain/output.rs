//! The end of a command's output, as it can stand in a status: text, cut, and without the values of secrets.

use std::fmt::Write;

/// Stands in the place of a secret value.
pub(super) const MASK: &str = "***";
/// Values that are shorter are no secrets worth the name, and would be found everywhere.
const SHORTEST: usize = 8;

/// The last bytes of an output as text of at most `most` bytes. `bytes` begins where it was cut, so that it may begin in
/// the middle of a secret.
pub fn shown(bytes: &[u8], secrets: &[&str], most: usize) -> String {
    let mut text = escaped(bytes);
    let mut values: Vec<String> = secrets.iter().flat_map(|value| parts(value.as_bytes())).map(escaped).collect();
    // The longest first: one may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    // First of all what was cut: a part of it may be a value, too.
    if let Some(rest) = values.iter().filter_map(|value| cut_value(&text, value)).min_by_key(|rest| rest.len()) {
        text = format!("{MASK}{rest}");
    }
    for value in &values {
        text = text.replace(value.as_str(), MASK);
    }
    last(&text, most)
}

/// A value as a whole, and each of its lines: programs print them one by one.
pub(super) fn parts(value: &[u8]) -> Vec<&[u8]> {
    let lines = value.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.filter(|line| *line != value);
    std::iter::once(value).chain(lines).filter(|part| part.len() >= SHORTEST).collect()
}

/// What follows the end of `value` with which `text` begins, if it does.
fn cut_value<'a>(text: &'a str, value: &str) -> Option<&'a str> {
    let ends = value.char_indices().map(|(at, _)| &value[at..]).skip(1);
    ends.take_while(|end| end.len() >= SHORTEST).find_map(|end| text.strip_prefix(end))
}

/// Text as it is, anything else as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' => text.push(character),
                '\r' => text.push_str("\\r"),
                other if other.is_control() => push_code(&mut text, u32::from(other)),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            push_code(&mut text, u32::from(*byte));
        }
    }
    text
}

fn push_code(text: &mut String, code: u32) {
    // Writing into a text never fails.
    let _ = write!(text, "\\x{code:02x}");
}

/// The last `most` bytes of a text, cut between two characters.
fn last(text: &str, most: usize) -> String {
    let begin = text.len().saturating_sub(most);
    let begin = (begin..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[begin..].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_text_is_escaped() {
        assert_eq!(shown(b"a\xffb\r\n\x1b[0m\t\xc3\xb6", &[], 100), "a\\xffb\\r\n\\x1b[0m\t\u{f6}");
    }

    #[test]
    fn secrets_are_masked_whole_line_by_line_and_where_they_were_cut() {
        let secrets = ["hunter22", "first line\nsecond line", "short"];
        assert_eq!(shown(b"a hunter22 b", &secrets, 100), "a *** b");
        assert_eq!(shown(b"x second line y short", &secrets, 100), "x *** y short");
        assert_eq!(shown(b"t line\nsecond line z", &secrets, 100), "*** z");
        assert_eq!(shown(b"0123456789abcdef", &["0123456789", "0123456789abcdef"], 100), "***");
    }

    #[test]
    fn the_end_is_kept_and_cut_between_characters() {
        assert_eq!(shown("a\u{f6}bc".as_bytes(), &[], 3), "bc");
        assert_eq!(shown("a\u{f6}bc".as_bytes(), &[], 4), "\u{f6}bc");
    }

    proptest! {
        #[test]
        fn no_secret_is_left_and_nothing_is_too_long(
            before in "[a-z ]{0,20}", secret in "[!-~]{8,20}", after in "[a-z ]{0,20}", cut in 0usize..40, most in 0usize..60,
        ) {
            let all = format!("{before}{secret}{after}");
            let bytes = &all.as_bytes()[cut.min(all.len())..];
            let text = shown(bytes, &[&secret], most);
            prop_assert!(text.len() <= most);
            prop_assert!(!text.contains(secret.as_str()));
        }
    }
}
