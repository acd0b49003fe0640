//! `disk`: there is room to work.

use super::super::facts::Facts;
use super::Verdict;

/// Judges the file systems of `/` and `/var/lib`.
pub(super) fn judge(facts: &Facts, min_free_bytes: u64) -> Verdict {
    if let Some(problem) = facts.problem_of("df") {
        return Err(format!("expected to see the free space of / and /var/lib, but df gave none ({problem})"));
    }
    let Some(fullest) = facts.disks.iter().min_by_key(|disk| disk.free_bytes) else {
        return Err("expected to see the free space of / and /var/lib, but the guest did not tell it".to_owned());
    };
    let (free, total) = (gibibytes(fullest.free_bytes), gibibytes(fullest.total_bytes));
    if fullest.free_bytes < min_free_bytes {
        return Err(format!(
            "expected at least {} free in {}, found {free} of {total}; raise resources.disk of the worker, or clear space \
             in the guest",
            gibibytes(min_free_bytes),
            fullest.folder,
        ));
    }
    Ok(format!("{free} of {total} free in {}", fullest.folder))
}

/// A size for people, rounded down to a tenth, so that too little never looks like enough.
fn gibibytes(bytes: u64) -> String {
    let tenths = bytes / ((1 << 30) / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::Disk;
    use super::*;

    #[test]
    fn the_fullest_file_system_decides() {
        let disk = |folder: &str, free_bytes| Disk { folder: folder.to_owned(), total_bytes: 4 << 30, free_bytes };
        let facts = Facts { disks: vec![disk("/", 2 << 30), disk("/var/lib", 512 << 20)], ..Facts::default() };
        assert_eq!(judge(&facts, 1 << 29).unwrap(), "0.5 GiB of 4.0 GiB free in /var/lib");
        let text = judge(&facts, 1 << 30).unwrap_err();
        assert!(text.starts_with("expected at least 1.0 GiB free in /var/lib, found 0.5 GiB of 4.0 GiB;"), "{text}");
        assert!(judge(&Facts::default(), 1).is_err());
    }
}
