//! Handlers as straight-line code: a handler is a future that the loop drives from stop to stop of its
//! one task. It awaits the end of the task's call, or of a call that it makes the task execute; the
//! loop meanwhile serves all other tasks. Nothing ever waits for one particular task.

use super::tree::Tree;
use crate::arch::{Abi, Call, Injected, Registers};
use crate::ptrace::{Error, Result, Stopped, Tid};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What a handler says when it is through: the call's result, where that changes.
pub type Outcome = Option<i64>;
type Body = Pin<Box<dyn Future<Output = Result<Outcome>>>>;

/// What a handler is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// The end of the call that the task is in.
    CallExit,
    /// The end of an injected call.
    InjectedExit,
    /// That another task is let go.
    HandOver(Tid),
}

/// What the handler and the loop share: the stopped task is in it while the handler runs.
#[derive(Debug)]
struct Shared {
    stopped: RefCell<Option<Stopped>>,
    wish: Cell<Option<Wish>>,
    /// Registers at the last exit stop that the loop saw.
    latest: Cell<Registers>,
    /// What to put back after injected calls.
    own: Cell<Option<Own>>,
    /// Whether to let the task go in the end, and how.
    leave: Cell<Option<Leave>>,
    position: Position,
    tree: Tree,
}

/// Where a task is when its handler starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the entry of a call.
    Call(Expected),
    /// Anywhere; there is an instruction that makes a call at this address.
    Anywhere { site: u64 },
}

/// How a task goes on without its tracer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    AsItIs,
    /// It makes its call once more.
    CallingAgain,
}

/// What a task was like before the first injected call.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// At the end of its own call.
    registers: Registers,
    signal_mask: u64,
    seccomp_suspended: bool,
}

/// A task as its handler sees it: inside one system call.
#[derive(Debug)]
pub struct Traced {
    shared: Rc<Shared>,
    pub tid: Tid,
    pub abi: Abi,
    pub call: Call,
    pub arguments: [u64; 6],
}

impl Traced {
    /// Lets the call run; what it returned: a value or a negative errno.
    pub async fn run_call(&self) -> Result<i64> {
        self.wait_for(Wish::CallExit).await;
        Ok(self.shared.latest.get().result(self.abi))
    }

    /// Makes the task execute a call of the tracer's, after the end of its own. The inner result is
    /// that call's: a value, or the errno.
    pub async fn inject(
        &self,
        call: Injected,
        arguments: [u64; 6],
    ) -> Result<std::result::Result<u64, nix::Error>> {
        self.with_stopped(|stopped| {
            let own = match self.shared.own.get() {
                Some(own) => own,
                None => {
                    let own = self.prepare(stopped)?;
                    self.shared.own.set(Some(own));
                    own
                }
            };
            let mut registers = own.registers;
            if let Position::Anywhere { site } = self.shared.position {
                registers.go_behind(site);
            }
            registers.inject(self.abi, call, arguments);
            stopped.set_registers(&registers)
        })?;
        self.wait_for(Wish::InjectedExit).await;
        let result = self.shared.latest.get().result(self.abi);
        tracing::trace!(tid = self.tid.0, call = call.name(), result, "injected");
        Ok(match result {
            -4095..0 => Err(nix::Error::from_raw(i32::try_from(-result).unwrap_or(libc::EIO))),
            // Addresses of a 64-bit task can't be negative, those of a 32-bit one were sign-extended.
            value if self.abi.register_bytes() == 4 => {
                Ok(u64::from(crate::arch::low32(value.cast_unsigned())))
            }
            value => Ok(value.cast_unsigned()),
        })
    }

