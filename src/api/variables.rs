//! Names of environment variables that a command cannot be given, whatever brings them: a session or a Secret.

/// Variables that bash keeps for itself, besides those whose names begin with [`OF_BASH`]; dash has some of them, too. `_` is
/// every shell's.
pub(crate) const OF_SHELLS: [&str; 18] = [
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "OPTARG",
    "OPTIND",
    "PIPESTATUS",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SRANDOM",
    "UID",
    "_",
];

/// What the names of bash's other variables begin with.
pub(crate) const OF_BASH: &str = "BASH";

/// Whether shells keep the variable of this name for themselves, so that a command would not see what was given.
pub(crate) fn belongs_to_shells(name: &str) -> bool {
    name.starts_with(OF_BASH) || OF_SHELLS.contains(&name)
}
