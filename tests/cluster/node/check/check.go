// Package check tests the running node through its API, as an operator would see it.
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fsmasq.test/node/server"
)

// line is what is printed for one check; the caller makes a table of them.
type line struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Value   string  `json:"value"` // what was seen, or the error
	Seconds float64 `json:"seconds"`
}

// step is one check. It returns what it saw, for the table.
type step struct {
	name string
	run  func(context.Context, *cluster) (string, error)
}

var phases = map[string][]step{
	"first":     firstPhase,
	"kept":      keptPhase,
	"restarted": restartedPhase,
	"services":  servicesPhase,
}

// patience is the deadline of a step in phases that wait for what takes more than the usual minute.
var patience = map[string]time.Duration{"kept": 2 * time.Minute, "services": 3 * time.Minute}

// cluster is what the checks need to reach the node.
type cluster struct {
	*kubernetes.Clientset
	config *rest.Config
}

const (
	namespace   = "fsmasq-test"
	stepTimeout = time.Minute
	pollPause   = 500 * time.Millisecond
)

// Run runs the checks of a phase, each whatever the others' results, and fails if it could not run them at all.
func Run(phase string) error {
	steps, known := phases[phase]
	if !known {
		return fmt.Errorf("unknown phase %q; there are: first, kept, services, restarted", phase)
	}
	kubeconfig := server.AdminKubeconfig
	if given := os.Getenv("KUBECONFIG"); given != "" {
		kubeconfig = given
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("the checks need the node's admin rights: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	limit := stepTimeout
	if given, known := patience[phase]; known {
		limit = given
	}
	output := json.NewEncoder(os.Stdout)
	for _, s := range steps {
		if err := output.Encode(runStep(s, &cluster{client, config}, limit)); err != nil {
			return err
		}
	}
	return nil
}

func runStep(s step, c *cluster, limit time.Duration) line {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	started := time.Now()
	value, err := s.run(ctx, c)
	result := line{Name: s.name, OK: err == nil, Value: value, Seconds: time.Since(started).Seconds()}
	if err != nil {
		result.Value = err.Error()
		if value != "" {
			result.Value += " (seen: " + value + ")"
		}
	}
	return result
}

// await calls look until it is content, and says at the deadline what it was that did not come.
func await(ctx context.Context, what string, look func() (string, error)) (string, error) {
	began := time.Now()
	var value string
	var missing error
	for {
		seen, err := look()
		if err == nil {
			return seen, nil
		}
		if missing == nil || ctx.Err() == nil { // else the deadline is all that the error tells
			value, missing = seen, err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return value, fmt.Errorf("waited %v for %s: %w", time.Since(began).Round(time.Second), what, missing)
			}
			return value, ctx.Err()
		case <-time.After(pollPause):
		}
	}
}
