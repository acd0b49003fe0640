//! What is asked about a VM that may just be made.

use jiff::Timestamp;

use super::VmRef;

/// The making of a VM, as it was ordered: whatever is declared by now, this is what may be under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Making {
    /// Where and under which id.
    pub at: VmRef,
    /// What from.
    pub from: MadeFrom,
    /// The earliest moment at which its task can have started (the intent's time).
    pub since: Timestamp,
}

/// What a VM is made from, as far as its task shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeFrom {
    /// This template, by name or id.
    Template(String),
    /// An image.
    Image,
    /// Nobody knows: any template, or an image.
    Anything,
}
