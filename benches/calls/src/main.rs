//! Times single system calls from inside a program, so that a tracer around it can be compared with
//! none. Prints one line for each call: its name, nanoseconds per call, nanoseconds of the tracer's
//! CPU time per call (`-` without a tracer, or where the kernel does not count them).

mod below;
mod calls;
mod tracer;

use anyhow::{Context, Result, bail};
use calls::{Call, Places};
use clap::{Parser, Subcommand};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Times each of the calls.
    Calls {
        /// A folder to make files in.
        #[arg(long)]
        scratch: PathBuf,
        /// A mount point for statfs and fstatfs.
        #[arg(long)]
        mount: PathBuf,
        /// Where to print: not every tracer leaves stdout to the command.
        #[arg(long)]
        output: PathBuf,
        /// Time for each call.
        #[arg(long, default_value_t = 40)]
        milliseconds: u64,
        #[arg(required = true, value_enum)]
        calls: Vec<Call>,
    },
    /// Times an open of a missing file while other threads sleep; also prints the tracer's resident
    /// memory in KiB.
    Threads {
        #[arg(long, default_value_t = 200)]
        opens: u32,
        count: usize,
    },
    /// Times opens that so many threads make at once: of all of them together, per open.
    AtOnce {
        #[arg(long, default_value_t = 4000)]
        opens: u32,
        threads: u32,
    },
    /// Times a program from its start to its end: what is around this process has started already.
    Program {
        #[arg(long)]
        output: PathBuf,
        /// Exit status 1 is fine, too.
        #[arg(long)]
        one_is_fine: bool,
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Runs a command below the least that a tracer can be.
    Below {
        #[arg(value_enum)]
        layer: below::Layer,
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Batches that a call's time is divided into: one that is disturbed then does not count.
const BATCHES: u32 = 9;
/// A sleeping thread needs next to no stack.
const SLEEPER_STACK_BYTES: usize = 64 * 1024;

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Calls { scratch, mount, output, milliseconds, calls } => {
            let mut places = Places::prepare(&scratch, &mount)?;
            let mut lines = String::new();
            for call in calls {
                let time = Duration::from_millis(milliseconds);
                let (nanoseconds, tracer) =
                    measure(time, || places.make(call)).with_context(|| format!("call {call}"))?;
                let _ = writeln!(lines, "{call} {nanoseconds:.1} {}", shown(tracer));
            }
            std::fs::write(&output, lines).with_context(|| output.display().to_string())?;
        }
        Command::Threads { opens, count } => beside_sleepers(count, opens)?,
        Command::AtOnce { opens, threads } => at_once(threads, opens)?,
        Command::Program { output, one_is_fine, command } => time_program(&output, one_is_fine, &command)?,
        Command::Below { layer, command } => below::run(layer, command)?,
    }
    Ok(())
}

/// The median batch's time of one call, and the tracer's CPU time for one.
fn measure(time: Duration, mut call: impl FnMut() -> Result<()>) -> Result<(f64, Option<f64>)> {
    let per_batch = calibrate(time / BATCHES, &mut call)?;
    let tracer = tracer::Tracer::of_this_process();
    let before = tracer.as_ref().and_then(tracer::Tracer::cpu_time);
    let mut batches = Vec::new();
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..per_batch {
            call()?;
        }
        batches.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(per_batch));
    }
    let after = tracer.as_ref().and_then(tracer::Tracer::cpu_time);
    batches.sort_by(f64::total_cmp);
    let tracer_per_call = before
        .zip(after)
        .map(|(before, after)| (after - before).as_secs_f64() * 1e9 / f64::from(per_batch * BATCHES));
    Ok((batches[batches.len() / 2], tracer_per_call))
}

/// How many calls take about `time`; warms up on the way.
fn calibrate(time: Duration, call: &mut impl FnMut() -> Result<()>) -> Result<u32> {
    let mut count = 1u32;
    loop {
        let start = Instant::now();
        for _ in 0..count {
            call()?;
        }
        let elapsed = start.elapsed();
        if elapsed * 4 >= time || count >= 1 << 20 {
            let fitting = time.as_nanos() * u128::from(count) / elapsed.as_nanos().max(1);
            return Ok(u32::try_from(fitting).unwrap_or(count).max(1));
        }
        count *= 2;
    }
}

fn time_program(output: &Path, one_is_fine: bool, command: &[std::ffi::OsString]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().with_context(|| format!("{command:?}"))?;
    let elapsed = start.elapsed();
    let is_fine = status.success() || (one_is_fine && status.code() == Some(1));
    if !is_fine {
        bail!("{command:?}: {status}");
    }
    std::fs::write(output, format!("program {:.1} -\n", elapsed.as_secs_f64() * 1e9))
        .with_context(|| output.display().to_string())
}

/// The same number of opens, shared among the threads.
fn at_once(threads: u32, opens: u32) -> Result<()> {
    let each = opens.div_ceil(threads.max(1));
    // Once each before the time counts.
    let round = |count: u32| -> Result<f64> {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads)
                .map(|_| scope.spawn(move || (0..count).try_for_each(|_| calls::open_missing())))
                .collect();
            all.into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
        })?;
        Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(count * threads))
    };
    round(each.div_ceil(10))?;
    let mut times = (0..5).map(|_| round(each)).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    println!("open {:.1} -", times[times.len() / 2]);
    Ok(())
}

fn beside_sleepers(count: usize, opens: u32) -> Result<()> {
    for started in 0..count {
        std::thread::Builder::new()
            .stack_size(SLEEPER_STACK_BYTES)
            .spawn(|| loop {
                std::thread::park();
            })
            .with_context(|| {
                format!("thread {started} of {count}; see ulimit -u, /proc/sys/kernel/threads-max, the pids cgroup")
            })?;
    }
    // The last of them may still be on its way to sleep.
    std::thread::sleep(Duration::from_millis(100));
    let mut times = Vec::new();
    for _ in 0..opens {
        let start = Instant::now();
        calls::open_missing()?;
        times.push(start.elapsed().as_secs_f64() * 1e9);
    }
    times.sort_by(f64::total_cmp);
    let tracer = tracer::Tracer::of_this_process();
    let memory = tracer.and_then(|tracer| tracer.resident_kib());
    println!("open {:.1} {}", times[times.len() / 2], shown(memory));
    // Not back through main: nobody waits for the sleepers.
    std::process::exit(0)
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.1}"))
}
