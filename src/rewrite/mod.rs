//! From the kernel's bytes to those that the program shall see: pure functions that know nothing of
//! processes.

pub mod mount_table;
pub mod statfs;
pub mod statmount;
