//! What all tests share: the harness, the stage that they play on, and ways to run a program.

pub mod harness;
pub mod needs;
pub mod pty;
pub mod run;
pub mod sandbox;
pub mod stage;
pub mod tables;

pub use harness::Case;
pub use run::{Done, Engine, Prefix, bare, bare_guest, finish};
pub use stage::stage;
pub use tables::masked;

/// Test cases for functions that take an engine: one case per engine.
macro_rules! both {
    ($needs:expr; $($test:ident),* $(,)?) => {
        [$($crate::common::Case::both(module_path!(), stringify!($test), $needs, $test)),*].concat()
    };
}

/// Test cases for functions that take nothing.
macro_rules! once {
    ($needs:expr; $($test:ident),* $(,)?) => {
        vec![$($crate::common::Case::once(module_path!(), stringify!($test), $needs, $test)),*]
    };
}

pub(crate) use {both, once};
