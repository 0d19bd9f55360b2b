package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// oneTracer shows that the node is one tree below one prefix: its first process (PID 1, or NODE_PID) and all its descendants, pods included, have the
// same tracer. Only the tracer itself is left out, and what was started beside the node, as this process was.
func oneTracer(context.Context, *cluster) (string, error) {
	first := 1
	if given := os.Getenv("NODE_PID"); given != "" {
		pid, err := strconv.Atoi(given)
		if err != nil {
			return "", fmt.Errorf("NODE_PID: %w", err)
		}
		first = pid
	}
	tracer, err := number(first, "TracerPid:")
	if err != nil {
		return "", err
	}
	if tracer == 0 {
		return "", fmt.Errorf("process %d has no tracer", first)
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	count := 0
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			return "", err
		}
		if pid == tracer || !descendsFrom(first, pid) {
			continue
		}
		switch found, err := number(pid, "TracerPid:"); {
		case errors.Is(err, os.ErrNotExist): // it has ended meanwhile
		case err != nil:
			return "", err
		case found != tracer:
			name, _ := os.ReadFile(folder + "/comm") // only for the message
			return "", fmt.Errorf("process %d (%s) has the tracer %d, process %d has %d",
				pid, strings.TrimSpace(string(name)), found, first, tracer)
		default:
			count++
		}
	}
	return fmt.Sprintf("%d processes, all traced by process %d", count, tracer), nil
}

// descendsFrom is false for what was started beside the node, whose first ancestor has the parent 0, and for what
// has ended meanwhile.
func descendsFrom(ancestor, pid int) bool {
	for pid > 1 && pid != ancestor {
		parent, err := number(pid, "PPid:")
		if err != nil {
			return false
		}
		pid = parent
	}
	return pid == ancestor
}

// number reads one line of a process's status.
func number(pid int, name string) (int, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if value, found := strings.CutPrefix(line, name); found {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("%s has no line %s", path, name)
}
