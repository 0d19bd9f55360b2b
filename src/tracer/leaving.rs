//! Tasks that are let go while they live: to another tracer, or for good. A stop is needed for that, and a few
//! injected calls; who asked stays stopped meanwhile.

use super::script::{Position, Script};
use super::{Task, Tracer, site};
use crate::arch::Call;
use crate::handlers;
use crate::ptrace::{self, Result, Stopped, Tid};

/// What is known of a task that is to be let go.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Tasks whose handlers wait for that.
    waiting: Vec<Tid>,
    /// Its handler is under way.
    begun: bool,
}

impl Task {
    /// Whether the task, at a stop between two instructions of its own, is to be let go.
    pub(super) fn has_to_leave(&self) -> bool {
        self.script.is_none() && self.leaving.as_ref().is_some_and(|leaving| !leaving.begun)
    }
}

impl Tracer {
    /// `waiting` has been parked until `target` has left.
    pub(super) fn ask_to_leave(&mut self, target: Tid, waiting: Tid) -> Result<()> {
        match self.tasks.get_mut(&target) {
            // One that waits itself is not waited for: there are no circles.
            Some(task) if task.parked.is_none() => {
                let is_asked = task.leaving.is_some();
                task.leaving.get_or_insert_default().waiting.push(waiting);
                let takes_notice = task.script.as_ref().is_none_or(Script::is_in_own_call);
                // One that is gone without a word (another thread executed a program) keeps nobody waiting.
                if !is_asked && takes_notice && ptrace::interrupt(target).is_err() {
                    task.leaving = None;
                    return self.unpark(waiting);
                }
                Ok(())
            }
            _ => self.unpark(waiting),
        }
    }

    /// Starts the handler that makes it fit to go.
    pub(super) fn leave(&mut self, stopped: Stopped) -> Result<()> {
        let tid = stopped.tid();
        if let Some(leaving) = self.tasks.entry(tid).or_default().leaving.as_mut() {
            leaving.begun = true;
        }
        let mut registers = stopped.registers()?;
        let abi = registers.likely_abi();
        let Some(site) = site::find(&self.environment.memory, &stopped, abi) else {
            self.environment.warn_once(tid, "no vdso", || {
                "a program can't be left to another tracer, or alone: it has no vdso that can be read. Start fsmasq \
                 with --no-seccomp, and it can"
                    .to_owned()
            });
            return self.done(stopped);
        };
        // (gVisor, which lacks that request, restarts calls in a way of its own.)
        if self.syscall_info {
            registers.leave_interrupted_call_to_the_kernel();
        }
        let handler = handlers::letting_go(&self.environment);
        let position = Position::Anywhere { site };
        let (script, next) =
            Script::start(stopped, registers, abi, Call::Ptrace, position, self.tree, handler)?;
        self.after(tid, script, next)
    }

    /// A handler is through, and the task stays.
    pub(super) fn done(&mut self, stopped: Stopped) -> Result<()> {
        let tid = stopped.tid();
        let task = self.tasks.entry(tid).or_default();
        match task.leaving.take() {
            // It could not be made fit. One that was stopped by job control has to stop again.
            Some(leaving) if leaving.begun => {
                self.wake(leaving);
                stopped.interrupt_soon()?;
            }
            // Or it was asked to leave while another handler was under way.
            asked => task.leaving = asked,
        }
        self.resume(stopped, 0)
    }

    /// A stop of the task was not handled: nobody waits for it any more.
    pub(super) fn stay(&mut self, tid: Tid) {
        if let Some(leaving) = self.tasks.get_mut(&tid).and_then(|task| task.leaving.take()) {
            self.wake(leaving);
        }
    }

    /// The task goes on without us.
    pub(super) fn let_go(&mut self, stopped: Stopped) -> Result<()> {
        let tid = stopped.tid();
        tracing::debug!(tid = tid.0, program = %crate::log::program(tid), "let go: it sees file systems as they are");
        let answer = stopped.detach(0);
        self.gone(tid);
        answer
    }

    /// Lets the handlers go on that waited for a task.
    pub(super) fn wake(&mut self, leaving: Leaving) {
        for waiting in leaving.waiting {
            if let Err(error) = self.unpark(waiting) {
                tracing::debug!(tid = waiting.0, %error, "a task that waited is gone");
            }
        }
    }

    fn unpark(&mut self, tid: Tid) -> Result<()> {
        let Some(Task { script, parked, .. }) = self.tasks.get_mut(&tid) else { return Ok(()) };
        let (Some(stopped), Some(mut script)) = (parked.take(), script.take()) else { return Ok(()) };
        let next = script.unpark(stopped)?;
        self.after(tid, script, next)
    }
}
