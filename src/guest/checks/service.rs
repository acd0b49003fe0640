//! `service`: the systemd unit of the backup agent is active.

use super::super::units::UnitProperties;
use super::Verdict;

/// Judges the unit; the inner error is systemd's refusal to say anything.
pub(super) fn judge(unit: &str, properties: &Result<UnitProperties, String>) -> Verdict {
    let unit_state = match properties {
        Ok(unit_state) => unit_state,
        Err(refusal) => {
            return Err(format!("expected {unit} to be active, but systemd in the guest cannot be asked ({refusal})"));
        }
    };
    match (unit_state.load.as_str(), unit_state.active.as_str()) {
        (_, "active") => Ok(format!("{unit} is active ({})", unit_state.sub)),
        ("not-found", _) => Err(format!(
            "expected {unit} to be active, but the guest has no such unit; build the image with it, or correct service.unit"
        )),
        ("masked", _) => Err(format!("expected {unit} to be active, but it is masked; unmask it in the image")),
        ("loaded", active) => Err(format!(
            "expected {unit} to be active, found {active} ({}{}); `journalctl -u {unit}` in the guest says why, and the \
             image must enable it",
            unit_state.sub,
            end(unit_state),
        )),
        (load, _) => {
            Err(format!("expected {unit} to be active, but systemd cannot load it ({load}); mend it in the image"))
        }
    }
}

/// How the unit's last run ended, if badly.
fn end(unit_state: &UnitProperties) -> String {
    match (unit_state.result.as_str(), unit_state.main_status.as_str()) {
        ("" | "success", _) => String::new(),
        (result, "" | "0") => format!(", {result}"),
        (result, status) => format!(", {result} {status}"),
    }
}
