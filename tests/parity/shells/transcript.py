"""What interactive shells say on a terminal: each case drives one shell on a pty of its own, and prints what came.

    transcript.py SHELL [CASE]

A step is (what is typed, what is awaited); nothing is typed before the last step's text has come. What differs from run
to run (process ids) is taken out, so that two runs can be compared.
"""

import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import time

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "--noediting", "-i"],
    "dash": ["dash", "-i"],
    "busybox": ["busybox", "sh", "-i"],
}
PROMPT = "READY "
KEPT = {"126", "127", "130", "131", "137", "138", "139", "143", "147", "148", "149", "150", "1000", "1001"}
LIMIT = 20  # seconds for one step; it is never awaited otherwise

# Programs in the run's folder: one that says when it is up, one that also says when it goes on. They start nothing: a shell
# that waits for a vfork can't stop.
UP = "./up"
LOUD = "./loud"
PROGRAMS = {
    "up": "#!/bin/sh\necho is-up; exec sleep 1000\n",
    "loud": "#!/bin/sh\nexec 3<> fifo; trap 'echo goes-on' CONT; echo is-up; while :; do read line <&3; done\n",
    "hup": "#!/bin/sh\nexec 3<> fifo; trap 'echo > hung-up; exit' HUP; echo is-up; while :; do read line <&3; done\n",
}
# What is typed first: to await a state of a job, and its end.
SETUP = (
    "list() { jobs > listed; sed 's/^/= /' listed; }; "
    "till() { while :; do jobs > listed; grep -q $1 listed && break; sleep 0.02; done; sed 's/^/= /' listed; }; "
    "gone() { kill -9 $1; while kill -0 $1; do jobs > listed; sleep 0.02; done 2> gone; jobs > listed; }"
)

