//! The tracer: one loop of wait → classify → handle → resume, for all tasks of the tree.

pub(crate) mod event;
mod leaving;
mod queue;
mod script;
pub(crate) mod signals;
pub(crate) mod site;
mod timeouts;
mod tree;

pub use script::{Outcome, Traced};

use crate::arch::{Abi, Call, RawCall};
use crate::fast_path::{self, Futile};
use crate::handlers::{self, Environment, Family, Handled, Handler};
use crate::ptrace::{Error, Options, Result, Resume, Stopped, SyscallInfo, Tid};
use crate::seccomp;
use event::{Event, Stop};

use leaving::Leaving;
use queue::{Queue, Report};
use script::{Expected, Next, Position, Script};
use signals::{Delivery, SignalState};
use std::collections::HashMap;
use std::rc::Rc;
use tree::Tree;

/// Which stops the tree makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A filter in the tracees picks the calls.
    Seccomp,
    /// All calls stop: where filters can't be had.
    AllStops,
}

/// What is known of a task between two stops.
#[derive(Default)]
struct Task {
    /// A handler in the middle of a call.
    script: Option<Script>,
    /// Stopped until another task is let go, for its handler to go on.
    parked: Option<Stopped>,
    /// It is to be let go.
    leaving: Option<Leaving>,
    /// With all stops: between a call's entry and its exit.
    in_call: bool,
    /// It has stopped for the last time.
    ending: bool,
    signals: SignalState,
    /// Sites of opens that nobody wanted to see.
    futile: Futile,
}

/// The tracer of one tree of tasks.
pub struct Tracer {
    engine: Engine,
    tree: Tree,
    environment: Rc<Environment>,
    tasks: HashMap<Tid, Task>,
    queue: Queue,
    /// Whether a call's entry stop comes after its seccomp stop; learnt from the first one seen.
    entry_after_seccomp: Option<bool>,
    /// Whether PTRACE_GET_SYSCALL_INFO (Linux 5.3) is there; gVisor lacks it.
    syscall_info: bool,
    leader: Tid,
    farewell: Option<Farewell>,
}

/// What is to be done when the last task ends, before its parent learns of that. Needs tasks that
/// were seized with `reporting_ends`.
pub type Farewell = Box<dyn FnOnce()>;

/// What the loop tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The command itself has ended; tasks that it started may go on.
    CommandEnded,
    /// No task is left.
    Finished,
}

impl Tracer {
    /// For the tree that begins with `leader`, seized with `options`, its filter installed.
    pub fn new(
        leader: Tid,
        engine: Engine,
        options: Options,
        environment: Rc<Environment>,
        farewell: Option<Farewell>,
    ) -> Self {
        Tracer {
            engine,
            tree: Tree::new(leader, options, engine == Engine::Seccomp),
            environment,
            tasks: HashMap::from([(leader, Task::default())]),
            queue: Queue::default(),
            entry_after_seccomp: None,
            syscall_info: true,
            leader,
            farewell,
        }
    }

    /// Serves stops until there is something to tell.
    pub fn run(&mut self) -> Progress {
        loop {
            let Some(Report { tid, status, drained }) = self.queue.next() else {
                self.environment.supervisor.wait_until_unused();
                if let Some(farewell) = self.farewell.take() {
                    farewell();
                }
                return Progress::Finished;
            };
            match event::classify(status) {
                Event::Exited { code } => {
                    tracing::trace!(tid = tid.0, code, "exited");
                    self.gone(tid);
                    if tid == self.leader {
                        return Progress::CommandEnded;
                    }
                }
                Event::Killed { signal } => {
                    tracing::trace!(tid = tid.0, signal, "killed");
                    self.gone(tid);
                    if tid == self.leader {
                        return Progress::CommandEnded;
                    }
                }
                Event::Stopped(stop) => {
                    self.environment.statistics.count_stop();
                    let stopped = Stopped::from_wait(tid, status);
                    if drained && matches!(stopped.confirm(), Err(Error::Died(_))) {
                        continue;
                    }
                    match self.stopped(stopped, stop) {
                        // Its exit status is on the way, and drops what is known of it; or the stop of
                        // the thread that has taken over its id.
                        Ok(()) | Err(Error::Died(_)) => {}
                        Err(error) => {
                            tracing::error!(tid = tid.0, ?stop, %error, "a stop was not handled");
                            self.stay(tid);
                            // Whatever it was: a task must not be left stopped.
                            let signal = if let Stop::Signal { signal } = stop { signal } else { 0 };
                            self.resume(Stopped::from_wait(tid, status), signal).ok();
                        }
                    }
                }
            }
        }
    }

    /// A task has ended, or is not ours any more.
    fn gone(&mut self, tid: Tid) {
        if let Some(Task { leaving: Some(leaving), .. }) = self.tasks.remove(&tid) {
            self.wake(leaving);
        }
    }

