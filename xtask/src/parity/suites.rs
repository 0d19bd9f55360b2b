//! All suites, in the order of the table.

mod cpython;
mod go;
mod stress;

use super::suite::Suite;

pub fn all() -> Vec<Suite> {
    let mut all = Vec::new();
    all.extend(go::suites());
    all.extend(cpython::suites());
    all.extend(stress::suites());
    all.extend(super::real::suites());
    all
}
