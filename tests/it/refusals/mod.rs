//! What a person is told when something cannot be done: the right word in the right condition, what is wrong, where,
//! and what to do; and meanwhile nothing is changed on the hypervisor.

mod access;
mod edits;
mod guard;
mod identity;
mod image;
mod lab;
mod lasting;
mod moved;
mod place;
mod rest;
mod tls;