    fn stopped(&mut self, stopped: Stopped, stop: Stop) -> Result<()> {
        // A new task's first stop may come before its parent's event: adopt whoever stops.
        self.tasks.entry(stopped.tid()).or_insert_with(|| {
            tracing::trace!(tid = stopped.tid().0, "new task");
            Task::default()
        });
        match stop {
            Stop::Seccomp => self.seccomp_stop(stopped),
            Stop::Syscall => self.syscall_stop(stopped),
            Stop::Exec => self.executed(stopped),
            Stop::Group { .. } | Stop::Trap
                if self.tasks.get(&stopped.tid()).is_some_and(Task::has_to_leave) =>
            {
                self.leave(stopped)
            }
            Stop::Group { .. } => stopped.listen(),
            Stop::End => {
                let tid = stopped.tid();
                self.tasks.entry(tid).or_default().ending = true;
                // With the init process of the tracer's own pid namespace, the tracer ends as well.
                if (tid == Tid(1) || self.tasks.values().all(|task| task.ending))
                    && let Some(farewell) = self.farewell.take()
                {
                    farewell();
                }
                stopped.resume(Resume::Continue, 0)
            }
            Stop::Signal { signal } => self.signal(stopped, signal),
            Stop::NewTask | Stop::Trap | Stop::Other { .. } => self.resume(stopped, 0),
        }
    }

    /// In the way that the task's state asks for.
    fn resume(&self, stopped: Stopped, signal: i32) -> Result<()> {
        let task = self.tasks.get(&stopped.tid());
        if task.is_some_and(Task::has_to_leave) {
            // Every stop takes back the request for another one (kernel/signal.c, ptrace_stop).
            stopped.interrupt_soon()?;
        }
        let is_followed = task.is_some_and(|task| task.script.is_some() || task.signals.awaits_end_of_call());
        let how = match self.engine {
            Engine::AllStops => Resume::ToSyscallStop,
            Engine::Seccomp if is_followed => Resume::ToSyscallStop,
            Engine::Seccomp => Resume::Continue,
        };
        stopped.resume(how, signal)
    }

    fn signal(&mut self, mut stopped: Stopped, signal: i32) -> Result<()> {
        let tid = stopped.tid();
        let task = self.tasks.entry(tid).or_default();
        // While calls are injected only SIGSTOP arrives, and concerns none of them.
        if task.script.is_some() {
            let is_futile = signals::stops_an_init_from_within(&stopped, signal, &mut task.signals)?;
            return self.resume(stopped, if is_futile { 0 } else { signal });
        }
        if fast_path::has_trapped(&self.environment, &mut stopped, signal)?
            || fast_path::restore(&self.environment, &mut stopped, signal)?
        {
            return self.resume(stopped, 0);
        }
        let task = self.tasks.entry(tid).or_default();
        match signals::look(&mut stopped, signal, &mut task.signals, &self.environment.memory)? {
            Delivery::Deliver => self.resume(stopped, signal),
            Delivery::Drop => self.resume(stopped, 0),
            Delivery::Detach => {
                tracing::debug!(tid = tid.0, signal, "the init of a pid namespace dies of a fault");
                self.gone(tid);
                stopped.detach(signal)
            }
        }
    }

    fn seccomp_stop(&mut self, stopped: Stopped) -> Result<()> {
        let (data, call) = match self.syscall_info(&stopped)? {
            Some(SyscallInfo::Seccomp { data, call }) => (u64::from(data), Some(call)),
            _ => (stopped.event_message()?, None),
        };
        let Some(abi) = seccomp::abi_of_stop(data) else {
            return self.foreign_filter(stopped);
        };
        if self.tasks.get(&stopped.tid()).is_some_and(|task| task.script.is_some()) {
            // An injected call is among those that the filter picks.
            return self.resume(stopped, 0);
        }
        let expected = match self.entry_after_seccomp {
            Some(false) => Expected::Exit,
            Some(true) | None => Expected::EntryOrExit,
        };
        let call = match call {
            Some(call) => call,
            None => stopped.registers()?.call(abi),
        };
        self.begin(stopped, abi, call, expected)
    }

    /// None from then on where the kernel does not tell.
    fn syscall_info(&mut self, stopped: &Stopped) -> Result<Option<SyscallInfo>> {
        let info = if self.syscall_info { stopped.syscall_info()? } else { None };
        self.syscall_info &= info.is_some();
        Ok(info)
    }

    /// A filter of the program's own answered RET_TRACE: without a tracer that would be ENOSYS.
    fn foreign_filter(&self, mut stopped: Stopped) -> Result<()> {
        let mut registers = stopped.registers()?;
        registers.skip_call();
        registers.set_result(-i64::from(libc::ENOSYS));
        stopped.set_registers(&registers)?;
        self.resume(stopped, 0)
    }

