//! Where the workers of the examples come to.

use serde_json::Value;

/// What each worker must have come to.
#[derive(Debug)]
pub(super) struct Goal {
    workers: &'static [(&'static str, &'static str, &'static str)],
}

impl Goal {
    /// After `kubectl apply`: phase and result of the last test of each worker.
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
        }
    }

    /// After a test was asked for.
    pub(super) const fn on_demand() -> Self {
        Self { workers: &[("worker-on-demand", "ShutDown", "Passed")] }
    }

    /// The two workers whose guests are real.
    pub(super) const fn real() -> Self {
        Self { workers: &[("real-1", "ShutDown", "Passed"), ("real-2", "ShutDown", "Passed")] }
    }

    /// What is missing, for people; none if everything is there.
    pub(super) fn missing(&self, workers: &str) -> Option<String> {
        let Ok(list) = serde_json::from_str::<Value>(workers) else { return Some("no answer yet".to_owned()) };
        let missing: Vec<String> = self.workers.iter().filter_map(|wanted| lacks(&list, *wanted)).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

fn lacks(list: &Value, (name, phase, result): (&str, &str, &str)) -> Option<String> {
    let worker = list["items"].as_array().and_then(|all| all.iter().find(|one| one["metadata"]["name"] == name));
    let Some(worker) = worker else { return Some(format!("{name} is not there")) };
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
        let list = r#"{"items":[{"metadata":{"name":"worker-on-demand"},"status":{"phase":"Testing"}}]}"#;
        assert!(Goal::on_demand().missing(list).unwrap().contains("worker-on-demand is Testing"));
        let list = r#"{"items":[{"metadata":{"name":"worker-on-demand"},
            "status":{"phase":"ShutDown","lastTest":{"result":"Passed"}}}]}"#;
        assert_eq!(Goal::on_demand().missing(list), None);
        assert!(Goal::tested().missing("").is_some(), "an unreadable answer proves nothing");
    }
}
