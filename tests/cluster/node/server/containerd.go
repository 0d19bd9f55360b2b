package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// containerd is the child process; it is started again when it dies, as k3s does, and ended with the node.
type containerd struct {
	mutex   sync.Mutex
	process *exec.Cmd
	stopped bool
	ended   chan struct{} // closed when the supervisor has returned
	gaveUp  chan error    // one error, when it died too often
}

const (
	restartPause = time.Second
	restartLimit = 5
)

func startContainerd() (*containerd, error) {
	c := &containerd{ended: make(chan struct{}), gaveUp: make(chan error, 1)}
	if err := c.start(); err != nil {
		return nil, err
	}
	go c.supervise()
	return c, nil
}

func (c *containerd) start() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.stopped {
		return nil
	}
	log, err := os.OpenFile(containerdLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening containerd's log: %w", err)
	}
	defer log.Close() // the child has its own copy
	c.process = exec.Command("containerd", "--config", containerdConfig)
	c.process.Stdout, c.process.Stderr = log, log
	// A group of its own: a Ctrl-C in the terminal stops the node first, which then stops containerd.
	c.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.process.Start(); err != nil {
		return fmt.Errorf("starting containerd: %w", err)
	}
	return nil
}

func (c *containerd) supervise() {
	defer close(c.ended)
	for restarts := 0; ; restarts++ {
		err := c.process.Wait()
		c.mutex.Lock()
		stopped := c.stopped
		c.mutex.Unlock()
		if stopped {
			return
		}
		fmt.Fprintf(os.Stderr, "node: containerd ended (%v), see %s\n", err, containerdLog)
		if restarts == restartLimit {
			c.gaveUp <- fmt.Errorf("containerd ended %d times, last: %v; see %s", restarts+1, err, containerdLog)
			return
		}
		time.Sleep(restartPause)
		if err := c.start(); err != nil {
			c.gaveUp <- err
			return
		}
	}
}

// ready waits until containerd listens, then imports the images that lie ready.
func (c *containerd) ready(ctx context.Context) error {
	deadline := time.Now().Add(time.Minute)
	for {
		connection, err := net.Dial("unix", containerdSocket)
		if err == nil {
			connection.Close()
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd does not listen after a minute: %w; see %s", err, containerdLog)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-c.gaveUp:
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
	archives, err := filepath.Glob(imagesDir + "/*.tar")
	if err != nil {
		return err
	}
	for _, archive := range archives {
		// --local: ctr reads the archive itself, and needs no transfer service.
		output, err := exec.CommandContext(ctx, "ctr", "--address", containerdSocket, "--namespace", "k8s.io",
			"images", "import", "--local", "--snapshotter", snapshotter, archive).CombinedOutput()
		if err != nil {
			return fmt.Errorf("importing the image archive %s: %w: %s", archive, err, output)
		}
	}
	return nil
}

// stop ends containerd; the shims, and so the pods, go on, as they do when k3s is stopped.
func (c *containerd) stop() {
	c.mutex.Lock()
	c.stopped = true
	err := c.process.Process.Signal(syscall.SIGTERM)
	c.mutex.Unlock()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		fmt.Fprintf(os.Stderr, "node: stopping containerd: %v\n", err)
	}
	select {
	case <-c.ended:
		fmt.Println("node: containerd stopped")
	case <-time.After(stopPatience):
		fmt.Fprintf(os.Stderr, "node: containerd still ran %v after SIGTERM, killing it\n", stopPatience)
		_ = c.process.Process.Kill()
	}
}
