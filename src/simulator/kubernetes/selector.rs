//! Label and field selectors.

use serde_json::Value;

use super::call::Call;
use super::error::{Answer, Refusal};

/// Which objects of a collection a request is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    path: Vec<String>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    pub(super) fn of(call: &Call) -> Answer<Self> {
        let mut terms = Vec::new();
        for text in split(call.parameter("labelSelector").unwrap_or("")) {
            terms.push(label_term(&text)?);
        }
        for text in split(call.parameter("fieldSelector").unwrap_or("")) {
            terms.push(field_term(&text)?);
        }
        Ok(Self { terms })
    }

    pub(super) fn admits(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| term.admits(object))
    }
}

impl Term {
    fn admits(&self, object: &Value) -> bool {
        let found = self.path.iter().try_fold(object, |value, key| value.get(key));
        let text = found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        match (&self.test, text) {
            (Test::In(values), Some(text)) => values.contains(&text),
            (Test::NotIn(values), Some(text)) => !values.contains(&text),
            (Test::In(values), None) => self.is_field() && values.iter().any(String::is_empty),
            (Test::NotIn(_) | Test::Absent, None) | (Test::Exists, Some(_)) => true,
            (Test::Absent, Some(_)) | (Test::Exists, None) => false,
        }
    }

    fn is_field(&self) -> bool {
        self.path.get(1).is_none_or(|second| second != "labels")
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn label_term(text: &str) -> Answer<Term> {
    let label = |key: &str| vec!["metadata".to_owned(), "labels".to_owned(), key.trim().to_owned()];
    if let Some((path, test)) = equality(text) {
        return Ok(Term { path: label(&path), test });
    }
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Term { path: label(key), test: Test::Absent });
    }
    let words: Vec<&str> = text.splitn(3, ' ').collect();
    match words.as_slice() {
        [key] => Ok(Term { path: label(key), test: Test::Exists }),
        [key, "in", list] => Ok(Term { path: label(key), test: Test::In(members(list)) }),
        [key, "notin", list] => Ok(Term { path: label(key), test: Test::NotIn(members(list)) }),
        _ => Err(Refusal::bad_request(format!("unable to parse requirement: {text}"))),
    }
}

fn field_term(text: &str) -> Answer<Term> {
    let (path, wanted) =
        equality(text).ok_or_else(|| Refusal::bad_request(format!("invalid field selector: {text}")))?;
    Ok(Term { path: path.split('.').map(str::to_owned).collect(), test: wanted })
}

fn equality(text: &str) -> Option<(String, Test)> {
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = text.split_once(operator) {
            let values = vec![value.trim().to_owned()];
            return Some((key.trim().to_owned(), if equal { Test::In(values) } else { Test::NotIn(values) }));
        }
    }
    None
}

fn members(list: &str) -> Vec<String> {
    list.trim_matches(|letter| "() ".contains(letter)).split(',').map(|member| member.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admits(label_selector: &str) -> bool {
        let object = json!({"metadata": {"name": "w", "labels": {"tier": "gold", "zone": "a"}}});
        let terms = split(label_selector).iter().map(|text| label_term(text).unwrap()).collect();
        Selector { terms }.admits(&object)
    }

    #[test]
    fn label_selectors() {
        for yes in ["tier=gold", "tier==gold,zone!=b", "tier in (gold, silver)", "zone notin (b,c)", "tier", "!other"] {
            assert!(admits(yes), "{yes}");
        }
        for no in ["tier=silver", "tier=gold,zone=b", "tier notin (gold)", "!tier", "other", "other in (a)"] {
            assert!(!admits(no), "{no}");
        }
    }

    #[test]
    fn field_selectors() {
        let object = json!({"metadata": {"name": "w"}, "spec": {"hypervisorRef": {"name": "pve"}}});
        let admits = |text: &str| field_term(text).unwrap().admits(&object);
        assert!(admits("metadata.name=w") && admits("spec.hypervisorRef.name=pve") && admits("spec.absent="));
        assert!(!admits("metadata.name!=w") && !admits("spec.hypervisorRef.name=other"));
    }
}
