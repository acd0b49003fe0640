//! Floor 2. The inside of a worker: the [`channel`] into a guest, and what is run through it.
//!
//! What runs inside are the few named [`scripts`]. Each prints [`records`], which become [`facts`] of the guest, what it
//! can resolve and connect to ([`reach`]) and its systemd [`units`]. [`checks`] judges them. [`tasks`] are the commands that
//! sessions want run, [`updates`] keep the guest's packages current. [`image`] is for images that are tried.

pub mod channel;
pub mod checks;
pub mod facts;
pub mod image;
pub mod reach;
pub mod records;
pub mod scripts;
pub mod tasks;
pub mod units;
pub mod updates;