    /// Makes a stopped task fit to execute calls that are not its own.
    fn prepare(&self, stopped: &mut Stopped) -> Result<Own> {
        let seccomp_suspended = stopped.suspend_seccomp(self.shared.tree.options, true)?;
        if !seccomp_suspended && self.shared.tree.has_foreign_filter(self.tid) {
            // One that kills for a call that the program never makes would kill it for ours.
            return Err(Error::Failed {
                operation: "making calls below a seccomp filter of the program's own (as root they can be made)",
                tid: self.tid,
                errno: nix::Error::EPERM,
            });
        }
        // A handler of a signal that arrived now would return to the injected call.
        let signal_mask = stopped.signal_mask()?;
        stopped.set_signal_mask(u64::MAX)?;
        Ok(Own { registers: self.shared.latest.get(), signal_mask, seccomp_suspended })
    }

    /// Waits until the loop has let `target` go, or has found that it can't. This task stays stopped.
    pub async fn hand_over(&self, target: Tid) {
        self.wait_for(Wish::HandOver(target)).await;
    }

    /// When the handler is through, the task goes on without its tracer.
    pub fn let_go(&self) {
        self.shared.leave.set(Some(Leave::AsItIs));
    }

    /// The same, and makes its call once more.
    pub fn let_go_and_call_again(&self) {
        self.shared.leave.set(Some(Leave::CallingAgain));
    }

    /// Whether a filter of ours is there, which needs somebody who answers.
    pub fn has_our_filter(&self) -> bool {
        self.shared.tree.filtered
    }

    /// Access to the stopped task.
    pub fn with_stopped<T>(&self, access: impl FnOnce(&mut Stopped) -> Result<T>) -> Result<T> {
        match self.shared.stopped.borrow_mut().as_mut() {
            Some(stopped) => access(stopped),
            // The loop drives a handler only at stops, so this is never seen.
            None => Err(Error::Died(self.tid)),
        }
    }

    async fn wait_for(&self, wish: Wish) {
        self.shared.wish.set(Some(wish));
        let mut asked = false;
        poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Which stops a task in the middle of a handler still has to make before the handler goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// An entry stop may come first: it has -ENOSYS in the result's register, the exit does not. So after a
    /// seccomp stop in gVisor and before Linux 4.8, and for each injected call.
    EntryOrExit,
    /// The entry stop has passed, or is not made.
    Exit,
}

/// A handler under way, on the loop's side.
pub struct Script {
    body: Body,
    shared: Rc<Shared>,
    abi: Abi,
    expected: Expected,
    /// The task is in the call that it made itself, and nothing was injected yet.
    in_own_call: bool,
}

/// What becomes of the task after a stop that the script has seen.
pub enum Next {
    /// It has to run to its next syscall stop: resumed already.
    Running,
    /// The handler is through; the task is still stopped.
    Done(Stopped),
    /// The handler is through, and the task is to be let go.
    LetGo(Stopped),
    /// The task has to stay stopped until another one is let go.
    Parked(Stopped, Tid),
}

impl Script {
    /// Starts a handler for a stopped task.
    pub fn start<F: Future<Output = Result<Outcome>> + 'static>(
        stopped: Stopped,
        registers: Registers,
        abi: Abi,
        call: Call,
        position: Position,
        tree: Tree,
        handler: impl FnOnce(Traced) -> F,
    ) -> Result<(Script, Next)> {
        let tid = stopped.tid();
        let shared = Rc::new(Shared {
            stopped: RefCell::new(None),
            wish: Cell::new(None),
            latest: Cell::new(registers),
            own: Cell::new(None),
            leave: Cell::new(None),
            position,
            tree,
        });
        let arguments = registers.arguments(abi);
        let body = handler(Traced { shared: Rc::clone(&shared), tid, abi, call, arguments });
        // Anywhere, the task is in no call; each injected one says itself what it expects.
        let expected = if let Position::Call(expected) = position { expected } else { Expected::Exit };
        let mut script = Script { body: Box::pin(body), shared, abi, expected, in_own_call: false };
        let next = script.drive(stopped)?;
        Ok((script, next))
    }

