//! Real guests: machines of a simulated Proxmox VE that QEMU runs. Only `make test-guests` runs these.

mod checks;
mod guest;
mod image;
mod killed;
mod lab;
mod machine;
mod rpms;
mod sessions;
mod site;
mod stage;
mod tasks;
mod trial;
mod updates;
