//! Stevedore: a Kubernetes operator that manages backup workers, Linux VMs on Proxmox VE.
//!
//! The house, floor by floor; imports run down:
//!
//! - [`controller`] and [`runtime`] (floor 3): the Kubernetes side, and the plumbing of the process.
//! - [`domain`], [`hypervisor`] and [`guest`] (floor 2): decisions without I/O, the world of VMs, the inside of a VM.
//! - [`api`] (floor 1): the custom resources that people write and read.
//!
//! [`cli`] and [`app`] put the floors together, [`plugin`] is what people ask of them by `kubectl stevedore`, [`docs`] writes
//! down what follows from them. [`clock`] is the one source
//! of time, [`secret`] the one holder of credential values. With the feature `simulator` there are also hypervisors to
//! try and test against ([`simulator`]), a real Kubernetes control plane run as plain processes ([`controlplane`]), a
//! [`demo`] of both, and a [`check`] of images that workers are to boot from.

pub mod api;
pub mod app;
#[cfg(feature = "simulator")]
pub mod check;
pub mod cli;
pub mod clock;
pub mod controller;
#[cfg(feature = "simulator")]
pub mod controlplane;
#[cfg(feature = "simulator")]
pub mod demo;
pub mod docs;
pub mod domain;
pub mod guest;
pub mod hypervisor;
pub mod plugin;
pub mod runtime;
pub mod secret;
#[cfg(feature = "simulator")]
pub mod simulator;
#[cfg(feature = "simulator")]
mod watchdog;
