//! Reading a request: path, parameters, and what the real server refuses before it looks at either.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use percent_encoding::percent_decode_str;

use crate::simulator::world::refusal::Refusal;

/// Largest body that is accepted, in bytes (recorded 788).
const MAX_BODY: usize = 512 << 10;

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
}

/// Parameters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(pub(crate) BTreeMap<String, Value>);

impl Params {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Value::Text(text) => Some(text),
            Value::List(list) => list.first().map(String::as_str),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::Text(text)) => vec![text.clone()],
            Some(Value::List(list)) => list.clone(),
            None => Vec::new(),
        }
    }

    /// A list in one value, separated by commas, semicolons or blanks.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        let split = |text: String| text.split([',', ';', ' ', '\0']).map(str::to_owned).collect::<Vec<_>>();
        self.list(name).into_iter().flat_map(split).filter(|part| !part.is_empty()).collect()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "1")
    }

    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// One more occurrence of a name makes a list.
    fn add(&mut self, name: String, value: String) {
        match self.0.entry(name) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(Value::Text(value));
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => match slot.get_mut() {
                Value::List(list) => list.push(value),
                Value::Text(first) => {
                    let list = vec![std::mem::take(first), value];
                    slot.insert(Value::List(list));
                }
            },
        }
    }
}

/// In which form the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    ExtJs,
}

/// A request, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Below `/api2/json`, decoded, without the slashes.
    pub(crate) path: Vec<String>,
    pub(crate) form: Form,
    pub(crate) params: Params,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    pub(crate) fn path_text(&self) -> String {
        format!("/{}", self.path.join("/"))
    }
}

/// Takes a request apart. What this refuses is refused before anyone asks who calls.
pub(crate) fn read(request: &Request<Bytes>) -> Result<Asked, Refusal> {
    let method = request.method().clone();
    if !matches!(method, Method::GET | Method::POST | Method::PUT | Method::DELETE) {
        return Err(Refusal::bare(501, format!("method '{method}' not available")));
    }
    let headers = request.headers().clone();
    if headers.contains_key(http::header::TRANSFER_ENCODING) {
        return Err(Refusal::bare(501, "chunked transfer encoding not supported"));
    }
    let body = request.body();
    if matches!(method, Method::GET | Method::DELETE) && !body.is_empty() {
        return Err(Refusal::bare(501, "Unexpected content for method"));
    }
    if body.len() > MAX_BODY {
        return Err(Refusal { text_body: true, ..Refusal::bare(501, "for data too large") });
    }
    let (form, path) = split_path(request.uri().path())?;
    let mut params = Params::default();
    for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or("").as_bytes()) {
        params.add(name.into_owned(), value.into_owned());
    }
    let from_query: Vec<_> = params.0.keys().cloned().collect();
    for (name, value) in body_params(&headers, body)?.0 {
        if !from_query.contains(&name) {
            params.0.insert(name, value);
        }
    }
    Ok(Asked { method, path, form, params, headers })
}

fn split_path(path: &str) -> Result<(Form, Vec<String>), Refusal> {
    let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let mut parts = path.split('/').filter(|part| !part.is_empty()).map(decode);
    if parts.next().as_deref() != Some("api2") {
        return Err(Refusal { text_body: true, ..Refusal::error(format!("no such file '{path}'")) });
    }
    let form = match parts.next().as_deref() {
        Some("json") => Form::Json,
        Some("extjs") => Form::ExtJs,
        other => {
            let rest: Vec<_> = parts.collect();
            let (rest, other) = (rest.join("/"), other.unwrap_or(""));
            return Err(Refusal {
                text_body: true,
                ..Refusal::bare(501, format!("no formatter for uri /{rest}, {other}"))
            });
        }
    };
    Ok((form, parts.collect()))
}

fn body_params(headers: &HeaderMap, body: &Bytes) -> Result<Params, Refusal> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim().to_lowercase();
    match kind.as_str() {
        "application/json" => json_params(body),
        "" | "application/x-www-form-urlencoded" => {
            let mut params = Params::default();
            for (name, value) in form_urlencoded::parse(body) {
                params.add(name.into_owned(), value.into_owned());
            }
            Ok(params)
        }
        other => {
            let text = format!("upload 'Content-Type '{other}' not implemented");
            Err(Refusal { text_body: true, ..Refusal::bare(506, text) })
        }
    }
}

/// An empty body is no JSON either (recorded 142).
fn json_params(body: &Bytes) -> Result<Params, Refusal> {
    let malformed = || {
        let (end, place) = (body.len(), "at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 917.");
        let what = "malformed JSON string, neither tag, array, object, number, string or atom";
        let text = format!("{what}, at character offset {end} (before \"(end of string)\") {place}");
        Refusal { text_body: true, ..Refusal::bare(500, text) }
    };
    let serde_json::Value::Object(map) = serde_json::from_slice(body).map_err(|_| malformed())? else {
        return Err(malformed());
    };
    let mut params = Params::default();
    for (name, value) in map {
        match value {
            serde_json::Value::Array(items) => {
                let items = items.iter().filter_map(scalar).collect();
                params.0.insert(name, Value::List(items));
            }
            other => {
                if let Some(text) = scalar(&other) {
                    params.0.insert(name, Value::Text(text));
                }
            }
        }
    }
    Ok(params)
}

fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::Bool(value) => Some(u8::from(*value).to_string()),
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, uri: &str, body: &'static str) -> Result<Asked, Refusal> {
        read(&Request::builder().method(method).uri(uri).body(Bytes::from_static(body.as_bytes())).unwrap())
    }

    #[test]
    fn repeated_keys_make_a_list() {
        let asked = ask("POST", "/api2/json/x", "command=%2Fbin%2Fsh&command=-c&n=1").unwrap();
        assert_eq!(asked.params.list("command"), ["/bin/sh", "-c"]);
        assert_eq!(asked.params.text("n"), Some("1"));
    }

    #[test]
    fn a_body_on_get_and_delete_is_refused() {
        for method in ["GET", "DELETE"] {
            assert_eq!(ask(method, "/api2/json/version", "a=1").unwrap_err().status, 501);
        }
        assert_eq!(ask("PATCH", "/api2/json/version", "").unwrap_err().message, "method 'PATCH' not available");
    }

    #[test]
    fn slashes_may_be_doubled_and_trail() {
        assert_eq!(ask("GET", "/api2/json//version/", "").unwrap().path, ["version"]);
    }
}
