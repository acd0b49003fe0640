//! Proxmox VE 8.4 and 9.x.
