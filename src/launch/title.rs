//! What the tracer is called in lists of processes: its own name, or whoever looks for the command (`pgrep -f`) finds two.

use std::fs;

/// Of the tracer, followed by the command's process id.
const TITLE: &str = "fsmasq: tracer of";
/// Fields of /proc/PID/stat behind the name, counted from 0: `arg_start` and `arg_end` (proc_pid_stat(5)).
const ARGUMENTS_START: usize = 45;
const ARGUMENTS_END: usize = 46;

/// Overwrites the arguments of this process, which nobody reads any more. /proc has to be this process's folder.
pub fn set(command: i32) {
    let Some((start, end)) = fs::read_to_string("self/stat").ok().as_deref().and_then(arguments) else {
        return;
    };
    let len = end.saturating_sub(start);
    let mut text = format!("{TITLE} {command}").into_bytes();
    text.resize(len, 0);
    if let Some(last) = text.last_mut() {
        *last = 0;
    }
    // SAFETY: the kernel says that the arguments of this process are there, on its stack, which is writable. They
    // were parsed long ago, into strings of their own.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), start as *mut u8, len) };
}

/// None where the kernel doesn't say.
fn arguments(stat: &str) -> Option<(usize, usize)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let address = |index: usize| fields.get(index)?.parse::<usize>().ok().filter(|address| *address != 0);
    Some((address(ARGUMENTS_START)?, address(ARGUMENTS_END)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_this_process_are_found() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let length = fs::read("/proc/self/cmdline").unwrap_or_default().len();
        assert_eq!(arguments(&stat).map(|(start, end)| end - start), Some(length));
        assert_eq!(arguments("1 (a) b) S 0"), None);
    }
}
