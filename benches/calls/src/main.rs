//! Times single system calls from inside a program, so that a tracer around it can be compared with
//! none. Prints one line for each call: its name, nanoseconds per call, nanoseconds of the tracer's
//! CPU time per call (`-` without a tracer, or where the kernel does not count them).

mod calls;
mod tracer;

use anyhow::{Context, Result};
use calls::{Call, Places};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
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
}

/// Batches that a call's time is divided into: one that is disturbed then does not count.
const BATCHES: u32 = 9;
/// A sleeping thread needs next to no stack.
const SLEEPER_STACK_BYTES: usize = 64 * 1024;

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Calls { scratch, mount, milliseconds, calls } => {
            let mut places = Places::prepare(&scratch, &mount)?;
            for call in calls {
                let time = Duration::from_millis(milliseconds);
                let (nanoseconds, tracer) =
                    measure(time, || places.make(call)).with_context(|| format!("call {call}"))?;
                println!("{call} {nanoseconds:.1} {}", shown(tracer));
            }
        }
        Command::Threads { opens, count } => beside_sleepers(count, opens)?,
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
