//! Integration tests.

mod recorded;
mod simulator;
