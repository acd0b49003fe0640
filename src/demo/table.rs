//! A table as `kubectl get` prints it, shown again when something in it has changed.

/// What was shown last.
#[derive(Debug, Default)]
pub(super) struct Table {
    shown: Option<Vec<String>>,
}

impl Table {
    /// What to print now: the rows that changed, with the header; nothing if none did. Ages do not count.
    pub(super) fn changed(&mut self, output: &str) -> Option<String> {
        let now: Vec<String> = output.lines().map(without_age).collect();
        let before = self.shown.replace(now.clone()).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        let (header, rows) = lines.split_first()?;
        let fresh = rows.iter().zip(now.iter().skip(1)).filter(|(_, row)| !before.contains(row)).map(|(row, _)| *row);
        let fresh: Vec<&str> = fresh.collect();
        if fresh.is_empty() {
            return None;
        }
        Some(format!("{header}\n{}\n", fresh.join("\n")))
    }
}

/// A row without its last column, and without the padding that depends on the other rows.
fn without_age(row: &str) -> String {
    let mut columns: Vec<&str> = row.split_whitespace().collect();
    columns.pop();
    columns.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_changed_are_shown() {
        let mut table = Table::default();
        assert_eq!(
            table.changed("NAME STATUS AGE\na Testing 1s\nb Testing 1s").map(|text| text.lines().count()),
            Some(3)
        );
        assert_eq!(table.changed("NAME STATUS AGE\na Testing 2s\nb Testing 2s"), None);
        let changed = table.changed("NAME STATUS AGE\na   Testing 3s\nb   ShutDown 3s").unwrap();
        assert!(changed.contains("ShutDown") && !changed.contains("Testing"));
    }
}
