//! Nights with many tasks on several workers, in which operators are killed one after the other, workers are lost, and what
//! is written of claims is erased. Whatever happens: no attempt is begun twice, and no limit is exceeded at any moment.

mod again;
mod cleared;
mod handed_over;
mod killed;
mod lab;
mod leases;
mod lost;
mod rules;
