//! Real guests: machines of a simulated Proxmox VE that QEMU runs. Only `make test-guests` runs these.

mod guest;
mod machine;
mod stage;
