package check

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

//go:embed kept.yaml
var keptObjects string

// createKept makes all that the phase `kept` looks at, at once: most of it takes its time.
func createKept(ctx context.Context, _ *cluster) (string, error) {
	return each(kubectl(ctx, keptObjects, "create", "-f", "-"))
}

// deleteKept waits until all is gone, so that what comes after is as without this phase.
func deleteKept(ctx context.Context, _ *cluster) (string, error) {
	return each(kubectl(ctx, keptObjects, "delete", "--ignore-not-found", "-f", "-"))
}

func each(output string, err error) (string, error) {
	return fmt.Sprintf("%d objects", len(strings.Split(output, "\n"))), err
}

// kubectl runs this program as kubectl and returns its standard output, without blanks around it.
func kubectl(ctx context.Context, input string, arguments ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, self, append([]string{"kubectl"}, arguments...)...)
	var complaint strings.Builder
	command.Stdin, command.Stderr = strings.NewReader(input), &complaint
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSpace(string(output)), nil
}
