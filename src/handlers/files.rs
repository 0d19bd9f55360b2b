//! Files that a profile supplies where the sandbox lacks them, or lacks their writes.
//!
//! A supplied file is a memfd of the opener's own with the file's present content. Written content is
//! taken over at the next open of the same file by anybody: the tracer keeps a handle on what it gave
//! for writing. Readers of such files open, read and close, so an open is when they look.

use super::open::Request;
use super::place::{self, Place};
use super::{Environment, descriptor, procfs};
use crate::arch::{Call, Injected, int_argument};
use crate::log::Rewritten;
use crate::ptrace::Result;
use crate::rules::profile::{FileRule, Profile, Supply, When, last_component};
use crate::tracer::{Outcome, Traced};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

/// Handles kept per file, so that a program that opens for writing again and again costs no more.
const WRITERS: usize = 4;
/// What is taken over of a written file: a kernel parameter is one line.
const VALUE_BYTES: usize = 4096;
/// Files remembered per rule; a pattern may stand for any number of them, and each may keep descriptors.
const PATHS: usize = 64;
/// A handle keeps what was written, even when the writer is gone. This much is nobody's parameter: a large page.
const KEPT_BYTES: u64 = 2 << 20;
/// How many opens are looked at until the handles are.
const LOOKS: u32 = 256;

/// The supplied files and what was written to them; one for the life of a tracer.
#[derive(Debug)]
pub struct Files {
    states: Vec<State>,
    /// Last components of the rules' paths.
    names: HashSet<Vec<u8>>,
    /// Opens since the handles were looked at.
    looks: Cell<u32>,
}

/// What is known of one rule.
#[derive(Debug)]
struct State {
    rule: FileRule,
    /// A file that is there when the launcher starts is the machine's own business.
    missing_at_start: bool,
    /// Whether the machine refuses writes: tried once, by writing back what is there.
    refuses_writes: OnceCell<bool>,
    /// By path, or by folder: a pattern stands for many files, each with a value of its own.
    values: RefCell<VecDeque<(Vec<u8>, Value)>>,
}

/// What one supplied file says.
#[derive(Debug, Default)]
struct Value {
    /// None until somebody wrote, where the rule has no content of its own.
    text: Option<Vec<u8>>,
    writers: VecDeque<Writer>,
}

/// A descriptor that was given for writing.
#[derive(Debug)]
struct Writer {
    file: File,
    seen: Vec<u8>,
}

impl Files {
    pub fn new(profile: &Profile) -> Self {
        let state = |rule: &FileRule| State {
            missing_at_start: rule.literal_path().is_none_or(|p| fs::symlink_metadata(p).is_err()),
            refuses_writes: OnceCell::new(),
            values: RefCell::default(),
            rule: rule.clone(),
        };
        Files {
            states: profile.files.iter().map(state).collect(),
            names: profile.files.iter().map(|rule| rule.file_name().to_vec()).collect(),
            looks: Cell::new(0),
        }
    }

    /// Whether a rule may be for a file of this name.
    pub fn has_name(&self, name: &[u8]) -> bool {
        let looks = self.looks.get() + 1;
        self.looks.set(looks % LOOKS);
        if looks == LOOKS {
            self.tidy();
        }
        self.names.contains(name)
    }

    /// Lets go of handles on more than a parameter.
    fn tidy(&self) {
        for state in &self.states {
            state.values.borrow_mut().iter_mut().for_each(|(_, value)| value.tidy());
        }
    }

    fn find(&self, path: &[u8]) -> Option<&State> {
        self.states.iter().find(|state| state.rule.matches(path))
    }
}

impl State {
    /// What the file says now. Its `key`: its path, or its folder where the rule says on what that is.
    fn text(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.with_value(key, |value| {
            value.take_over();
            value.text.clone()
        })
    }

    /// Takes over from `file`, at later opens, what is written to it.
    fn remember(&self, key: &[u8], file: File) {
        self.with_value(key, |value| {
            value.writers.truncate(WRITERS - 1);
            value.writers.push_front(Writer { seen: content(&file), file });
        });
    }

