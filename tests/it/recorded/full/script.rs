//! How each folder is replayed: which worlds, in which order, and what happened between the exchanges without being
//! recorded. `tests/fixtures/proxmox/README.md` explains the words of the file.

use std::collections::BTreeMap;

use serde_json::Value;

/// Something done before an exchange.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Time goes by, in seconds.
    Pass(f64),
    /// A call of the administrator's; one that is not just tried must succeed, its task too.
    Send { tried: bool, method: String, path: String, params: Vec<(String, String)> },
    /// An option written by hand; none to remove it.
    Edit { vmid: u32, key: String, value: Option<String> },
    /// Whatever else happens to a machine or to the node.
    Do { what: String, to: String },
}

/// Numbers that are replayed in one world, one after the other.
#[derive(Debug)]
pub(super) struct Scene {
    ranges: Vec<(u32, u32)>,
    pub(super) world: String,
}

impl Scene {
    /// Whether the exchange of this number belongs to it.
    pub(super) fn has(&self, number: u32) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }
}

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) scenes: Vec<Scene>,
    before: BTreeMap<String, Vec<(String, Step)>>,
    callers: Vec<(u32, u32, String)>,
    params: BTreeMap<u32, Vec<(String, Value)>>,
    bodies: BTreeMap<u32, String>,
}

impl Script {
    /// Reads a script; the error names the line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (place, line) in text.lines().enumerate() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if !line.is_empty() && !line.starts_with('#') {
                script.read(line).ok_or_else(|| format!("line {}: {line:?} is no step", place + 1))?;
            }
        }
        Ok(script)
    }

    fn read(&mut self, line: &str) -> Option<()> {
        let (head, rest) = line.split_once(' ')?;
        match head {
            "scene" => {
                let (numbers, world) = rest.split_once(' ')?;
                let ranges = numbers.split(',').map(range).collect::<Option<_>>()?;
                self.scenes.push(Scene { ranges, world: world.to_owned() });
            }
            "before" => {
                let (place, step) = rest.split_once(' ')?;
                let (place, release) = place.split_once('@').unwrap_or((place, ""));
                self.before.entry(place.to_owned()).or_default().push((release.to_owned(), step_of(step)?));
            }
            "as" => {
                let (caller, numbers) = rest.split_once(' ')?;
                let (first, last) = range(numbers)?;
                self.callers.push((first, last, caller.to_owned()));
            }
            "with" => {
                let (number, param) = rest.split_once(' ')?;
                let (key, value) = param.split_once('=')?;
                let value = Value::String(value.to_owned());
                self.params.entry(number.parse().ok()?).or_default().push((key.to_owned(), value));
            }
            "body" => {
                let (number, text) = rest.split_once(' ')?;
                self.bodies.insert(number.parse().ok()?, text.to_owned());
            }
            _ => return None,
        }
        Some(())
    }

    /// What is done on this release before the first exchange of this number or name.
    pub(super) fn before(&self, place: &str, release: &str) -> impl Iterator<Item = &Step> {
        let here = self.before.get(place).into_iter().flatten();
        here.filter(move |(only, _)| only.is_empty() || only == release).map(|(_, step)| step)
    }

    /// Who calls, where the recording only says that it is another.
    pub(super) fn caller(&self, number: u32) -> Option<&str> {
        let named = self.callers.iter().find(|(first, last, _)| (*first..=*last).contains(&number));
        named.map(|(_, _, caller)| caller.as_str())
    }

    /// The body that was sent in place of parameters.
    pub(super) fn body(&self, number: u32) -> Option<&str> {
        self.bodies.get(&number).map(String::as_str)
    }

    /// Puts in the parameters whose recorded value was taken out.
    pub(super) fn complete(&self, number: u32, params: &mut [(String, Value)]) {
        for (key, value) in self.params.get(&number).into_iter().flatten() {
            params.iter_mut().filter(|(name, _)| name == key).for_each(|(_, old)| *old = value.clone());
        }
    }
}

fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn step_of(text: &str) -> Option<Step> {
    let (verb, rest) = text.split_once(' ')?;
    Some(match verb {
        "pass" => Step::Pass(rest.parse().ok()?),
        "send" | "try" => {
            let mut words = rest.split(' ');
            let (method, path) = (words.next()?.to_owned(), format!("/nodes/pve1/{}", words.next()?));
            let params = words.map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())));
            Step::Send { tried: verb == "try", method, path, params: params.collect::<Option<_>>()? }
        }
        "edit" => {
            let (vmid, option) = rest.split_once(' ')?;
            let (key, value) = option.split_once('=')?;
            let value = Some(value.to_owned()).filter(|value| !value.is_empty());
            Step::Edit { vmid: vmid.parse().ok()?, key: key.to_owned(), value }
        }
        "on" | "off" | "lose" | "remove" | "start" | "stop" | "hold" => {
            Step::Do { what: verb.to_owned(), to: rest.to_owned() }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_for_a_place_and_perhaps_a_release() {
        let text = "scene 001-002,009 base\nbefore 002 pass 3  # a while\nbefore 002@9.2 edit 100 lock=";
        let script = Script::parse(text).unwrap();
        assert!(script.scenes[0].has(9) && !script.scenes[0].has(3));
        let edit = Step::Edit { vmid: 100, key: "lock".into(), value: None };
        assert_eq!(script.before("002", "8.4").collect::<Vec<_>>(), [&Step::Pass(3.0)]);
        assert_eq!(script.before("002", "9.2").collect::<Vec<_>>(), [&Step::Pass(3.0), &edit]);
    }

    #[test]
    fn a_line_that_is_no_step_is_named() {
        let error = Script::parse("# steps\nbefore 002 dance").unwrap_err();
        assert_eq!(error, "line 2: \"before 002 dance\" is no step");
    }
}
