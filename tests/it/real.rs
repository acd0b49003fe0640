//! What real guests do: the worker image in QEMU behind the simulated Proxmox VE. `make test-guests` runs these.

mod checks;
mod image;
mod lab;