    /// A task is at the entry of a call that may be handled.
    fn begin(&mut self, stopped: Stopped, abi: Abi, raw: RawCall, expected: Expected) -> Result<()> {
        let Some(handled) = handlers::find(abi, raw.number) else {
            return self.resume(stopped, 0);
        };
        let fast_path = self.environment.fast_path.as_ref().filter(|_| abi == Abi::NATIVE);
        if fast_path.is_some_and(|fast_path| fast_path.tells(raw.behind)) {
            return self.begin_after(stopped, abi, handled, raw);
        }
        let handler = handlers::handler(&self.environment, &stopped, handled, raw.arguments)?;
        let handler = handler.or_else(|| self.patching(stopped.tid(), abi, handled, raw));
        let Some(handler) = handler else { return self.resume(stopped, 0) };
        self.start(stopped, abi, handled.call, expected, handler)
    }

    fn start(
        &mut self,
        stopped: Stopped,
        abi: Abi,
        call: Call,
        expected: Expected,
        handler: Handler,
    ) -> Result<()> {
        let tid = stopped.tid();
        let registers = stopped.registers()?;
        let position = Position::Call(expected);
        let (script, next) = Script::start(stopped, registers, abi, call, position, self.tree, handler)?;
        self.after(tid, script, next)
    }

    /// The same as `begin` for a call that a stub has made already.
    fn begin_after(&mut self, mut stopped: Stopped, abi: Abi, handled: &Handled, raw: RawCall) -> Result<()> {
        let mut registers = stopped.registers()?;
        let result = fast_path::told(&registers);
        registers.skip_call_with(result);
        stopped.set_registers(&registers)?;
        let handler = handlers::handler(&self.environment, &stopped, handled, raw.arguments)?;
        let Some(handler) = handler else { return self.resume(stopped, 0) };
        self.start(stopped, abi, handled.call, Expected::Exit, handler)
    }

    /// A handler that sees to it that an open of no interest is the last one to stop at its site.
    fn patching(&mut self, tid: Tid, abi: Abi, handled: &Handled, raw: RawCall) -> Option<Handler> {
        let fast_path = self.environment.fast_path.as_ref()?;
        let is_open = abi == Abi::NATIVE && handled.family == Family::Open;
        let task = self.tasks.get_mut(&tid).filter(|_| is_open)?;
        task.futile.count(fast_path, raw.behind).then(|| handlers::patching(&self.environment))
    }

    /// What follows when a script has seen a stop.
    fn after(&mut self, tid: Tid, script: Script, next: Next) -> Result<()> {
        match next {
            Next::Running => {
                self.tasks.entry(tid).or_default().script = Some(script);
                Ok(())
            }
            Next::Done(stopped) => self.done(stopped),
            Next::LetGo(stopped) => self.let_go(stopped),
            Next::Parked(stopped, target) => {
                let task = self.tasks.entry(tid).or_default();
                task.script = Some(script);
                task.parked = Some(stopped);
                self.ask_to_leave(target, tid)
            }
        }
    }

    fn syscall_stop(&mut self, stopped: Stopped) -> Result<()> {
        let tid = stopped.tid();
        let task = self.tasks.entry(tid).or_default();
        // Taken out: a script that fails must not be driven again.
        if let Some(mut script) = task.script.take() {
            let (next, was_entry) = script.syscall_stop(stopped)?;
            self.entry_after_seccomp.get_or_insert(was_entry);
            if matches!(next, Next::Done(_)) {
                task.in_call = false;
            }
            return self.after(tid, script, next);
        }
        if task.signals.awaits_end_of_call() {
            let registers = stopped.registers()?;
            let result = registers.result(registers.likely_abi());
            // At the entry, which is no end.
            if !registers.is_at_entry(registers.likely_abi()) {
                task.signals.call_ended(result);
            }
        }
        let was_in_call = task.in_call;
        if self.engine == Engine::Seccomp {
            return self.resume(stopped, 0);
        }
        let info = self.syscall_info(&stopped)?;
        let entering = match info {
            Some(SyscallInfo::Entry { .. }) => true,
            Some(SyscallInfo::Exit) => false,
            _ => !was_in_call,
        };
        self.tasks.entry(tid).or_default().in_call = entering;
        if !entering {
            return self.resume(stopped, 0);
        }
        let (abi, call) = match info {
            Some(SyscallInfo::Entry { arch, call }) => (Abi::of(arch, call.number), call),
            _ => {
                let registers = stopped.registers()?;
                let abi = registers.likely_abi();
                (abi, registers.call(abi))
            }
        };
        self.begin(stopped, abi, call, Expected::Exit)
    }

    /// The task runs another program. Where a thread that is not the leader executed it, that thread
    /// has the leader's id now, and its own will never be reported again.
    fn executed(&mut self, stopped: Stopped) -> Result<()> {
        let tid = stopped.tid();
        let former = stopped.event_message()?;
        if let Ok(former) = i32::try_from(former)
            && Tid(former) != tid
        {
            self.gone(Tid(former));
        }
        self.gone(tid);
        self.tasks.insert(tid, Task { in_call: true, ..Task::default() });
        tracing::trace!(tid = tid.0, program = %crate::log::program(tid), "executed");
        if self.environment.rules.untraced.contains(tid) {
            self.tasks.entry(tid).or_default().leaving = Some(Leaving::default());
        }
        self.resume(stopped, 0)
    }
}
