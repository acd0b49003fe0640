//! What people see, compared with files in `tests/golden/`. `UPDATE_GOLDEN=1` writes the files anew; look at what changed.

use std::path::Path;

use similar::TextDiff;

/// In what this differs from the file of this name; empty if it does not.
pub(crate) fn difference(file: &str, shown: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = folder.join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if golden == shown {
        return String::new();
    }
    TextDiff::from_lines(golden.as_str(), shown).unified_diff().header(file, "what is shown").to_string()
}