CASES = {
    "stop, list, go on in the background": [
        (UP, "is-up"), ("^Z", PROMPT), ("echo $?; list", PROMPT), ("bg", PROMPT), ("till Running", PROMPT), ("gone %1", PROMPT),
    ],
    "stop, go on in the foreground, interrupt": [
        (LOUD, "is-up"), ("^Z", PROMPT), ("fg", "goes-on"), ("^C", PROMPT), ("echo $?; list", PROMPT),
    ],
    "stop, go on, stop, go on": [
        (LOUD, "is-up"), ("^Z", PROMPT), ("fg", "goes-on"), ("^Z", PROMPT), ("fg", "goes-on"), ("^Z", PROMPT),
        ("list", PROMPT), ("gone %1", PROMPT),
    ],
    "quit": [(UP, "is-up"), ("^\\", PROMPT), ("echo $?", PROMPT)],
    "a pipeline stops and goes on as one": [
        ("sleep 1000 | ./loud", "is-up"), ("^Z", PROMPT), ("echo $?; list", PROMPT), ("fg", "goes-on"), ("^C", PROMPT), ("echo $?", PROMPT),
    ],
    "a reader in the background stops": [
        ("cat &", PROMPT), ("till Stopped", PROMPT), ("fg", "cat"), ("line", "line\r\nline"), ("^D", PROMPT), ("echo $?", PROMPT),
    ],
    "a writer in the background stops where the terminal says so": [
        ("stty tostop", PROMPT), ("sh -c 'echo said' &", PROMPT), ("till Stopped", PROMPT), ("fg", PROMPT), ("echo $?", PROMPT),
    ],
    "one that stops itself": [
        ("sh -c 'kill -TSTP $$; echo resumed; exit 5'", PROMPT), ("echo $?; list", PROMPT), ("fg", PROMPT), ("echo $?", PROMPT),
    ],
    "two jobs": [
        ("sleep 1000 & sleep 1001 &", PROMPT), ("list", PROMPT), ("kill -STOP %1; till Stopped", PROMPT),
        ("kill -TERM %2; wait %2; echo $?", PROMPT), ("gone %1", PROMPT),
    ],
    "statuses": [
        ("sh -c 'exit 3' & wait $!; echo $?", PROMPT), ("sleep 1000 & kill -USR1 $!; wait $!; echo $?", PROMPT),
        ("sh -c 'kill -SEGV $$'; echo $?", PROMPT), ("wait; echo $?", PROMPT), ("wait 99999999; echo $?", PROMPT),
        ("/nonexistent; echo $?", PROMPT), ("/etc/passwd; echo $?", PROMPT), ("/; echo $?", PROMPT),
    ],
    "wait is interrupted by a trap": [
        ("trap 'echo trapped' USR1", PROMPT), ("sleep 1000 & sh -c 'sleep 0.3; kill -USR1 '$$ & wait %1; echo $?", PROMPT), ("gone %1", PROMPT),
    ],
    "interrupt of wait": [
        ("sleep 1000 &", PROMPT), ("echo is'-'up; wait", "is-up"), ("^C", PROMPT), ("echo $?", PROMPT), ("gone %1", PROMPT),
    ],
    "stopped jobs hold an exit back": [
        (UP, "is-up"), ("^Z", PROMPT), ("exit", PROMPT), ("gone %1", PROMPT), ("exit 6", None),
    ],
    "a shell in the shell": [
        ("PS1='INN''ER ' sh -i", "INNER"), (LOUD, "is-up"), ("^Z", "INNER"), ("fg", "goes-on"), ("^C", "INNER"),
        ("exit 4", PROMPT), ("echo $?", PROMPT),
    ],
    "the window's size": [("RESIZE", None), ("stty size", PROMPT)],
    "hang-up of a stopped job": [("./hup", "is-up"), ("^Z", PROMPT), ("HANGUP", None)],
    "without job control": [
        ("set +m", PROMPT), ("sleep 1000 & kill -9 $!; wait $!; echo $?", PROMPT), (UP, "is-up"), ("^C", PROMPT), ("echo $?", PROMPT),
    ],
    "exec in place": [("exec sh -c 'echo here; exit 7'", None)],
}
# Words that dash and busybox lack.
OF_BASH = {
    "hang-up": [("./hup &", "is-up"), ("HANGUP", None)],
    "interrupt of the shell's own loop": [
        ("echo is'-'up; while :; do :; done", "is-up"), ("^C", PROMPT), ("echo $?", PROMPT),
    ],
    "stopped and continued by kill": [
        ("sleep 1000 &", PROMPT), ("kill -STOP %1; till Stopped", PROMPT), ("kill -CONT %1; till Running", PROMPT),
        ("kill %1; wait %1; echo $?", PROMPT),
    ],
    "a handler of CHLD": [
        ("trap 'echo chld' CHLD", PROMPT), ("/bin/true", PROMPT), ("sh -c 'exit 3' & wait $!; echo $?", PROMPT),
    ],
    "statuses of a pipeline": [
        ("true | false | sh -c 'kill -TERM $$' | sh -c 'exit 4'; echo ${PIPESTATUS[@]}", PROMPT),
        ("sleep 1000 | ./up", "is-up"), ("^C", PROMPT), ("echo ${PIPESTATUS[@]}", PROMPT),
    ],
    "wait -n": [("sleep 1000 & sh -c 'exit 3' & wait -n; echo $?", PROMPT), ("gone %1; wait -n; echo $?", PROMPT)],
    "disown": [("sleep 1000 & sleep 1001 &", PROMPT), ("disown %1; list", PROMPT), ("kill %2; wait %2; echo $?", PROMPT)],
    "a co-process": [
        ("coproc cat", PROMPT), ("echo through >&${COPROC[1]}; read -u ${COPROC[0]} back; echo $back", PROMPT), ("gone %1", PROMPT),
    ],
    "suspend": [
        ("bash --norc --noprofile --noediting -i", PROMPT), ("suspend", PROMPT), ("list", PROMPT), ("fg", PROMPT),
        ("exit 3", PROMPT), ("echo $?", PROMPT),
    ],
    "read with a timeout": [("read -t 0.2 line; echo $?", PROMPT)],
    "process substitution": [("cat <(echo one) <(echo two); echo $?", PROMPT), ("sh -c 'cat; exit 3' < <(echo in); echo $?", PROMPT)],
    "job control in a script": [
        ("bash -c 'set -m; (exit 3) & fg; echo $?'", PROMPT),
    ],
    "a terminal inside the terminal": [("script -qec 'stty size; sh -c \"exit 3\"' /dev/null; echo $?", PROMPT)],
}
# When a shell says that a job has ended is its own affair; that it has, `wait` and `$?` say.
NOTICE = re.compile(r"^(READY |INNER )?(\^Z)?\[[0-9]+\][ +-].*\n", re.MULTILINE)


