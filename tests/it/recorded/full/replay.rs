//! Replaying one folder: scene after scene, each in a world of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use stevedore::simulator::scenario::Release;
use tokio::time::sleep;

use super::super::setups;
use super::exchange::Recorded;
use super::expected::Expected;
use super::script::Script;
use super::stage::{Names, Stage, plain};
use super::{callers, likeness, worlds};
use crate::simulator::probe::Probe;

/// How long a task may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What became of one exchange.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The operator makes no such call.
    NotInUse,
    Agrees,
    /// What differs, in words.
    Differs(Vec<String>),
    /// Why it could not be replayed.
    NotReplayed(String),
}

/// One folder under replay.
pub(super) struct Replay<'a> {
    pub(super) script: &'a Script,
    pub(super) release: Release,
    /// What is stated of exchanges.
    pub(super) expected: &'a Expected,
    /// Whether the operator makes this call.
    pub(super) in_use: &'a dyn Fn(&Recorded) -> bool,
}

impl Replay<'_> {
    /// The verdict on each exchange, by name.
    pub(super) async fn run(&self, recorded: &[Recorded]) -> Result<BTreeMap<String, Verdict>, String> {
        let begun: BTreeMap<&str, &Recorded> =
            recorded.iter().filter_map(|recorded| Some((recorded.upid()?, recorded))).collect();
        let mut verdicts = BTreeMap::new();
        for scene in &self.script.scenes {
            let here: Vec<&Recorded> = recorded.iter().filter(|recorded| scene.has(recorded.number)).collect();
            if !here.is_empty() {
                let lacking = here.iter().filter_map(|recorded| Some(recorded.lacks()?.0)).collect();
                let probe = worlds::world(&scene.world, self.release, &lacking).await;
                self.play(probe, &begun, &here, &mut verdicts).await;
            }
        }
        match recorded.iter().find(|recorded| !verdicts.contains_key(&recorded.name)) {
            Some(left) => Err(format!("no scene has the exchange {}", left.name)),
            None => Ok(verdicts),
        }
    }

    async fn play(
        &self,
        probe: Probe,
        begun: &BTreeMap<&str, &Recorded>,
        here: &[&Recorded],
        verdicts: &mut BTreeMap<String, Verdict>,
    ) {
        let (names, ends, strange) = (Names::default(), Vec::new(), BTreeMap::new());
        let mut stage = Stage { probe, names, ends, strange, now: None, lacked_at: "/".to_owned() };
        let mut last = None;
        for recorded in here {
            self.settle(&mut stage, recorded.at, verdicts).await;
            if let (Some(now), Some(at)) = (stage.now, recorded.at) {
                sleep(Duration::from_millis(at.saturating_sub(now))).await;
            }
            stage.now = recorded.at;
            if recorded.number > 0 && last.replace(recorded.number) != Some(recorded.number) {
                self.perform(&stage.probe, &format!("{:03}", recorded.number)).await;
            }
            self.perform(&stage.probe, &recorded.name).await;
            let outcome = match self.obstacle(&stage.names, begun, recorded) {
                Some(verdict) => verdict,
                None => self.compare(&mut stage, recorded).await,
            };
            let verdict =
                if (self.in_use)(recorded) { self.judged(&stage, recorded, outcome) } else { Verdict::NotInUse };
            verdicts.insert(recorded.name.clone(), verdict);
        }
        self.settle(&mut stage, Some(u64::MAX), verdicts).await;
    }

    async fn perform(&self, probe: &Probe, place: &str) {
        let release = if self.release == Release::V8 { "8.4" } else { "9.2" };
        for step in self.script.before(place, release) {
            worlds::perform(probe, step).await;
        }
    }

    /// Looks how the tasks ended whose end had been seen by then.
    async fn settle(&self, stage: &mut Stage<'_>, until: Option<u64>, verdicts: &mut BTreeMap<String, Verdict>) {
        let due = stage.ends.extract_if(.., |(at, ..)| until.is_some_and(|until| *at <= until));
        for (_, recorded, upid, was) in due.collect::<Vec<_>>() {
            let is = ended(&stage.probe, &upid).await.unwrap_or_default();
            if likeness::masked(&is) != likeness::masked(&was) && (self.in_use)(recorded) {
                let found = vec![format!("the task ends with {is:?} instead of {was:?}")];
                let verdict = self.judged(stage, recorded, Verdict::Differs(found));
                verdicts.insert(recorded.name.clone(), verdict);
            }
        }
    }

    /// A difference counts as one only where the machines were as recorded, or where it is stated with a reason of its
    /// own.
    fn judged(&self, stage: &Stage<'_>, recorded: &Recorded, verdict: Verdict) -> Verdict {
        let stated = self.expected.differs.contains_key(&recorded.name);
        match (verdict, stage.cause(recorded).filter(|_| !stated)) {
            (Verdict::Differs(_), Some(reason)) => Verdict::NotReplayed(reason),
            (verdict, _) => verdict,
        }
    }

    /// Why an exchange is not even sent.
    fn obstacle(&self, names: &Names, begun: &BTreeMap<&str, &Recorded>, recorded: &Recorded) -> Option<Verdict> {
        if let Some(reason) = self.expected.apart.get(&recorded.name) {
            return Some(Verdict::NotReplayed(reason.clone()));
        }
        if recorded.method.is_empty() || (recorded.answered.is_none() && recorded.race.is_empty()) {
            return Some(Verdict::NotReplayed("the recording does not hold the request".to_owned()));
        }
        let upid = recorded.upid_in_path().filter(|upid| !names.0.contains_key(upid))?;
        let beginning = begun.get(upid.as_str())?;
        if (self.in_use)(beginning) {
            return Some(Verdict::Differs(vec![format!("its task was not begun by {}", beginning.name)]));
        }
        let call = beginning.call();
        Some(Verdict::NotReplayed(format!("asks for a task of {call}, which is neither in use nor simulated")))
    }

    async fn compare<'a>(&self, stage: &mut Stage<'a>, recorded: &'a Recorded) -> Verdict {
        let Some(answered) = &recorded.answered else { return self.race(stage, recorded).await };
        if let Some(upid) = recorded.upid_in_path().filter(|_| recorded.is_of_ended_task()) {
            ended(&stage.probe, stage.names.of(&upid)).await;
        }
        if let Some((lacks, path)) = recorded.lacks() {
            callers::set_rights(&stage.probe, &lacks, &path, &stage.lacked_at);
            stage.lacked_at = path;
        }
        let read = self.resend(&stage.probe, &stage.names, recorded).await;
        stage.names.learn(recorded.data(), &read.body["data"]);
        if let (Some((at, was)), Some(upid)) = (&recorded.ends, read.body["data"].as_str()) {
            stage.ends.push((*at, recorded, upid.to_owned(), was.clone()));
        }
        if read.status != answered.status {
            stage.estrange(recorded, (self.in_use)(recorded));
        }
        let found = likeness::differences(answered, &read);
        if found.is_empty() { Verdict::Agrees } else { Verdict::Differs(found) }
    }

    /// Sends several calls at once: what they come to must be the same, whichever of them it comes to.
    async fn race(&self, stage: &Stage<'_>, recorded: &Recorded) -> Verdict {
        let calls = (0..recorded.race.len()).map(|place| {
            let mut own = recorded.clone();
            for (_, value) in &mut own.params {
                let first = value.as_str().and_then(|text| text.split_once('…')?.0.parse::<usize>().ok());
                *value = first.map_or_else(|| value.clone(), |first| json!(first + place));
            }
            async move {
                let read = self.resend(&stage.probe, &stage.names, &own).await;
                let data = plain(&read.body["data"]);
                let end = if data.starts_with("UPID:") { ended(&stage.probe, &data).await } else { None };
                let whole = format!("{} {}, {}", read.status, read.reason, end.as_deref().unwrap_or("no task"));
                if own.method == "GET" { data } else { whole }
            }
        });
        let (mut is, mut was) = (futures::future::join_all(calls).await, recorded.race.clone());
        is.sort();
        was.sort();
        if is == was { Verdict::Agrees } else { Verdict::Differs(vec![format!("{is:?} instead of {was:?}")]) }
    }
}

/// How a task ended, once it has; absent if there is no such task.
async fn ended(probe: &Probe, upid: &str) -> Option<String> {
    let path = format!("/nodes/pve1/tasks/{upid}/status");
    let steps = PATIENCE.as_millis() / 100;
    for _ in 0..steps {
        let read = setups::administrator(probe).send("GET", &path, &[]).await;
        if read.status != 200 {
            return None;
        }
        if read.body["data"]["status"] == "stopped" {
            return Some(plain(&read.body["data"]["exitstatus"]));
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}
