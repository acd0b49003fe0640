//! The values of secrets, masked in a stream of bytes: nothing else of it changes, and little of it is kept.

use std::fmt;

use zeroize::Zeroizing;

use super::output::{MASK, parts};

/// Masks values in bytes that come piece by piece.
#[derive(Default)]
pub struct Masker {
    values: Vec<Zeroizing<Vec<u8>>>,
    /// Which of the values begin with a byte.
    beginning: Vec<Vec<usize>>,
    /// What came and is not given out yet: a value may begin in it.
    held: Vec<u8>,
    /// How many bytes of `held` belong to a value.
    covered: usize,
    /// Whether the last that was given out is a mask.
    in_mask: bool,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").finish_non_exhaustive()
    }
}

impl Masker {
    /// Masks these values, whole and each of their lines, as far as they are long enough to be secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values: Vec<Zeroizing<Vec<u8>>> =
            secrets.into_iter().flat_map(parts).map(|part| Zeroizing::new(part.to_vec())).collect();
        values.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
        values.dedup();
        let mut beginning = vec![Vec::new(); 256];
        for (place, value) in values.iter().enumerate() {
            beginning[usize::from(value[0])].push(place);
        }
        Self { values, beginning, ..Self::default() }
    }

    /// Takes a piece; gives out what is certain by now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.values.is_empty() {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        self.give_out(false)
    }

    /// Gives out the rest: nothing more comes.
    pub fn finish(&mut self) -> Vec<u8> {
        self.give_out(true)
    }

    fn give_out(&mut self, is_end: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let here = self.matching(at);
            if here.is_open && !is_end {
                break;
            }
            self.covered = self.covered.max(at + here.longest);
            if at >= self.covered {
                out.push(self.held[at]);
                self.in_mask = false;
            } else if !self.in_mask {
                out.extend_from_slice(MASK.as_bytes());
                self.in_mask = true;
            }
            at += 1;
        }
        self.held.drain(..at);
        self.covered = self.covered.saturating_sub(at);
        out
    }

    /// What begins at this place.
    fn matching(&self, at: usize) -> Match {
        let rest = &self.held[at..];
        let mut found = Match { longest: 0, is_open: false };
        for place in &self.beginning[usize::from(rest[0])] {
            let value = &self.values[*place];
            if rest.starts_with(value.as_slice()) {
                found.longest = found.longest.max(value.len());
            } else if value.starts_with(rest) {
                found.is_open = true;
            }
        }
        found
    }
}

/// The values that begin at one place.
struct Match {
    /// The length of the longest one; 0 if there is none.
    longest: usize,
    /// Whether what is still to come decides about another one.
    is_open: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of `text` in pieces of `size` bytes.
    fn masked(text: &[u8], secrets: &[&str], size: usize) -> Vec<u8> {
        let mut masker = Masker::new(secrets.iter().map(|secret| secret.as_bytes()));
        let mut out: Vec<u8> = text.chunks(size).flat_map(|piece| masker.push(piece)).collect();
        out.extend(masker.finish());
        out
    }

    #[test]
    fn values_are_masked_wherever_they_are_cut() {
        let secrets = ["hunter22", "hunter22hunter33", "first line\nsecond line", "short", "22 over the end"];
        for size in 1..40 {
            let shown = |text: &str| String::from_utf8(masked(text.as_bytes(), &secrets, size)).unwrap();
            assert_eq!(shown("a hunter22 b short"), "a *** b short");
            assert_eq!(shown("hunter22hunter33!"), "***!");
            assert_eq!(shown("x second line, first line y"), "x ***, *** y");
            assert_eq!(shown("hunter22 over the end."), "***.", "one begins in the other");
            assert_eq!(shown("hunter2"), "hunter2");
        }
    }

    #[test]
    fn only_what_may_be_a_value_is_kept_back() {
        let mut masker = Masker::new([&b"hunter22"[..]]);
        assert_eq!(masker.push(b"done\nhunt"), b"done\n");
        assert_eq!(masker.push(b"s\n"), b"hunts\n");
        assert_eq!(masker.finish(), b"");
    }

    proptest! {
        #[test]
        fn no_value_is_left_and_all_else_stays(
            before in "[a-c]{0,30}", secret in "[a-c]{8,12}", after in "[a-c\u{0}\u{f6}]{0,30}", size in 1usize..20,
        ) {
            let text = format!("{before}{secret}{after}");
            let out = masked(text.as_bytes(), &[&secret], size);
            prop_assert!(!out.windows(secret.len()).any(|part| part == secret.as_bytes()));
            prop_assert_eq!(&out, &masked(text.as_bytes(), &[&secret], text.len()));
            let plain = masked(text.as_bytes(), &["not there"], size);
            prop_assert_eq!(plain, text.as_bytes());
        }
    }
}