class Terminal:
    def __init__(self, words):
        self.pid, self.fd = os.forkpty()
        if self.pid == 0:
            # Python ignores SIGPIPE, and a child would inherit that.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.environ.update(PS1=PROMPT, PS2="> ", ENV="/dev/null", HISTFILE="/dev/null", TERM="dumb")
            os.environ.pop("PROMPT_COMMAND", None)
            os.execvp(words[0], words)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
        self.text = ""
        self.status = None

    def await_text(self, text):
        """All up to the text, which may have come with the last one's."""
        until = time.monotonic() + LIMIT
        while text is None or text not in self.text:
            if not select.select([self.fd], [], [], max(0, until - time.monotonic()))[0]:
                self.take(len(self.text))
                raise TimeoutError(f"never came: {text!r}")
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                data = b""
            if not data:
                self.take(len(self.text))
                if text is None:
                    return
                raise EOFError(f"ended before: {text!r}")
            self.text += data.decode(errors="replace")
        self.take(self.text.index(text) + len(text))

    def take(self, count):
        sys.stdout.write(self.text[:count])
        self.text = self.text[count:]

    def type(self, what):
        if re.fullmatch(r"\^.", what):
            os.write(self.fd, bytes([ord(what[1]) ^ 64]))
        else:
            os.write(self.fd, what.encode() + b"\n")

    def end(self):
        try:
            os.close(self.fd)
        except OSError:
            pass
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return "nothing, it had to be killed"


def run(words, steps):
    """A job that the case leaves goes with the run's pid namespace."""
    if os.path.exists("hung-up"):
        os.unlink("hung-up")
    terminal = Terminal(words)
    try:
        terminal.await_text(PROMPT)
        terminal.type(SETUP)
        terminal.await_text(PROMPT)
        for typed, awaited in steps:
            if typed == "RESIZE":
                fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
            elif typed == "HANGUP":
                os.close(terminal.fd)
                until = time.monotonic() + LIMIT
                while not os.path.exists("hung-up") and time.monotonic() < until:
                    time.sleep(0.02)
                print("\nhung up:", os.path.exists("hung-up"))
            else:
                terminal.type(typed)
                terminal.await_text(awaited)
    except (TimeoutError, EOFError) as error:
        print(f"\n{type(error).__name__}: {error}")
    status = terminal.end()
    print(f"\nended with {status}")


def normalised(text):
    """Without process ids, empty lines, and what comes when it likes."""
    text = re.sub(r"\b[0-9]{3,}\b", lambda found: found[0] if found[0] in KEPT else "N", text.replace("\r", ""))
    return re.sub(r"\n\n+", "\n", NOTICE.sub(r"\1\2", text))


def main():
    shell = sys.argv[1]
    os.mkfifo("fifo")
    for name, text in PROGRAMS.items():
        with open(name, "w") as file:
            file.write(text)
        os.chmod(name, 0o755)
    cases = CASES | (OF_BASH if shell == "bash" else {})
    for name, steps in cases.items():
        if len(sys.argv) > 2 and sys.argv[2] != name:
            continue
        # A child's output comes into the same text, in order.
        read, write = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.close(read)
            sys.stdout = os.fdopen(write, "w")
            run(SHELLS[shell], steps)
            sys.stdout.flush()
            os._exit(0)
        os.close(write)
        with os.fdopen(read, errors="replace") as text:
            said = normalised(text.read())
        os.waitpid(child, 0)
        print(f"== {name}\n{said.rstrip()}", flush=True)


main()
