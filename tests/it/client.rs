//! The Proxmox VE client: against answers recorded from real servers, against the API's parameter lists, over TLS, and
//! against the simulated cluster.

mod canned;
mod connection;
mod errors;
mod images;
mod parameters;
mod reading;
mod simulator;
mod tasks;
mod tls;
mod window;
