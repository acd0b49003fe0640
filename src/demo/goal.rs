//! Where the workers and the session of the examples come to.

use serde_json::Value;

/// What must have been come to.
#[derive(Debug)]
pub(super) struct Goal {
    /// Name, phase and result of the last test of each worker.
    workers: &'static [(&'static str, &'static str, &'static str)],
    /// The session that must have succeeded, if there is one.
    session: Option<&'static str>,
}

impl Goal {
    /// After `kubectl apply`.
    pub(super) const fn tested() -> Self {
        Self {
            workers: &[
                ("worker-1", "ShutDown", "Passed"),
                ("worker-2", "ShutDown", "Passed"),
                ("worker-3", "ShutDown", "Passed"),
                ("worker-by-url", "ShutDown", "Passed"),
                ("worker-on-demand", "Configured", ""),
                ("worker-failing", "ShutDown", "Failed"),
            ],
            session: None,
        }
    }

    /// After a test was asked for.
    pub(super) const fn on_demand() -> Self {
        Self { workers: &[("worker-on-demand", "ShutDown", "Passed")], session: None }
    }

    /// After the session: the workers on the hosts of its two VMs are off again.
    pub(super) const fn worked() -> Self {
        Self {
            workers: &[("worker-1", "ShutDown", "Passed"), ("worker-2", "ShutDown", "Passed")],
            session: Some(super::SESSION),
        }
    }

    /// The two workers whose guests are real: the second is made when a session needs it.
    pub(super) const fn real() -> Self {
        Self { workers: &[("real-1", "ShutDown", "Passed"), ("real-2", "Configured", "")], session: None }
    }

    /// The same after the session.
    pub(super) const fn real_worked() -> Self {
        Self {
            workers: &[("real-1", "ShutDown", "Passed"), ("real-2", "ShutDown", "Passed")],
            session: Some(super::SESSION),
        }
    }

    /// What is missing, for people; none if everything is there. `objects` are workers and sessions as JSON.
    pub(super) fn missing(&self, objects: &str) -> Option<String> {
        let Ok(list) = serde_json::from_str::<Value>(objects) else { return Some("no answer yet".to_owned()) };
        let workers = self.workers.iter().filter_map(|wanted| lacks(&list, *wanted));
        let missing: Vec<String> =
            workers.chain(self.session.and_then(|name| has_not_succeeded(&list, name))).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// Whether a session will never succeed.
    pub(super) fn is_lost(&self, objects: &str) -> bool {
        let list = serde_json::from_str::<Value>(objects).unwrap_or_default();
        let session = self.session.and_then(|name| find(&list, "WorkerSession", name));
        session.is_some_and(|session| ["Failed", "Cancelled"].map(Some).contains(&session["status"]["phase"].as_str()))
    }
}

fn find<'a>(list: &'a Value, kind: &str, name: &str) -> Option<&'a Value> {
    list["items"].as_array()?.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name)
}

fn has_not_succeeded(list: &Value, name: &str) -> Option<String> {
    let phase = find(list, "WorkerSession", name).and_then(|session| session["status"]["phase"].as_str());
    (phase != Some("Succeeded"))
        .then(|| format!("session {name} is {}, not Succeeded", phase.unwrap_or("without phase")))
}

fn lacks(list: &Value, (name, phase, result): (&str, &str, &str)) -> Option<String> {
    let Some(worker) = find(list, "Worker", name) else { return Some(format!("{name} is not there")) };
    let there = (worker["status"]["phase"].as_str(), worker["status"]["lastTest"]["result"].as_str());
    let is_there = there.0 == Some(phase) && there.1.unwrap_or("") == result;
    (!is_there).then(|| {
        format!(
            "{name} is {} and its test {}, not {phase} and {result}",
            there.0.unwrap_or("without phase"),
            there.1.unwrap_or("not made")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_not_there_yet_is_named() {
        let list =
            r#"{"items":[{"kind":"Worker","metadata":{"name":"worker-on-demand"},"status":{"phase":"Testing"}}]}"#;
        assert!(Goal::on_demand().missing(list).unwrap().contains("worker-on-demand is Testing"));
        let list = r#"{"items":[{"kind":"Worker","metadata":{"name":"worker-on-demand"},
            "status":{"phase":"ShutDown","lastTest":{"result":"Passed"}}}]}"#;
        assert_eq!(Goal::on_demand().missing(list), None);
        assert!(Goal::tested().missing("").is_some(), "an unreadable answer proves nothing");
    }

    #[test]
    fn a_session_must_succeed() {
        let list = |phase: &str| {
            let worker = |name: &str| {
                format!(
                    r#"{{"kind":"Worker","metadata":{{"name":"{name}"}},
                        "status":{{"phase":"ShutDown","lastTest":{{"result":"Passed"}}}}}}"#
                )
            };
            format!(
                r#"{{"items":[{},{},{{"kind":"WorkerSession","metadata":{{"name":"{}"}},"status":{{"phase":"{phase}"}}}}]}}"#,
                worker("worker-1"),
                worker("worker-2"),
                super::super::SESSION
            )
        };
        assert_eq!(Goal::worked().missing(&list("Succeeded")), None);
        assert!(Goal::worked().missing(&list("Running")).unwrap().contains("is Running, not Succeeded"));
        assert!(Goal::worked().is_lost(&list("Failed")) && !Goal::worked().is_lost(&list("Running")));
    }
}