    fn with_value<T>(&self, key: &[u8], access: impl FnOnce(&mut Value) -> T) -> T {
        let mut values = self.values.borrow_mut();
        let known = values.iter().position(|(known, _)| known == key);
        let mut entry = known.and_then(|index| values.remove(index)).unwrap_or_else(|| {
            let text = self.rule.content.as_ref().map(|content| line(content.as_bytes()));
            (key.to_vec(), Value { text, writers: VecDeque::new() })
        });
        let answer = access(&mut entry.1);
        // The files in use stay in front.
        values.truncate(PATHS - 1);
        values.push_front(entry);
        answer
    }

    fn refuses_writes(&self) -> bool {
        *self.refuses_writes.get_or_init(|| {
            let write_back = || {
                let path = self.rule.literal_path()?;
                let now = content(&open_real(path, false).ok()?);
                let mut file = open_real(path, true).ok()?;
                Some(file.write_all(&now).is_err())
            };
            write_back().unwrap_or(false)
        })
    }
}

impl Value {
    /// Looks at what was written since the last time; the newest counts.
    fn take_over(&mut self) {
        let mut newest: Option<(SystemTime, Vec<u8>)> = None;
        for writer in &mut self.writers {
            let now = content(&writer.file);
            if now == writer.seen || now.is_empty() {
                continue;
            }
            let at = writer.file.metadata().and_then(|m| m.modified());
            let at = at.unwrap_or(SystemTime::UNIX_EPOCH);
            if newest.as_ref().is_none_or(|(other, _)| *other < at) {
                newest = Some((at, line(&now)));
            }
            writer.seen = now;
        }
        if let Some((_, text)) = newest {
            self.text = Some(text);
        }
    }

    fn tidy(&mut self) {
        if self.writers.iter().any(Writer::is_large) {
            self.take_over();
            self.writers.retain(|writer| !writer.is_large());
        }
    }
}

impl Writer {
    fn is_large(&self) -> bool {
        let is_large = |m: fs::Metadata| m.len() > VALUE_BYTES as u64 || m.blocks() * 512 > KEPT_BYTES;
        self.file.metadata().is_ok_and(is_large)
    }
}

/// What is to be done about one open.
enum Plan {
    Nothing,
    /// Open another file instead: by an absolute path, or by a name in the same folder.
    StandIn(String),
    /// Give a descriptor with this content; in place of the one that the call returned, if it did.
    Content(Vec<u8>),
}

/// Supplies the file that `request` asked for, if a rule is for it. `result` is the kernel's answer.
pub async fn supply(
    task: &Traced,
    environment: &Environment,
    request: &Request,
    result: i64,
) -> Result<Outcome> {
    let Some(path) = absolute(task, request) else { return Ok(None) };
    let Some(state) = environment.files.find(&path) else { return Ok(None) };
    if !applies(state, request, result) {
        return Ok(None);
    }
    environment.files.tidy();
    let types = &state.rule.on;
    let place = if types.is_empty() {
        Place { key: path.clone(), path: path.clone() }
    } else {
        let Some(place) = place::folder(task, environment, request, types).await? else { return Ok(None) };
        place
    };
    let refusal = (state.rule.when == When::Missing).then(|| place::refusal(task.tid, &place.path)).flatten();
    let content = match plan(state, &place.key, request) {
        Plan::Nothing => return Ok(None),
        Plan::Content(_) if writes(request) && refusal.is_some() => {
            return Ok(refusal.map(|errno| -i64::from(errno as i32)));
        }
        Plan::StandIn(stand_in) => {
            return open_stand_in(task, environment, request, &stand_in).await;
        }
        Plan::Content(content) => content,
    };
    let replaced = (result >= 0).then(|| int_argument(result.cast_unsigned()));
    let wanted = descriptor::Wanted {
        name: &path,
        content: descriptor::Content::Ready(&content),
        flags: request.status_flags(),
        close_on_exec: request.close_on_exec(),
        replaced,
    };
    match descriptor::give(task, environment, &wanted).await? {
        descriptor::Given::Descriptor(fd, file) => {
            if may_be_written(request) && refusal.is_none() {
                state.remember(&place.key, file);
            }
            let was = if replaced.is_some() { "kernel's" } else { "missing" };
            log(task, environment, request, was, "supplied");
            Ok(Some(i64::from(fd)))
        }
        descriptor::Given::Refused { call, errno, outcome } => {
            environment.warn_once(task.tid, call.name(), || {
                let path = String::from_utf8_lossy(&path);
                format!("{path} was not supplied: {} was answered with {errno}", call.name())
            });
            Ok(outcome)
        }
    }
}