    /// The task made a syscall stop. True in the second place: it was an entry stop, which tells the
    /// order of stops on this kernel.
    pub fn syscall_stop(&mut self, stopped: Stopped) -> Result<(Next, bool)> {
        let registers = stopped.registers()?;
        if self.expected == Expected::EntryOrExit {
            self.expected = Expected::Exit;
            if registers.is_at_entry(self.abi) {
                stopped.step()?;
                return Ok((Next::Running, true));
            }
        }
        self.shared.latest.set(registers);
        Ok((self.drive(stopped)?, false))
    }

    /// Whether the task is in its own call, which may take long, and may be interrupted.
    pub fn is_in_own_call(&self) -> bool {
        self.in_own_call
    }

    /// Goes on with a handler whose task was parked.
    pub fn unpark(&mut self, stopped: Stopped) -> Result<Next> {
        self.drive(stopped)
    }

    /// Lets the handler run until it wants the task to go on, or is through.
    fn drive(&mut self, stopped: Stopped) -> Result<Next> {
        let tid = stopped.tid();
        *self.shared.stopped.borrow_mut() = Some(stopped);
        let answer = self.body.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        // A handler has no way to keep the stopped task.
        let mut stopped = self.shared.stopped.borrow_mut().take().ok_or(Error::Died(tid))?;
        match (answer, self.shared.wish.take()) {
            (Poll::Pending, Some(Wish::HandOver(target))) => Ok(Next::Parked(stopped, target)),
            (Poll::Pending, wish) => {
                self.in_own_call = wish == Some(Wish::CallExit) && self.shared.own.get().is_none();
                if wish == Some(Wish::InjectedExit) {
                    self.expected = Expected::EntryOrExit;
                }
                stopped.step()?;
                Ok(Next::Running)
            }
            (Poll::Ready(outcome), _) => {
                let outcome = match outcome {
                    Err(e @ Error::Died(_)) => return Err(e),
                    Err(error) => {
                        not_rewritten(tid, &error);
                        None
                    }
                    Ok(outcome) => outcome,
                };
                self.put_back(&mut stopped, outcome)?;
                Ok(match self.shared.leave.get() {
                    Some(_) => Next::LetGo(stopped),
                    None => Next::Done(stopped),
                })
            }
        }
    }

    /// Ends the program's own call: as it ended by itself, or with the handler's result.
    fn put_back(&self, stopped: &mut Stopped, outcome: Outcome) -> Result<()> {
        let own = self.shared.own.get();
        let calls_again = self.shared.leave.get() == Some(Leave::CallingAgain);
        let was_anywhere = matches!(self.shared.position, Position::Anywhere { .. });
        if own.is_none() && outcome.is_none() && !calls_again && !was_anywhere {
            return Ok(());
        }
        let mut registers = own.map_or_else(|| self.shared.latest.get(), |own| own.registers);
        if let Some(result) = outcome {
            registers.set_result(result);
        }
        if calls_again {
            registers.call_again();
        }
        let registers_set = stopped.set_registers(&registers);
        let Some(own) = own else { return registers_set };
        // Each of them, whatever becomes of the others: a task must not stay deaf, or without its filter.
        let filters_set = if own.seccomp_suspended {
            stopped.suspend_seccomp(self.shared.tree.options, false).map(drop)
        } else {
            Ok(())
        };
        let mask_set = stopped.set_signal_mask(own.signal_mask);
        registers_set.and(filters_set).and(mask_set)
    }
}

/// Says so once per program; and quietly where the memory was not there: nobody can read the answer either.
fn not_rewritten(tid: Tid, error: &Error) {
    match error {
        Error::Failed { operation, errno, .. } if *errno != nix::Error::EFAULT => {
            let program = crate::log::program(tid);
            if crate::log::is_news(&program, operation) {
                tracing::warn!(tid = tid.0, program, %error, "a call was not rewritten");
            }
        }
        _ => tracing::debug!(tid = tid.0, %error, "a call was not rewritten"),
    }
}
