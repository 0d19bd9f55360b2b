//! A mount table that was opened: where it has a line to rewrite, the same descriptor gets the
//! rewritten text.

use super::descriptor::Content;
use super::open::Request;
use super::{Environment, descriptor, procfs};
use crate::log::Rewritten;
use crate::ptrace::Result;
use crate::rewrite::mount_table::{Format, Mount, Replacement, mounts, rewrite};
use crate::rules::Rules;
use crate::rules::profile::last_component;
use crate::tracer::{Outcome, Traced};
use nix::errno::Errno;
use procfs::OpenTable;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;

/// Larger texts are made anew when they are written.
const KEPT_BYTES: usize = 8 << 10;

pub async fn mask(task: &Traced, environment: &Environment, request: &Request, fd: i32) -> Result<Outcome> {
    let table = match procfs::mount_table(task.tid, fd) {
        Ok(Some(table)) => table,
        Ok(None) => return Ok(None),
        // The task is being killed, or a sibling has closed the descriptor: nobody will read it.
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ESRCH)) =>
        {
            return Ok(None);
        }
        Err(error) => {
            // A descriptor link that is no table is the usual case, and none of our business.
            if Format::from_name(last_component(&request.path)).is_some() {
                environment.warn_once(task.tid, "look", || {
                    format!(
                        "{} is shown as it is: its descriptor can't be looked at: {error}",
                        String::from_utf8_lossy(&request.path)
                    )
                });
            }
            return Ok(None);
        }
    };
    // Most tables that are read have nothing to mask.
    if !mounts(table.format, &table.content).any(|mount| environment.rules.for_mount(&mount).is_some()) {
        return Ok(None);
    }
    let OpenTable { format, path: name, content } = table;
    // The handler sleeps now and then: thousands of them must not keep thousands of large texts meanwhile.
    let kept = (content.len() <= KEPT_BYTES).then_some(content);
    let change = RefCell::new(None);
    let text = || {
        let table = match &kept {
            Some(content) => OpenTable { format, path: name.clone(), content: content.clone() },
            None => procfs::mount_table(task.tid, fd).ok()??,
        };
        let (text, first) = masked(&environment.rules, task, &table)?;
        change.replace(Some(first));
        Some(text)
    };
    let wanted = descriptor::Wanted {
        name: &name,
        content: Content::Later(&text),
        flags: request.status_flags(),
        close_on_exec: request.close_on_exec(),
        replaced: Some(fd),
    };
    let path = || String::from_utf8_lossy(&request.path).into_owned();
    let given = descriptor::give(task, environment, &wanted).await?;
    let change = change.take().unwrap_or_default();
    Ok(match given {
        descriptor::Given::Descriptor(given, _) => {
            environment.statistics.rewritten(&Rewritten {
                tid: task.tid,
                call: task.call,
                object: &path,
                was: &change.was,
                is: &change.is,
            });
            Some(i64::from(given))
        }
        // The descriptor is another one's by now, or the table has nothing to mask any more.
        descriptor::Given::Refused { errno: Errno::EBADF, outcome, .. } => outcome,
        descriptor::Given::Refused { call, errno, outcome } => {
            environment.warn_once(task.tid, call.name(), || {
                format!(
                    "{} is shown as it is: {} was answered with {errno}; a seccomp filter or a limit of the \
                     program's own is the usual reason",
                    path(),
                    call.name()
                )
            });
            outcome
        }
    })
}

/// The first change of a table, for the log.
#[derive(Default)]
struct Change {
    was: String,
    is: String,
}

/// The table with the rules applied, or None where they change nothing.
fn masked(rules: &Rules, task: &Traced, table: &OpenTable) -> Option<(Vec<u8>, Change)> {
    let sources = sources(rules, task, table);
    let mut change = None;
    let text = rewrite(table.format, &table.content, |index, mount| {
        let Some(mapping) = rules.for_mount(mount) else { return Replacement::default() };
        let source = sources.get(&index);
        change.get_or_insert_with(|| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match source {
                None => Change { was: text(mount.fstype), is: mapping.to.name().to_owned() },
                Some(new) => Change {
                    was: format!("{} {}", text(mount.fstype), text(mount.source)),
                    is: format!("{} {}", mapping.to.name(), text(new)),
                },
            }
        });
        Replacement { fstype: Some(mapping.to.name().as_bytes().to_vec()), source: source.cloned() }
    })?;
    Some((text, change?))
}

/// The sources to show, by line. Only `mountinfo` has device numbers; for the other tables it is read
/// as well, and taken where it lists the same mounts in the same order.
fn sources(rules: &Rules, task: &Traced, table: &OpenTable) -> HashMap<usize, Vec<u8>> {
    if !rules.profile.source.unique {
        return HashMap::new();
    }
    if table.format == Format::Mountinfo {
        return rules.sources(&mounts(Format::Mountinfo, &table.content).collect::<Vec<_>>());
    }
    let listed: Vec<Mount> = mounts(table.format, &table.content).collect();
    let same = |other: &[Mount]| {
        other.len() == listed.len()
            && other.iter().zip(&listed).all(|(a, b)| (a.mount_point, a.fstype) == (b.mount_point, b.fstype))
    };
    for mountinfo in procfs::companion_mountinfo(task.tid, table) {
        let candidates: Vec<Mount> = mounts(Format::Mountinfo, &mountinfo).collect();
        if same(&candidates) {
            return rules.sources(&candidates);
        }
    }
    HashMap::new()
}