fn writes(request: &Request) -> bool {
    request.access() != libc::O_RDONLY
}

/// Whether the descriptor, or one that is opened again by way of it, may be written to.
fn may_be_written(request: &Request) -> bool {
    writes(request) || request.flags & libc::O_PATH != 0
}

/// Whether the rule has a say in an open with this answer.
fn applies(state: &State, request: &Request, result: i64) -> bool {
    let rule = &state.rule;
    match (rule.when, rule.supply()) {
        (When::Missing, supply) => {
            let may = matches!(supply, Supply::StandIn(_)) || rule.writable || !writes(request);
            let other_words_count = writes(request) && rule.literal_path().is_some();
            state.missing_at_start && may && is_missing(result, other_words_count)
        }
        (When::WriteFails, _) => result >= 0 && (!may_be_written(request) || state.refuses_writes()),
    }
}

fn plan(state: &State, key: &[u8], request: &Request) -> Plan {
    let by_path_only = request.flags & libc::O_PATH != 0;
    let rule = &state.rule;
    if let (When::Missing, Supply::StandIn(stand_in)) = (rule.when, rule.supply()) {
        return Plan::StandIn(stand_in.to_owned());
    }
    match (state.text(key), request.access()) {
        // What is not written over must not be read back.
        (_, libc::O_WRONLY) if !by_path_only => Plan::Content(Vec::new()),
        (Some(text), _) => Plan::Content(text),
        (None, libc::O_RDONLY) if !by_path_only => Plan::Nothing,
        (None, _) => Plan::Content(rule.literal_path().map_or_else(Vec::new, |path| {
            open_real(path, false).map_or_else(|_| Vec::new(), |file| content(&file))
        })),
    }
}

/// Whether the kernel's answer says that there is no such file. To an attempt to create it, a file system
/// without files of users' own says that in other words; they count only where the file is known to be
/// missing, and might otherwise mean that it may not be opened.
fn is_missing(result: i64, other_words_count: bool) -> bool {
    let errno = i32::try_from(-result).unwrap_or(0);
    errno == libc::ENOENT || (other_words_count && matches!(errno, libc::EACCES | libc::EPERM | libc::EROFS))
}

/// The same open once more, of another file.
async fn open_stand_in(
    task: &Traced,
    environment: &Environment,
    request: &Request,
    stand_in: &str,
) -> Result<Outcome> {
    let name_at = request.path.len() - last_component(&request.path).len();
    let beside = !stand_in.starts_with('/');
    let folder = if beside { &request.path[..name_at] } else { b"" };
    let path = [folder, stand_in.as_bytes()].concat();
    let Some(page) = descriptor::Page::with_string(task, environment, &path).await? else {
        return Ok(None);
    };
    let [a, _, c, d, ..] = task.arguments;
    let flags = u64::from((request.flags & !libc::O_CREAT).cast_unsigned());
    let opened = match task.call {
        // With RESOLVE_BENEATH and the like, which an absolute path could not satisfy.
        Call::Openat2 if beside => task.inject(Injected::Openat2, [a, page.address, c, d, 0, 0]).await?,
        _ => {
            let folder = i64::from(request.folder).cast_unsigned();
            task.inject(Injected::Openat, [folder, page.address, flags, 0, 0, 0]).await?
        }
    };
    page.unmap(task).await?;
    // Where the stand-in is missing as well, the answer to the program's own call stays.
    let Ok(fd) = opened else { return Ok(None) };
    log(task, environment, request, "missing", stand_in);
    Ok(Some(i64::from(int_argument(fd))))
}

fn log(task: &Traced, environment: &Environment, request: &Request, was: &str, is: &str) {
    environment.statistics.rewritten(&Rewritten {
        tid: task.tid,
        call: task.call,
        object: &|| String::from_utf8_lossy(&request.path).into_owned(),
        was,
        is,
    });
}

