//! The documentation says what the code does: written files are fresh, and no reason is dead.

use std::path::{Path, PathBuf};

use stevedore::api::reasons::{HypervisorReason, SessionReason, TaskReason, WorkerReason};
use stevedore::docs;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_written_files_are_fresh() {
    for (name, text) in docs::files() {
        let there = std::fs::read_to_string(project().join("docs").join(name)).unwrap_or_default();
        assert!(there == text, "docs/{name} is stale: run `make docs` and commit it");
    }
}

/// The fields below a schema, each with the path by which the reference calls it.
fn fields(path: &str, schema: &serde_json::Value, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push(path.clone());
        fields(&path, field, found);
        fields(&format!("{path}[]"), &field["items"], found);
    }
}

#[test]
fn the_reference_tells_about_every_field() {
    let reference = std::fs::read_to_string(project().join("docs/api.md")).unwrap();
    for (kind, least) in [("Hypervisor", 40), ("Worker", 60), ("WorkerSession", 40), ("WorkerTask", 30)] {
        let crd = std::fs::read_to_string(project().join(format!("crds/{}s.yaml", kind.to_lowercase()))).unwrap();
        let crd: serde_json::Value = serde_yaml::from_str(&crd).unwrap();
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut count = 0;
        for part in ["spec", "status"] {
            let section = reference.split(&format!("\n### The {part} of a {kind}\n")).nth(1).unwrap();
            let section = section.split("\n##").next().unwrap();
            let mut wanted = Vec::new();
            fields("", &root[part], &mut wanted);
            for field in &wanted {
                assert!(section.contains(&format!("\n| `{field}` |")), "{kind}: {part}.{field} is not in docs/api.md");
            }
            count += wanted.len();
        }
        assert!(count > least, "only {count} fields of a {kind} were found: the reader of the CRDs is broken");
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The shipped code without its comments and unit tests. `Reason` is one of the two kinds by another name.
fn code() -> String {
    let mut all = String::new();
    for path in sources(&project().join("src")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_code = path.extension().is_some_and(|extension| extension == "rs");
        if !is_code || name == "tests" || name.ends_with("_tests") || path.to_string_lossy().contains("/api/reasons") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("\nmod tests {").next().unwrap();
        let aliased = text.contains("HypervisorReason as Reason");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let line = if aliased { line.replace("Reason::", "HypervisorReason::") } else { line.to_owned() };
            all.push_str(&line.replace("HypervisorHypervisorReason", "HypervisorReason"));
            all.push('\n');
        }
    }
    all
}

/// The words that follow `prefix` in the code.
fn used<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |rest: &'a str| rest.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    code.split(prefix).skip(1).map(word).collect()
}

#[test]
fn every_reason_is_given_by_something() {
    let code = code();
    let mut wrong = Vec::new();
    let mut check = |kind: &str, all: Vec<(&str, &str)>, least: usize| {
        let prefix = format!("{kind}::");
        let given = used(&code, &prefix);
        assert!(given.len() >= least, "the reader of the code is broken: {kind} is given {} times", given.len());
        for (word, _) in all {
            let name = format!("{prefix}{word}");
            if !given.contains(&word) {
                wrong.push(format!("nothing gives {name}"));
            }
        }
    };
    check("WorkerReason", WorkerReason::explained().collect(), 30);
    check("HypervisorReason", HypervisorReason::explained().collect(), 20);
    check("SessionReason", SessionReason::explained().collect(), 10);
    check("TaskReason", TaskReason::explained().collect(), 20);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a person reads about must be there: each `### Reason` of the operations guide, each link of a document.
#[test]
fn the_guides_speak_of_what_exists() {
    let guide = std::fs::read_to_string(project().join("docs/operations.md")).unwrap();
    let of_workers = WorkerReason::explained().chain(HypervisorReason::explained());
    let all: Vec<&str> =
        of_workers.chain(SessionReason::explained()).chain(TaskReason::explained()).map(|(word, _)| word).collect();
    let headings: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(headings.len() >= 5, "{headings:?}");
    for heading in headings {
        assert!(all.contains(&heading), "docs/operations.md explains {heading}, which is no reason");
    }
    for name in ["README.md", "docs/api.md", "docs/operations.md", "docs/lifecycle.md", "docs/reasons.md"] {
        let path = project().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let there = file.is_empty() || file.contains("://") || path.parent().unwrap().join(file).exists();
            assert!(there, "{name} links to {target}, which is not there");
        }
    }
}

/// The README's roles are what the program asks for, and the operations guide knows every flag.
#[test]
fn privileges_and_flags_are_told() {
    let readme = std::fs::read_to_string(project().join("README.md")).unwrap();
    let source = std::fs::read_to_string(project().join("src/hypervisor/proxmox/privileges.rs")).unwrap();
    let source = source.split("\nmod tests {").next().unwrap();
    let quoted = source.split('"').skip(1).step_by(2);
    let is_privilege = |text: &&str| ["VM.", "Datastore.", "Sys.", "SDN."].iter().any(|start| text.starts_with(start));
    let privileges: Vec<&str> = quoted.filter(is_privilege).collect();
    assert!(privileges.len() >= 18, "the reader of the privileges is broken: {privileges:?}");
    // The right to run programs in a guest contains the one to ask about it.
    for privilege in privileges.iter().filter(|one| **one != "VM.GuestAgent.Audit") {
        assert!(readme.contains(privilege), "README.md does not name the privilege {privilege}");
    }
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_stevedore")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let guide = std::fs::read_to_string(project().join("docs/operations.md")).unwrap();
    let words = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
    let flags: Vec<&str> = words.map(|word| word.trim_end_matches(|end: char| !end.is_alphanumeric())).collect();
    assert!(flags.contains(&"--settle-time"), "{flags:?}");
    for flag in flags.iter().filter(|flag| **flag != "--help") {
        assert!(guide.contains(&format!("`{flag}")), "docs/operations.md does not name the flag {flag}");
    }
}
