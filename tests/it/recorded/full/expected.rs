//! What the project states of the recordings: how many agree, which differ and why, which cannot be replayed and why.

use std::collections::{BTreeMap, BTreeSet};

use super::exchange::Recorded;
use super::replay::Verdict;

/// The statement about one folder.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) agree: usize,
    /// Name of an exchange to why the simulator answers otherwise.
    pub(super) differs: BTreeMap<String, String>,
    /// Name of an exchange to why it is not replayed.
    pub(super) apart: BTreeMap<String, String>,
}

/// Reads the statements by folder; the error names the line.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Expected>, String> {
    let mut all: BTreeMap<String, Expected> = BTreeMap::new();
    for (place, line) in text.lines().enumerate() {
        if !line.is_empty() && !line.starts_with('#') {
            read(&mut all, line).ok_or_else(|| format!("line {}: {line:?} states nothing", place + 1))?;
        }
    }
    Ok(all)
}

fn read(all: &mut BTreeMap<String, Expected>, line: &str) -> Option<()> {
    let (folders, rest) = line.split_once(' ')?;
    let (verb, rest) = rest.split_once(' ')?;
    for folder in folders.split(',') {
        let expected = all.entry(folder.to_owned()).or_default();
        if verb == "agree" {
            expected.agree = rest.parse().ok()?;
            continue;
        }
        let (name, reason) = rest.split_once(": ")?;
        let list = match verb {
            "differs" => &mut expected.differs,
            "apart" => &mut expected.apart,
            _ => return None,
        };
        list.insert(name.to_owned(), reason.to_owned());
    }
    Some(())
}

impl Expected {
    /// What is not as stated, in words.
    pub(super) fn untrue(&self, recorded: &[Recorded], verdicts: &BTreeMap<String, Verdict>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, verdict) in verdicts {
            match (verdict, self.differs.get(name)) {
                (Verdict::Differs(found), None) => wrong.push(format!("{name} differs: {}", found.join("; "))),
                // Nobody can tell while the call is not in use.
                (Verdict::Differs(_) | Verdict::NotInUse, Some(_)) | (_, None) => {}
                (Verdict::Agrees, Some(_)) => wrong.push(format!("{name} is stated to differ, and agrees")),
                (_, Some(_)) => wrong.push(format!("{name} is stated to differ, and is not replayed")),
            }
        }
        let names: BTreeSet<&String> = recorded.iter().map(|recorded| &recorded.name).collect();
        let stated = self.differs.keys().chain(self.apart.keys());
        wrong.extend(stated.filter(|name| !names.contains(name)).map(|name| format!("{name} is no recording")));
        let agree = verdicts.values().filter(|verdict| **verdict == Verdict::Agrees).count();
        if agree < self.agree {
            wrong.push(format!("{agree} agree, and {} are stated to", self.agree));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrue(stated: &str, verdict: Verdict) -> Vec<String> {
        let expected = parse(stated).unwrap().remove("lab").unwrap_or_default();
        expected.untrue(&[Recorded::named("001-x")], &BTreeMap::from([("001-x".to_owned(), verdict)]))
    }

    fn differs() -> Verdict {
        Verdict::Differs(vec!["status: 500 instead of 200".to_owned()])
    }

    #[test]
    fn what_is_as_stated_is_true() {
        assert_eq!(untrue("lab agree 1", Verdict::Agrees), [] as [String; 0]);
        assert_eq!(untrue("lab differs 001-x: on purpose", differs()), [] as [String; 0]);
        assert_eq!(untrue("lab,den apart 001-x: by hand", Verdict::NotReplayed("by hand".into())), [] as [String; 0]);
    }

    #[test]
    fn what_is_otherwise_is_told() {
        assert_eq!(untrue("lab agree 0", differs()), ["001-x differs: status: 500 instead of 200"]);
        assert_eq!(untrue("lab agree 1", Verdict::NotInUse), ["0 agree, and 1 are stated to"]);
        let stale = "lab differs 001-x: on purpose";
        assert_eq!(untrue(stale, Verdict::Agrees), ["001-x is stated to differ, and agrees"]);
        let apart = Verdict::NotReplayed("by hand".into());
        assert_eq!(untrue(stale, apart), ["001-x is stated to differ, and is not replayed"]);
        assert_eq!(untrue("lab apart 002-y: by hand", Verdict::Agrees), ["002-y is no recording"]);
    }

    #[test]
    fn a_line_that_states_nothing_is_named() {
        assert_eq!(parse("lab agree 1\nlab sulks").unwrap_err(), "line 2: \"lab sulks\" states nothing");
    }
}
