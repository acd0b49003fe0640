//! Parameters of a call and how they are encoded.
//!
//! Everything goes as `application/x-www-form-urlencoded`, in the body of POST and PUT and in the query of GET and
//! DELETE (which may have no body): this works on every supported version. A repeated key makes an array. Truth values
//! are `0` and `1`; nothing else is taken (recorded 834, 835).

use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands for itself in a path segment and in a percent-encoded value.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Parameters, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Adds a parameter; the same name again makes an array.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.push(name, &value);
        self
    }

    /// Adds a truth value.
    #[must_use]
    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        self.with(name, u8::from(value))
    }

    /// Adds a parameter in place.
    pub(super) fn push(&mut self, name: &str, value: &(impl Display + ?Sized)) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The encoded form.
    pub(super) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// Percent-encodes all but letters, digits and `-_.~`: for a path segment, and for `sshkeys`, which is encoded by
/// itself before the form encodes it again (recorded 530, 536).
pub(super) fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Undoes [`percent_encoded`].
pub(super) fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_stay_in_order() {
        let params = Params::default().with("command", "/bin/echo").with("command", "wörld & so").flag("full", true);
        assert_eq!(params.encoded(), "command=%2Fbin%2Fecho&command=w%C3%B6rld+%26+so&full=1");
    }

    #[test]
    fn keys_of_users_are_encoded_twice() {
        let keys = "ssh-ed25519 AAAA+/= me";
        let once = percent_encoded(keys);
        assert_eq!(once, "ssh-ed25519%20AAAA%2B%2F%3D%20me");
        assert_eq!(percent_decoded(&once), keys);
        let wire = Params::default().with("sshkeys", &once).encoded();
        assert_eq!(wire, "sshkeys=ssh-ed25519%2520AAAA%252B%252F%253D%2520me");
    }
}
