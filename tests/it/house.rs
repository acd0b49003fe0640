//! The rules of the house that a reader of the imports can check: they run down, and time comes from one place.

use std::path::{Path, PathBuf};

/// What each room may import of the crate, besides itself and what lies in no room (`clock`, `secret`, `watchdog`).
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("domain", &["api", "hypervisor"]),
    ("hypervisor", &["domain", "guest"]),
    ("guest", &["domain", "hypervisor"]),
    ("runtime", &["api", "domain", "hypervisor", "guest"]),
    ("controller", &["api", "domain", "hypervisor", "guest", "runtime"]),
    ("app", &["api", "domain", "hypervisor", "guest", "runtime", "controller"]),
    ("plugin", &["api", "domain", "hypervisor", "guest", "runtime", "controller", "app"]),
    ("simulator", &["api", "domain", "hypervisor", "guest"]),
    ("check", &["api", "domain", "hypervisor", "guest", "simulator"]),
    ("controlplane", &[]),
    ("demo", &["api", "simulator", "controlplane"]),
];

/// Of the hypervisor, decisions know its values and nothing that does I/O.
const DOMAIN_MAY_IMPORT_OF_HYPERVISOR: &[&str] = &["hypervisor::vm", "hypervisor::inventory"];

const OUTSIDE_OF_ROOMS: &[&str] = &["clock", "secret", "watchdog"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of a file with its comments and its unit tests left out.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("\nmod tests {").next().unwrap().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    name == "tests" || name.ends_with("_tests")
}

/// What follows each `crate::` in the code, two names deep.
fn imports(code: &str) -> Vec<String> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    code.split("crate::")
        .skip(1)
        .map(|rest| rest.split(|letter| !is_name(letter)).next().unwrap_or_default().trim_end_matches(':').to_owned())
        .collect()
}

#[test]
fn imports_run_down() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (room, allowed) in MAY_IMPORT {
        let mut files = sources(&src()).into_iter().filter(|path| in_room(path, room)).collect::<Vec<_>>();
        files.sort();
        for file in files.iter().filter(|file| !is_test_file(file)) {
            for import in imports(&code(file)) {
                let target = import.split("::").next().unwrap_or_default();
                seen += 1;
                let fits = target == *room || OUTSIDE_OF_ROOMS.contains(&target) || allowed.contains(&target);
                let deep = *room != "domain"
                    || target != "hypervisor"
                    || DOMAIN_MAY_IMPORT_OF_HYPERVISOR.iter().any(|good| import.starts_with(good));
                if !fits || !deep {
                    wrong.push(format!("{} imports {import}", file.display()));
                }
            }
        }
    }
    assert!(seen > 200, "only {seen} imports were found: the reader is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn in_room(path: &Path, room: &str) -> bool {
    let relative = path.strip_prefix(src()).unwrap().to_string_lossy().replace(".rs", "/");
    relative.starts_with(&format!("{room}/"))
}

/// Calls that may stand in some rooms only.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("Timestamp::now(", &["clock.rs"]),
    ("SystemTime::now(", &["clock.rs"]),
    ("std::time::Instant", &["clock.rs", "controlplane", "simulator/guest"]),
    ("new_v4(", &["cli.rs", "app", "controlplane"]),
    ("env::var", &["cli.rs", "controlplane"]),
    // Whoever makes a window may change VMs; those of a trial are its own.
    ("Window::until(", &["controller/execute.rs", "check/trial.rs"]),
];

#[test]
fn time_chance_and_environment_come_in_by_one_door() {
    let mut wrong = Vec::new();
    for file in sources(&src()).iter().filter(|file| !is_test_file(file)) {
        let relative = file.strip_prefix(src()).unwrap().to_string_lossy().into_owned();
        let code = code(file);
        for (call, doors) in ONLY_IN {
            if code.contains(call) && !doors.iter().any(|door| relative.starts_with(door)) {
                wrong.push(format!("{relative} uses {call}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rooms that must stay free of a library.
const FREE_OF: &[(&str, &[&str])] = &[
    ("domain", &["kube::", "tokio::", "hyper::", "std::fs", "std::net::Tcp"]),
    ("hypervisor", &["kube::", "k8s_openapi::"]),
    ("guest", &["kube::", "k8s_openapi::"]),
];

#[test]
fn decisions_do_no_io_and_the_world_of_vms_knows_no_kubernetes() {
    let mut wrong = Vec::new();
    for (room, libraries) in FREE_OF {
        for file in sources(&src()).iter().filter(|path| in_room(path, room) && !is_test_file(path)) {
            let code = code(file);
            for library in *libraries {
                if code.contains(library) {
                    wrong.push(format!("{} uses {library}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_room_holds_more_than_one_idea() {
    let long: Vec<String> = sources(&src())
        .iter()
        .filter_map(|file| {
            let lines = std::fs::read_to_string(file).unwrap().lines().count();
            (lines > 500).then(|| format!("{} has {lines} lines", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
