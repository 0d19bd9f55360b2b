//! What the launcher does, behaviour by behaviour, on this machine: each file is named after a
//! behaviour, each test is a sentence. Every test that runs a program does so with both engines.
//!
//! This binary is also the guest program (`--guest NAME`), see `guests`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod common;
mod guests;

mod abi;
mod breakage;
mod control_groups;
mod doctor;
mod early_signals;
mod exec;
mod fast_path;
mod filters;
mod first_process;
mod group_stop;
mod gvisor;
mod hostile;
mod i386;
mod in_place;
mod init_signals;
mod injection;
mod interrupted_calls;
mod job_control;
mod languages;
mod let_go;
mod limits;
mod logging;
mod mappings;
mod mount_tables;
mod namespaces;
mod obstacles;
mod other_tracers;
mod output;
mod outputs;
mod places;
mod profiles;
mod sandboxed_jobs;
mod signals;
mod statfs;
mod statmount;
mod storms;
mod supervision;
mod survivors;
mod table_descriptors;
mod tasks;
mod terminals;

/// What the caller ignores (`nohup`, a shell's background), all programs here would ignore as well.
fn take_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: no handler; this process has one thread so far.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn main() {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if let [first, guest, rest @ ..] = &arguments[..]
        && first == "--guest"
    {
        std::process::exit(guests::run(guest, rest));
    }
    take_signals();
    let stage = common::stage::set_up();
    let cases = [
        statfs::cases(),
        mount_tables::cases(),
        table_descriptors::cases(),
        statmount::cases(),
        mappings::cases(),
        profiles::cases(),
        in_place::cases(),
        fast_path::cases(),
        survivors::cases(),
        group_stop::cases(),
        job_control::cases(),
        terminals::cases(),
        early_signals::cases(),
        signals::cases(),
        interrupted_calls::cases(),
        injection::cases(),
        filters::cases(),
        limits::cases(),
        tasks::cases(),
        namespaces::cases(),
        places::cases(),
        obstacles::cases(),
        logging::cases(),
        other_tracers::cases(),
        hostile::cases(),
        storms::cases(),
        languages::cases(),
        i386::cases(),
        abi::cases(),
        exec::cases(),
        gvisor::cases(),
        breakage::cases(),
        control_groups::cases(),
        first_process::cases(),
        output::cases(),
        outputs::cases(),
        supervision::cases(),
        init_signals::cases(),
        let_go::cases(),
        sandboxed_jobs::cases(),
        doctor::cases(),
    ]
    .concat();
    let status = common::harness::run(cases, &arguments);
    common::stage::take_down(stage);
    std::process::exit(status);
}
