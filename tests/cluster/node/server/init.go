package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// runAsInit is what PID 1 of the sandbox does: it runs the node as its child, hands signals on, and reaps every
// orphan (containerd's shims among them), which a process that waits for children of its own can't do for all.
func runAsInit() error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)

	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(self, os.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return fmt.Errorf("starting the node as a child of PID 1: %w", err)
	}
	go func() {
		for s := range signals {
			_ = child.Process.Signal(s) // it may have ended meanwhile; the loop below sees that
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("waiting for children: %w", err)
		case pid != child.Process.Pid:
			continue
		case status.Signaled():
			os.Exit(128 + int(status.Signal()))
		default:
			os.Exit(status.ExitStatus())
		}
	}
}
