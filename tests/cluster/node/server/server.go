// Package server runs the node: etcd, the control plane and the kubelet in this process, containerd below it.
package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
)

const (
	stopPatience  = 20 * time.Second // how long one part may take to end after it was asked to
	watchPatience = 2 * time.Second
)

// Run runs the node until SIGTERM or SIGINT, or until one part of it fails.
func Run() error {
	if os.Getpid() == 1 {
		return runAsInit()
	}
	started := time.Now()
	signals, ignoreSignals := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer ignoreSignals()

	// While the node stops, what still runs without an apiserver may want to end the process; Run does that itself.
	var stopping atomic.Bool
	klog.OsExit = func(code int) {
		if stopping.Load() {
			select {}
		}
		os.Exit(code)
	}
	// All components apply the same logging options to the one process that they share.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged

	if err := prepareFiles(); err != nil {
		return err
	}
	// Each level is stopped before the one that it needs: kubelet and controllers, then the apiserver, then etcd.
	apiContext, stopAPI := context.WithCancel(context.Background())
	defer stopAPI()
	agentContext, stopAgents := context.WithCancel(apiContext)
	defer stopAgents()

	components, err := configureComponents(agentContext)
	if err != nil {
		return err
	}
	if err := prepareNetwork(); err != nil {
		return err
	}

	containerd, err := startContainerd()
	if err != nil {
		return err
	}
	defer containerd.stop()
	etcd, err := startEtcd(signals)
	if err != nil {
		return err
	}
	defer etcd.Close()

	api := launch("kube-apiserver", func() error { return components.runAPIServer(apiContext) })
	if err := waitForAPI(signals, api); err != nil {
		return err
	}
	if err := containerd.ready(signals); err != nil {
		return err
	}
	// Never cancelled: the controller manager panics if that happens while it starts its controllers.
	manager := launch("kube-controller-manager", func() error {
		return components.runControllerManager(context.Background())
	})
	agents := []*component{
		launch("kube-scheduler", func() error { return components.runScheduler(agentContext) }),
		launch("kubelet", func() error { return components.runKubelet(agentContext) }),
	}
	go announceReady(agentContext, started)

	if err := waitForEnd(signals, append(agents, manager, api), containerd); err != nil {
		// As k3s does it: without one of its parts the process has nothing to put in order.
		fmt.Fprintf(os.Stderr, "node: %v\n", err)
		os.Exit(1)
	}
	stopping.Store(true)
	stopAgents() // the kubelet has heard the signal itself
	var failure error
	for _, agent := range agents {
		failure = errors.Join(failure, agent.waitStopped(stopPatience))
	}
	stopAPI()
	// It refuses new requests at once, then waits for open watches, and the kubelet's own never end in this process.
	// What it has answered is in etcd already, so going on is safe.
	if err := api.waitStopped(watchPatience); err != nil {
		fmt.Printf("node: %v\n", err)
	}
	return failure
}

// component is a part of the node that runs in a goroutine of its own.
type component struct {
	name string
	done chan struct{}
	err  error // valid when done is closed
}

func launch(name string, run func() error) *component {
	c := &component{name: name, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = run()
	}()
	return c
}

// waitStopped waits for a component that was asked to end. What it returns then is only printed: the scheduler, for
// one, calls its end an error even so.
func (c *component) waitStopped(patience time.Duration) error {
	select {
	case <-c.done:
		fmt.Printf("node: %s stopped (%v)\n", c.name, c.err)
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s still ran %v after it was asked to stop", c.name, patience)
	}
}

// waitForEnd returns nil when the node was asked to stop, and an error when a part of it ended by itself.
func waitForEnd(signals context.Context, components []*component, containerd *containerd) error {
	ended := make(chan error, len(components)+1)
	for _, c := range components {
		go func() {
			<-c.done
			ended <- fmt.Errorf("%s ended by itself: %v", c.name, c.err)
		}()
	}
	go func() { ended <- <-containerd.gaveUp }()
	select {
	case <-signals.Done():
		fmt.Println("node: asked to stop")
		return nil
	case err := <-ended:
		select {
		case <-signals.Done(): // the kubelet hears the same signal, and may be faster
			fmt.Println("node: asked to stop")
			return nil
		case <-time.After(time.Second):
			return err
		}
	}
}
