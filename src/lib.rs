//! `fsmasq`, a prefix for a command: everything that the command starts sees 9p file systems as ext4.
//!
//! The binary is a thin face of this library: [`Launcher`] is what it does, [`Rules`] say what is shown
//! as what.
//!
//! ```no_run
//! use fsmasq::Launcher;
//!
//! let mapping = "9p=xfs".parse().expect("both are names of types");
//! // Returns only where the command could not begin: this process becomes the command.
//! let error = Launcher::new("df").args(["-T"]).map(mapping).exec();
//! eprintln!("{error}");
//! std::process::exit(error.exit_code().into());
//! ```
//!
//! See ARCHITECTURE.md for the map of the modules; dependencies point one way:
//! `launch` → `tracer` → `fast_path` → `handlers` → `ptrace`, `rewrite`, `rules` → `arch`.

// What only the fast path asks for is not asked for where there is none.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

mod arch;
pub mod cli;
pub mod command;
pub mod doctor;
#[cfg_attr(not(target_arch = "x86_64"), path = "fast_path/absent.rs")]
pub mod fast_path;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod handlers;
mod held;
mod launch;
pub mod log;
mod notify;
pub mod ptrace;
pub mod rewrite;
pub mod rules;
pub mod sandbox;
pub mod seccomp;
mod status;
pub mod tracer;

pub use launch::{LaunchError, Launcher, Logging};
pub use rules::{FsType, Mapping, Profile, Rules, Scope};
