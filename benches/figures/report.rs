//! The figures, printed as they are measured and written as a table.

use std::fmt::Write as _;

use crate::machine::Machine;

/// What a figure should be at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// At most this much.
    pub(crate) most: f64,
    /// Of what, such as `s`; empty for a plain number.
    pub(crate) unit: &'static str,
    /// Digits after the point.
    pub(crate) digits: usize,
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What was measured, with the sizes that it was measured with.
    pub(crate) what: String,
    /// What it should be.
    pub(crate) bound: Bound,
    /// What it is.
    pub(crate) measured: f64,
    /// Whether it was measured with the sizes that the bound speaks of.
    pub(crate) comparable: bool,
    /// How it was measured, and what else was seen.
    pub(crate) how: String,
}

impl Figure {
    fn shown(&self, number: f64) -> String {
        let Bound { unit, digits, .. } = self.bound;
        if unit.is_empty() { format!("{number:.digits$}") } else { format!("{number:.digits$} {unit}") }
    }

    fn verdict(&self) -> &'static str {
        match (self.comparable, self.measured <= self.bound.most) {
            (false, _) => "not comparable",
            (true, true) => "reached",
            (true, false) => "**missed**",
        }
    }
}

/// The figures so far.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Figure>);

impl Report {
    /// Adds a figure, and prints it.
    pub(crate) fn add(&mut self, figure: Figure) {
        let (measured, bound) = (figure.shown(figure.measured), figure.shown(figure.bound.most));
        say(&format!("{}: {measured} (bound {bound}: {})\n    {}", figure.what, figure.verdict(), figure.how));
        self.0.push(figure);
    }

    /// The document with the table.
    // Writing into a String does not fail.
    pub(crate) fn document(&self, machine: &Machine) -> String {
        let mut text = format!(
            "# Benchmarks\n\n\
             What `make bench` measured on a machine with {machine}. The operator ran as a process, built with the release\n\
             profile and installed by its chart, on a real control plane (etcd, kube-apiserver, kube-controller-manager)\n\
             against simulated Proxmox VE clusters over HTTPS. All of them shared the machine.\n\n\
             This file is written by `make bench`.\n\n\
             | Figure | Bound | Measured | |\n|---|---|---|---|\n"
        );
        for figure in &self.0 {
            let (bound, measured) = (figure.shown(figure.bound.most), figure.shown(figure.measured));
            let _ = writeln!(text, "| {} | {bound} | {measured} | {} |", figure.what, figure.verdict());
        }
        text.push_str("\n## How\n\n");
        for figure in &self.0 {
            let _ = writeln!(text, "* **{}.** {}", figure.what, figure.how);
        }
        text
    }
}

/// Prints for the person who waits.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    // A closed output is no reason to stop.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
