//! The list of steps on stderr: what is being done, for how long already, and how long what is done has taken.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Shorter steps are not worth a line where none can be replaced.
const WORTH_A_LINE: Duration = Duration::from_millis(500);

/// Runs one step with a progress line.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let terminal = stderr().is_terminal();
    let (finished, is_finished) = channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            let mut announced = false;
            // Ends when the sender is dropped.
            while is_finished.recv_timeout(WORTH_A_LINE) == Err(RecvTimeoutError::Timeout) {
                if terminal {
                    print(&format!("\r\x1b[K  …  {name}  {}", elapsed(started)));
                } else if !announced {
                    print(&format!("  …  {name}\n"));
                    announced = true;
                }
            }
        });
        let result = work();
        drop(finished);
        result
    });
    let clear = if terminal { "\r\x1b[K" } else { "" };
    let mark = if result.is_ok() { "ok" } else { "FAILED" };
    print(&format!("{clear}  {mark}  {name}  {}\n", elapsed(started)));
    result
}

fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}

/// A closed stderr is no reason to stop working.
fn print(text: &str) {
    let mut stream = stderr();
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}
