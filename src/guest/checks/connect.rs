//! `hypervisor-api` and `connect/NAME`: the guest reaches what it must reach by TCP.

use super::super::reach::{Attempt, Attempts, Endpoint, Reached};
use super::Verdict;

/// Judges the hypervisor's API: one endpoint is enough.
pub(super) fn judge_api(endpoints: &[Endpoint], attempts: &Attempts) -> Verdict {
    let tried = || endpoints.iter().filter_map(|endpoint| Some((endpoint, attempts.get(endpoint)?)));
    if let Some((endpoint, _)) = tried().find(|(_, attempt)| attempt.reached == Reached::Ok) {
        return Ok(format!("reaches {endpoint}"));
    }
    let failed: Vec<String> = tried().map(|(endpoint, attempt)| format!("{endpoint} {}", why(attempt))).collect();
    Err(format!(
        "expected to reach one endpoint of the hypervisor's API, but {}; open the way from the worker's network to it",
        failed.join(", ")
    ))
}

/// Judges one target.
pub(super) fn judge_target(target: &Endpoint, attempts: &Attempts) -> Verdict {
    match attempts.get(target) {
        Some(attempt) if attempt.reached == Reached::Ok => Ok(format!("reaches {target}")),
        Some(attempt) => {
            Err(format!("expected to reach {target}, but it {}; {}", why(attempt), advice(attempt.reached)))
        }
        None => Err(format!("expected to reach {target}, but it was not tried")),
    }
}

fn why(attempt: &Attempt) -> String {
    match attempt.reached {
        Reached::Ok => "answered".to_owned(),
        Reached::Refused => "refused the connection".to_owned(),
        Reached::TimedOut => "did not answer in time".to_owned(),
        Reached::Unresolved => "has a name that does not resolve".to_owned(),
        Reached::Unreachable => "cannot be reached (no route)".to_owned(),
        Reached::Failed => format!("could not be tried ({}: {})", attempt.tool, attempt.said),
        Reached::NoTool => "could not be tried (the image has none of nc, bash, python3 and curl)".to_owned(),
    }
}

fn advice(reached: Reached) -> &'static str {
    match reached {
        Reached::Refused => "look whether its service runs and listens on that port",
        Reached::TimedOut => "look for a firewall on the way, and whether that machine is on",
        Reached::Unresolved => "see the check dns",
        Reached::Unreachable => "look at the gateway and networks of the worker: only the first network routes",
        Reached::NoTool => "build the image with one of them",
        Reached::Ok | Reached::Failed => "look at the host and port of the check",
    }
}
