package check

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed chart
var chart embed.FS

const (
	release          = "greeter"
	releaseNamespace = "fsmasq-charts"
	greetingLabel    = "fsmasq.test/greeting" // as the controller has it
)

// helm runs it on a copy of the chart that this program has in itself.
func helm(ctx context.Context, words ...string) (string, error) {
	folder, err := os.MkdirTemp("", "chart")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	if err := copyChart(folder); err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "helm", append(words, "--namespace", releaseNamespace)...)
	command.Dir = folder
	var complaint strings.Builder
	command.Stderr = &complaint
	said, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("helm %s: %w: %s", words[0], err, complaint.String())
	}
	return string(said), nil
}

func copyChart(folder string) error {
	return fs.WalkDir(chart, "chart", func(path string, entry fs.DirEntry, err error) error {
		target := filepath.Join(folder, path)
		if err != nil || entry.IsDir() {
			return errors.Join(err, os.MkdirAll(target, 0o755))
		}
		content, err := chart.ReadFile(path)
		return errors.Join(err, os.WriteFile(target, content, 0o644))
	})
}

func chartInstalled(ctx context.Context, _ *cluster) (string, error) {
	rendered, err := helm(ctx, "template", release, "./chart")
	if err != nil {
		return "", err
	}
	_, err = helm(ctx, "install", release, "./chart", "--create-namespace", "--wait", "--timeout", "2m")
	if err != nil {
		return "", err
	}
	listed, err := helm(ctx, "list", "--short")
	if err != nil {
		return "", err
	}
	objects := strings.Count(rendered, "\nkind: ")
	return fmt.Sprintf("%s: %d objects, pods ready", strings.TrimSpace(listed), objects), nil
}

func controllerMakes(ctx context.Context, _ *cluster) (string, error) {
	label := greetingLabel + "=hello"
	if _, err := kubectl(ctx, "", "label", "--overwrite", "namespace", releaseNamespace, label); err != nil {
		return "", err
	}
	return greeting(ctx, "hello")
}

func controllerMakesAnew(ctx context.Context, _ *cluster) (string, error) {
	_, err := kubectl(ctx, "", "--namespace", releaseNamespace, "delete", "configmap", "greeting")
	if err != nil {
		return "", err
	}
	label := greetingLabel + "=again"
	if _, err := kubectl(ctx, "", "label", "--overwrite", "namespace", releaseNamespace, label); err != nil {
		return "", err
	}
	return greeting(ctx, "again")
}

func greeting(ctx context.Context, wanted string) (string, error) {
	return await(ctx, "the ConfigMap", func() (string, error) {
		text, err := kubectl(ctx, "", "--namespace", releaseNamespace, "get", "configmap", "greeting",
			"--output", "jsonpath={.data.text}")
		if err != nil {
			return "", err
		}
		return expect(text, wanted)
	})
}

func chartUninstalled(ctx context.Context, _ *cluster) (string, error) {
	_, err := helm(ctx, "upgrade", release, "./chart", "--set", "replicas=2", "--wait", "--timeout", "2m")
	if err != nil {
		return "", err
	}
	pods, err := kubectl(ctx, "", "--namespace", releaseNamespace, "get", "deployment", release,
		"--output", "jsonpath={.status.readyReplicas}")
	if err != nil {
		return "", err
	}
	if _, err := helm(ctx, "uninstall", release, "--wait", "--timeout", "2m"); err != nil {
		return "", err
	}
	if _, err := kubectl(ctx, "", "delete", "namespace", releaseNamespace); err != nil {
		return "", err
	}
	if _, err := expect(pods, "2"); err != nil {
		return "", err
	}
	return "2 pods ready after the upgrade; gone", nil
}
