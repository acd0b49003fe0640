//! A proxy on its way into a guest: one URL that apt and dnf both understand, and what must not show in what they say.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A shorter password is not looked for by itself: it would show where there is none.
const SHORTEST_HIDDEN: usize = 8;

/// A proxy through which packages are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://` or `https://`, a host, and a port if it is another one than the scheme's own.
    pub url: String,
    /// The user and the password that it asks for.
    pub credentials: Option<(String, Secret)>,
}

/// A proxy that can be sent.
pub(super) struct Ready {
    lines: Vec<Zeroizing<String>>,
}

impl Ready {
    /// Makes it ready; else the reason why no guest can use it, in which no secret stands.
    pub(super) fn of(proxy: &Proxy) -> Result<Self, String> {
        let (scheme, place) = place(&proxy.url)?;
        let Some((user, password)) = &proxy.credentials else {
            return Ok(Self { lines: vec![Zeroizing::new(format!("{scheme}://{place}/"))] });
        };
        check("user", user)?;
        check("password", password.expose())?;
        if user.contains(':') {
            return Err("the user of the proxy has a colon, which ends a user's name on its way".to_owned());
        }
        // With nothing but letters, digits and % no program takes a part of it for something else.
        let encoded = Zeroizing::new(utf8_percent_encode(password.expose(), NON_ALPHANUMERIC).to_string());
        let pair = Zeroizing::new(format!("{}:{}", utf8_percent_encode(user, NON_ALPHANUMERIC), *encoded));
        let url = Zeroizing::new(format!("{scheme}://{}@{place}/", *pair));
        let plain = Zeroizing::new(password.expose().to_owned());
        let hidden = [plain, encoded].into_iter().filter(|word| word.len() >= SHORTEST_HIDDEN);
        Ok(Self { lines: [url, pair].into_iter().chain(hidden).collect() })
    }

    /// What the guest gets: the URL, then the words that nobody may see, one a line.
    pub(super) fn input(self) -> Zeroizing<Vec<u8>> {
        let mut input = Zeroizing::new(Vec::new());
        for line in &self.lines {
            input.extend_from_slice(line.as_bytes());
            input.push(b'\n');
        }
        input
    }
}

/// The scheme, and the host with a port: programs do not agree on the port of a proxy that names none.
fn place(url: &str) -> Result<(&str, String), String> {
    let odd = || format!("{url:?} is not the URL of a proxy, such as http://proxy.example.org:3128");
    let (scheme, rest) = url.split_once("://").ok_or_else(odd)?;
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(odd()),
    };
    let place = rest.strip_suffix('/').unwrap_or(rest);
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':' | '[' | ']');
    if place.is_empty() || !place.chars().all(fits) {
        return Err(odd());
    }
    let after_host = place.rsplit_once(']').map_or(place, |(_, after)| after);
    if place.starts_with(':') {
        return Err(odd());
    }
    Ok((scheme, if after_host.contains(':') { place.to_owned() } else { format!("{place}:{port}") }))
}

fn check(what: &str, text: &str) -> Result<(), String> {
    match text {
        "" => Err(format!("the {what} of the proxy is empty")),
        _ if text.chars().any(char::is_control) => {
            Err(format!("the {what} of the proxy has a line break or another control character"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, credentials: Option<(&str, &str)>) -> Result<String, String> {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), Secret::new(password.to_owned())));
        let ready = Ready::of(&Proxy { url: url.to_owned(), credentials })?;
        Ok(String::from_utf8(ready.input().to_vec()).unwrap())
    }

    #[test]
    fn a_proxy_has_a_port_and_nothing_that_a_program_could_misread() {
        assert_eq!(proxy("http://proxy.lab", None).unwrap(), "http://proxy.lab:80/\n");
        assert_eq!(proxy("https://proxy.lab/", None).unwrap(), "https://proxy.lab:443/\n");
        assert_eq!(proxy("http://[2001:db8::1]", None).unwrap(), "http://[2001:db8::1]:80/\n");
        assert_eq!(proxy("http://[2001:db8::1]:3128/", None).unwrap(), "http://[2001:db8::1]:3128/\n");
        let told = proxy("http://proxy.lab:3128", Some(("ann@lab", "a\"b$c\\d#\u{f6}"))).unwrap();
        let encoded = "a%22b%24c%5Cd%23%C3%B6";
        let expected =
            format!("http://ann%40lab:{encoded}@proxy.lab:3128/\nann%40lab:{encoded}\na\"b$c\\d#\u{f6}\n{encoded}\n");
        assert_eq!(told, expected);
    }

    #[test]
    fn a_short_password_is_hidden_together_with_its_user_alone() {
        assert_eq!(
            proxy("http://proxy.lab:1", Some(("ann", "short"))).unwrap(),
            "http://ann:short@proxy.lab:1/\nann:short\n"
        );
    }

    #[test]
    fn what_no_program_could_use_is_refused_without_telling_it() {
        for url in
            ["proxy.lab:3128", "ftp://proxy.lab", "http://", "http://:3128", "http://a b", "http://a\"b", "http://a/b"]
        {
            assert!(proxy(url, None).unwrap_err().contains("is not the URL of a proxy"), "{url}");
        }
        for (user, password) in
            [("", "hunter22"), ("a:b", "hunter22"), ("a", "hunter\n22"), ("a\tb", "hunter22"), ("a", "")]
        {
            let why = proxy("http://proxy.lab", Some((user, password))).unwrap_err();
            assert!(why.contains("of the proxy") && !why.contains("hunter"), "{why}");
        }
    }
}
