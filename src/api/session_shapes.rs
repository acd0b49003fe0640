//! The shapes of the fields of sessions and tasks: bounds and rules, each with a message that says what is wanted.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::session_status::{MAX_FAILED, MAX_WORKERS};
use super::shapes::{LINUX_USER, Rule, free, list, span, text};
use super::task::MAX_VM_NAME;
use super::task_status::{MAX_AVOIDED, MAX_OUTPUT, MAX_STORAGES};
use super::variables::{OF_BASH, OF_SHELLS};

// Protected VMs

pub(super) fn vm_id(_: &mut SchemaGenerator) -> Schema {
    text(
        36,
        &[(
            "self.matches(r'^([1-9][0-9]{2,8}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$')",
            "must be the id of a VM on the hypervisor, such as \"101\", in quotation marks",
        )],
    )
}

pub(super) fn vm_name(_: &mut SchemaGenerator) -> Schema {
    text(
        MAX_VM_NAME,
        &[(
            r"self.matches(r'^[^\s\p{C}]([^\p{C}]*[^\s\p{C}])?$')",
            "must be the name of a VM, without control characters and without blanks at its ends",
        )],
    )
}

// Selectors

pub(super) fn label(_: &mut SchemaGenerator) -> Schema {
    text(
        317,
        &[(
            "self.matches(r'^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$')",
            "must be a label, such as stevedore.dev/pool",
        )],
    )
}

pub(super) fn label_values(_: &mut SchemaGenerator) -> Schema {
    list("atomic", 64, &free(63))
}

pub(super) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 16, "additionalProperties": free(63)})
}

// Commands

/// No word and no value that is handed to a program can hold this character.
const NO_NUL: Rule<'_> = (r"!self.contains('\u0000')", "must not contain the character NUL");

pub(super) fn command(_: &mut SchemaGenerator) -> Schema {
    let mut schema = list("atomic", 64, &text(4096, &[NO_NUL]));
    schema.insert("minItems".to_owned(), json!(1));
    let rule = json!([{
        "rule": "self.size() == 0 || self[0] != '' && !self[0].startsWith('-')",
        "message": "begins with the program to run, such as [/usr/local/bin/backup, --verbose], not with an option",
    }]);
    schema.insert("x-kubernetes-validations".to_owned(), rule);
    schema
}

pub(super) fn variable_name(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        &[
            (
                "self.matches(r'^[A-Za-z_][A-Za-z0-9_]*$')",
                "must be the name of an environment variable: letters, digits and _, beginning with a letter or _",
            ),
            ("!self.startsWith('STEVEDORE_')", "names that begin with STEVEDORE_ are ours"),
            (
                &format!("!self.startsWith('{OF_BASH}') && !(self in ['{}'])", OF_SHELLS.join("', '")),
                "shells keep UID, SECONDS, RANDOM, BASH_ENV and the like for themselves; give the variable another name",
            ),
        ],
    )
}

pub(super) fn variable_value(_: &mut SchemaGenerator) -> Schema {
    text(4096, &[NO_NUL])
}

pub(super) fn run_user(_: &mut SchemaGenerator) -> Schema {
    text(32, &[LINUX_USER])
}

// Durations

pub(super) fn run_timeout(_: &mut SchemaGenerator) -> Schema {
    span("1s", "168h")
}

pub(super) fn start_deadline(_: &mut SchemaGenerator) -> Schema {
    span("1s", "168h")
}

pub(super) fn active_deadline(_: &mut SchemaGenerator) -> Schema {
    span("1m", "168h")
}

pub(super) fn time_to_live(_: &mut SchemaGenerator) -> Schema {
    span("0s", "8760h")
}

// What the operator writes

pub(super) fn session_name(_: &mut SchemaGenerator) -> Schema {
    free(57)
}

pub(super) fn address(_: &mut SchemaGenerator) -> Schema {
    free(49)
}

pub(super) fn workers_in_use(_: &mut SchemaGenerator) -> Schema {
    names(MAX_WORKERS)
}

pub(super) fn failed_tasks(_: &mut SchemaGenerator) -> Schema {
    names(MAX_FAILED)
}

pub(super) fn storages(_: &mut SchemaGenerator) -> Schema {
    list("atomic", MAX_STORAGES, &free(128))
}

pub(super) fn avoided_workers(_: &mut SchemaGenerator) -> Schema {
    names(MAX_AVOIDED)
}

/// Four characters for each byte that is kept: one that is no text may be escaped.
pub(super) fn output(_: &mut SchemaGenerator) -> Schema {
    free(4 * MAX_OUTPUT)
}

fn names(most: usize) -> Schema {
    list("atomic", most, &free(253))
}
