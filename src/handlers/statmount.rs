//! statmount(2) of Linux 6.8.

use super::Environment;
use crate::log::Rewritten;
use crate::ptrace::Result;
use crate::rewrite::statmount::{Answer, Rewritten as New};
use crate::tracer::{Outcome, Traced};
use std::rc::Rc;

/// More than any answer: the largest has a few strings of a page each.
const ANSWER_BYTES: u32 = 1 << 20;

pub async fn handle(task: Traced, environment: Rc<Environment>) -> Result<Outcome> {
    if task.run_call().await? != 0 {
        return Ok(None);
    }
    let [_, buffer, capacity, ..] = task.arguments;
    let read =
        |bytes: &mut [u8]| task.with_stopped(|stopped| environment.memory.read(stopped, buffer, bytes));
    let mut start = [0; 4];
    read(&mut start)?;
    let written = Answer::written_bytes(&start).unwrap_or(0).min(ANSWER_BYTES);
    let mut bytes = vec![0; usize::try_from(u64::from(written).min(capacity)).unwrap_or(0)];
    read(&mut bytes)?;

    let answer = Answer::new(&bytes);
    let rules = &environment.rules;
    // One of the two may not have been asked for. The name says more: types share magics.
    let mapping = match answer.fstype() {
        Some(name) => rules.for_fstype(name),
        None => answer.magic().and_then(|magic| rules.for_magic(u32::try_from(magic).ok()?)),
    };
    let Some(mapping) = mapping else { return Ok(None) };
    if !rules.scope.is_everything() {
        match answer.mount_point() {
            Some(at) if rules.scope.contains(at) => {}
            Some(_) => return Ok(None),
            None => {
                environment.warn_once(task.tid, task.call.name(), || {
                    "statmount without STATMOUNT_MNT_POINT is not rewritten under --only or --except"
                        .to_owned()
                });
                return Ok(None);
            }
        }
    }
    match answer.rewrite(Some(mapping.to.name()), Some(mapping.to.magic()), capacity) {
        New::Unchanged => return Ok(None),
        New::Overflow => return Ok(Some(-i64::from(libc::EOVERFLOW))),
        New::Changed(new) => {
            task.with_stopped(|stopped| environment.memory.write(stopped, buffer, &new))?;
        }
    }
    environment.statistics.rewritten(&Rewritten {
        tid: task.tid,
        call: task.call,
        object: &|| {
            answer
                .mount_point()
                .map_or_else(|| "a mount by its id".to_owned(), |at| String::from_utf8_lossy(at).into_owned())
        },
        was: mapping.from.name(),
        is: mapping.to.name(),
    });
    Ok(None)
}