/// The path as the program sees it, absolute, without `.` and `..`; links are not followed.
fn absolute(task: &Traced, request: &Request) -> Option<Vec<u8>> {
    let start = if request.path.starts_with(b"/") {
        Vec::new()
    } else if request.folder == libc::AT_FDCWD {
        procfs::folder(task.tid, "cwd")?
    } else {
        procfs::folder(task.tid, &format!("fd/{}", request.folder))?
    };
    Some(normal([&start[..], b"/", &request.path].concat().as_slice()))
}

pub(crate) fn normal(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| [b"/", *part].concat()).collect()
}

/// The first line, with its newline: what the kernel takes of a write to a parameter.
fn line(bytes: &[u8]) -> Vec<u8> {
    let mut line = bytes.split(|b| *b == b'\n').next().unwrap_or_default().to_vec();
    line.push(b'\n');
    line
}

/// Opens a rule's own path; a FIFO there must not keep anybody waiting.
fn open_real(path: &Path, for_writing: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(!for_writing).write(for_writing).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

fn content(file: &File) -> Vec<u8> {
    let mut buffer = vec![0; VALUE_BYTES];
    let read = file.read_at(&mut buffer, 0).unwrap_or(0);
    buffer.truncate(read);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_plain() {
        for (was, is) in [("/a/./b//c/../d", "/a/b/d"), ("/../a", "/a"), ("//", ""), ("a/b/", "/a/b")] {
            assert_eq!(normal(was.as_bytes()), is.as_bytes(), "{was}");
        }
    }

    #[test]
    fn a_parameters_value_is_one_line() {
        assert_eq!(line(b"1"), b"1\n");
        assert_eq!(line(b"1\n345\n"), b"1\n");
        assert_eq!(line(b""), b"\n");
    }

    #[test]
    fn each_file_of_a_pattern_has_a_value_and_the_oldest_are_forgotten() {
        let rule = FileRule {
            path: "**/x".into(),
            on: Vec::new(),
            when: When::Missing,
            content: Some("0".into()),
            writable: true,
            stand_in: None,
        };
        let profile = Profile { files: vec![rule], ..Profile::none() };
        let files = Files::new(&profile);
        let state = &files.states[0];
        let mut written = tempfile::tempfile().unwrap_or_else(|e| panic!("{e}"));
        state.remember(b"/a/x", written.try_clone().unwrap_or_else(|e| panic!("{e}")));
        assert_eq!(state.text(b"/a/x").as_deref(), Some(&b"0\n"[..]));
        assert!(written.write_all(b"1").is_ok());
        assert_eq!(state.text(b"/a/x").as_deref(), Some(&b"1\n"[..]));
        assert_eq!(state.text(b"/b/x").as_deref(), Some(&b"0\n"[..]));
        for other in 0..PATHS {
            state.text(format!("/{other}/x").as_bytes());
        }
        assert_eq!(state.text(b"/a/x").as_deref(), Some(&b"0\n"[..]));
        assert_eq!(state.values.borrow().len(), PATHS);
    }

    #[test]
    fn what_is_too_large_for_a_parameter_is_let_go_whoever_comes_by() {
        let rule = FileRule {
            path: "/no/such/file".into(),
            on: Vec::new(),
            when: When::Missing,
            content: Some("0".into()),
            writable: true,
            stand_in: None,
        };
        let files = Files::new(&Profile { files: vec![rule], ..Profile::none() });
        let state = &files.states[0];
        let mut written = tempfile::tempfile().unwrap_or_else(|e| panic!("{e}"));
        state.remember(b"x", written.try_clone().unwrap_or_else(|e| panic!("{e}")));
        assert!(written.write_all(b"7\n").is_ok());
        let handles = || state.values.borrow()[0].1.writers.len();
        let opens = |count| (0..count).for_each(|_| assert!(!files.has_name(b"another")));
        opens(LOOKS);
        assert_eq!(handles(), 1);
        assert!(written.set_len(VALUE_BYTES as u64 + 1).is_ok());
        opens(LOOKS);
        assert_eq!(handles(), 0);
        assert_eq!(state.text(b"x").as_deref(), Some(&b"7\n"[..]));
    }

    #[test]
    fn only_a_missing_file_is_missing() {
        assert!(is_missing(-i64::from(libc::ENOENT), false));
        assert!(is_missing(-i64::from(libc::EACCES), true));
        assert!(!is_missing(-i64::from(libc::EACCES), false));
        assert!(!is_missing(3, true) && !is_missing(0, false));
    }
}
