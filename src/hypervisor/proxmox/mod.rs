//! Proxmox VE 8.4 and 9.x.

mod auth;
mod call;
mod connection;
mod lenient;
mod params;
mod property;
mod routes;
mod texts;
mod upid;
mod wire;

pub use auth::Credential;
