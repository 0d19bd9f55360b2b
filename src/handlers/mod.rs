//! What is done with the handled calls. One table says which they are: it drives the filter and the
//! dispatch.

mod clone;
mod descriptor;
pub(crate) mod files;
mod let_go;
mod mount_table;
mod object;
pub(crate) mod open;
mod place;
mod procfs;
mod ptrace;
mod statfs;
mod statmount;

pub use files::Files;
pub(crate) use object::descriptor_of;

use crate::arch::{Abi, Call};
use crate::fast_path::{self, FastPath};
use crate::log::Statistics;
use crate::notify::Supervisor;
use crate::ptrace::{Memory, Result, Stopped, Tid};
use crate::rewrite::mount_table::Device;
use crate::rules::Rules;
use crate::seccomp::Selection;
use crate::tracer::{Outcome, Traced};
use open::Look;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

/// A call that stops, and what for.
#[derive(Debug)]
pub struct Handled {
    pub call: Call,
    pub family: Family,
    pub condition: Condition,
}

/// When a call has to stop, as far as its registers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// Unless the flags of an open, in this argument, make it uninteresting.
    OpenFlags {
        argument: u32,
    },
    /// Only where this argument has one of these bits.
    AnyOf {
        argument: u32,
        bits: u32,
    },
    /// Only where this argument is one of these values.
    OneOf {
        argument: u32,
        values: &'static [u32],
    },
}

/// Which file of this folder has a call's handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The type of what was opened: mount tables, and files that a profile supplies.
    Open,
    /// The magic in the struct.
    Statfs,
    /// The name and magic in the struct.
    Statmount,
    /// A child that asks not to be traced.
    Clone,
    /// Another tracer.
    Ptrace,
    /// A task that brings the pages of others.
    Memory,
}

/// Every call that stops.
pub const HANDLED: &[Handled] = &[
    Handled { call: Call::Openat, family: Family::Open, condition: Condition::OpenFlags { argument: 2 } },
    Handled { call: Call::Open, family: Family::Open, condition: Condition::OpenFlags { argument: 1 } },
    Handled { call: Call::Openat2, family: Family::Open, condition: Condition::Always },
    Handled { call: Call::Statfs, family: Family::Statfs, condition: Condition::Always },
    Handled { call: Call::Fstatfs, family: Family::Statfs, condition: Condition::Always },
    Handled { call: Call::Statfs64, family: Family::Statfs, condition: Condition::Always },
    Handled { call: Call::Fstatfs64, family: Family::Statfs, condition: Condition::Always },
    Handled { call: Call::Statmount, family: Family::Statmount, condition: Condition::Always },
    Handled {
        call: Call::Clone,
        family: Family::Clone,
        condition: Condition::AnyOf { argument: 0, bits: clone::UNTRACED },
    },
    Handled { call: Call::Clone3, family: Family::Clone, condition: Condition::Always },
    Handled {
        call: Call::Ptrace,
        family: Family::Ptrace,
        condition: Condition::OneOf { argument: 0, values: &ptrace::BEGINNINGS },
    },
    Handled { call: Call::Userfaultfd, family: Family::Memory, condition: Condition::Always },
];

/// What all handlers work with; one for the life of a tracer.
#[derive(Debug)]
pub struct Environment {
    pub rules: Rules,
    pub memory: Memory,
    pub files: Files,
    pub statistics: Statistics,
    pub supervisor: Supervisor,
    /// None where each open stops.
    pub fast_path: Option<FastPath>,
    /// What all memfds are on.
    memfds_on: Option<Device>,
}

impl Environment {
    /// `patience`: of the fast path, where there is to be one.
    pub fn new(rules: Rules, patience: Option<u8>) -> Self {
        let files = Files::new(&rules.profile);
        let fast_path = patience.and_then(|patience| FastPath::new(&rules, patience));
        Environment {
            fast_path,
            rules,
            memory: Memory::default(),
            files,
            statistics: Statistics::default(),
            supervisor: Supervisor::default(),
            memfds_on: object::memfd_device().ok(),
        }
    }

    /// What the filters pick.
    pub fn selection(&self) -> Selection {
        Selection { all_files: self.rules.profile.takes_writes(), stubs: self.fast_path.is_some() }
    }

    /// The device of all memfds.
    fn memfd_device(&self) -> io::Result<Device> {
        self.memfds_on.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSYS))
    }

    /// Warns of an obstacle once per program: what polls a table would fill the log.
    pub fn warn_once(&self, tid: Tid, obstacle: &'static str, message: impl FnOnce() -> String) {
        let program = crate::log::program(tid);
        if crate::log::is_news(&program, obstacle) {
            tracing::warn!(tid = tid.0, program, "{}", message());
        }
    }
}

/// A handler, made for one call of one task.
pub type Handler = Box<dyn FnOnce(Traced) -> Pin<Box<dyn Future<Output = Result<Outcome>>>>>;

/// The handled call behind a number, if it is one.
pub fn find(abi: Abi, number: u64) -> Option<&'static Handled> {
    HANDLED.iter().find(|handled| handled.call.is(abi, number))
}

/// The handler for the call that a task is about to make, or None where it is of no interest.
pub fn handler(
    environment: &Rc<Environment>,
    stopped: &Stopped,
    handled: &Handled,
    arguments: [u64; 6],
) -> Result<Option<Handler>> {
    let environment = Rc::clone(environment);
    Ok(match handled.family {
        Family::Statfs => Some(Box::new(|task| Box::pin(statfs::handle(task, environment)))),
        Family::Statmount => Some(Box::new(|task| Box::pin(statmount::handle(task, environment)))),
        Family::Clone => {
            clone::Request::look(&environment, stopped, handled.call, arguments)?.map(|request| -> Handler {
                Box::new(|task| Box::pin(clone::handle(task, environment, request)))
            })
        }
        Family::Ptrace => ptrace::is_beginning(arguments)
            .then(|| -> Handler { Box::new(|task| Box::pin(ptrace::handle(task, environment))) }),
        Family::Memory => {
            environment.memory.be_careful();
            None
        }
        Family::Open => match open::Request::look(&environment, stopped, handled.call, arguments)? {
            Look::Uninteresting => None,
            Look::Interesting(request) => {
                Some(Box::new(|task| Box::pin(open::handle(task, environment, request))))
            }
            Look::NotYet => Some(Box::new(|task| Box::pin(open::handle_afterwards(task, environment)))),
        },
    })
}

/// Patches the site of an open that is of no interest.
pub fn patching(environment: &Rc<Environment>) -> Handler {
    let environment = Rc::clone(environment);
    Box::new(|task| Box::pin(fast_path::handle(task, environment)))
}

/// Makes a task, wherever it is, fit to live without its tracer, and says so to the loop.
pub fn letting_go(environment: &Rc<Environment>) -> Handler {
    let environment = Rc::clone(environment);
    Box::new(|task| Box::pin(let_go::handle(task, environment)))
}
