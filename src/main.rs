//! `fsmasq [OPTIONS] [--] COMMAND [ARGS…]`.
//!
//! The entry is C's `main`: Rust's own would set SIGPIPE to be ignored and open closed standard
//! descriptors, and the command would inherit both.
#![no_main]

use clap::Parser;
use fsmasq::cli::{Arguments, Task};
use std::ffi::{CStr, OsString, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

/// Exit status where the launcher itself fails, as of env(1) and timeout(1).
const OWN_FAILURE: c_int = 125;

/// What the C library calls.
///
/// # Safety
/// `argv` must be as C's `main` gets it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let arguments: Vec<OsString> = (0..count)
        .map(|index| {
            // SAFETY: argv has argc pointers to strings that end in NUL and live as long as we do.
            let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsString::from_vec(argument.to_bytes().to_vec())
        })
        .collect();
    run(arguments)
}

fn run(arguments: Vec<OsString>) -> c_int {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { OWN_FAILURE } else { 0 };
        }
    };
    match arguments.into_task() {
        Ok(Task::Print(text)) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => 0,
            Err(_) => OWN_FAILURE,
        },
        Ok(Task::Examine(doctor)) => {
            let report = doctor.examine();
            match std::io::stdout().write_all(report.text.as_bytes()) {
                Ok(()) => c_int::from(report.exit_code),
                Err(_) => OWN_FAILURE,
            }
        }
        Ok(Task::Launch(launcher)) => {
            let error = launcher.exec();
            eprintln!("fsmasq: {error}");
            c_int::from(error.exit_code())
        }
        Err(error) => {
            eprintln!("fsmasq: {error:#}");
            OWN_FAILURE
        }
    }
}
