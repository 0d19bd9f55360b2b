//! What a contributor runs: `cargo xtask cluster`, `cargo xtask test`, `cargo xtask bench`.

mod bench;
mod cluster;
mod dist;
mod fuzz;
mod parity;
mod schema;
mod soak;
mod test;
mod tools;
mod vm;

use clap::{Parser, Subcommand};
use nix::sys::signal::{SigHandler, SigSet, Signal};

#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

/// One module per task; each takes its own arguments and returns when it is done.
#[derive(Subcommand)]
enum Task {
    /// What fsmasq costs, against native and against other tracers; writes docs/performance.md.
    Bench(bench::Arguments),
    /// A Kubernetes node in a gVisor sandbox, below one fsmasq prefix, checked point by point.
    Cluster(cluster::Arguments),
    /// What is given to users: static program, man page, completions, Debian package, archive; and looks at all of it.
    Dist(dist::Arguments),
    /// Arbitrary bytes for everything that reads those of a task or a file; writes docs/fuzzing.md.
    Fuzz(fuzz::Arguments),
    /// Test suites of other projects, bare and below the prefix; writes docs/parity.md.
    Parity(parity::Arguments),
    /// The JSON schema of profiles; writes docs/profile.schema.json.
    Schema,
    /// Everything at once below one prefix, for many minutes; writes docs/soak.md.
    Soak(soak::Arguments),
    /// Every check and test that this machine can run.
    Test(test::Arguments),
    /// A node on ordinary Linux, in an emulated machine whose files are on 9p shares, bare and below the prefix.
    Vm(vm::Arguments),
}

/// Whoever starts this in the background of a shell has signals ignored, and so would all that is started
/// here: programs that wait for a signal of their own would wait for ever.
fn take_signals() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // SAFETY: no handler; this process has one thread so far.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

fn main() -> anyhow::Result<()> {
    take_signals();
    match Arguments::parse().task {
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Cluster(arguments) => cluster::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Parity(arguments) => parity::run(&arguments),
        Task::Schema => schema::run(),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
    }
}
