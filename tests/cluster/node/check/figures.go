package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"fsmasq.test/node/server"
)

// kubeletSays asks the kubelet through the apiserver's proxy.
func kubeletSays(ctx context.Context, c *cluster, path string) ([]byte, error) {
	answer, err := c.CoreV1().RESTClient().Get().
		AbsPath("/api/v1/nodes/" + server.NodeName + "/proxy/" + path).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %.200s", path, err, answer)
	}
	return answer, nil
}

func summary(ctx context.Context, c *cluster) (*statsv1alpha1.Summary, error) {
	answer, err := kubeletSays(ctx, c, "stats/summary")
	if err != nil {
		return nil, err
	}
	var s statsv1alpha1.Summary
	return &s, json.Unmarshal(answer, &s)
}

func summaryOfNode(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "the node's figures", func() (string, error) {
		s, err := summary(ctx, c)
		if err != nil {
			return "", err
		}
		if s.Node.CPU == nil || zero(s.Node.CPU.UsageCoreNanoSeconds) {
			return "", errors.New("no CPU figure")
		}
		if err := complete("the node's file system", s.Node.Fs); err != nil {
			return "", err
		}
		if s.Node.Runtime == nil {
			return "", errors.New("no figures of the container runtime")
		}
		if err := complete("the images' file system", s.Node.Runtime.ImageFs); err != nil {
			return "", err
		}
		if err := capacityOf("/var/lib/kubelet", s.Node.Fs); err != nil {
			return "", err
		}
		if err := capacityOf("/var/lib/containerd", s.Node.Runtime.ImageFs); err != nil {
			return "", err
		}
		return fmt.Sprintf("cpu %.1f s, fs %s of %s, images %s",
			float64(*s.Node.CPU.UsageCoreNanoSeconds)/1e9, size(*s.Node.Fs.UsedBytes), size(*s.Node.Fs.CapacityBytes),
			size(*s.Node.Runtime.ImageFs.UsedBytes)), nil
	})
}

// complete wants the four figures that eviction and scheduling work with.
func complete(what string, fs *statsv1alpha1.FsStats) error {
	if fs == nil {
		return fmt.Errorf("%s: no figures", what)
	}
	if zero(fs.UsedBytes) || zero(fs.CapacityBytes) || zero(fs.AvailableBytes) || zero(fs.Inodes) {
		return fmt.Errorf("%s: a figure is missing or zero", what)
	}
	return nil
}

// capacityOf wants the capacity that the kernel itself says of a directory's file system.
func capacityOf(directory string, fs *statsv1alpha1.FsStats) error {
	var said syscall.Statfs_t
	if err := syscall.Statfs(directory, &said); err != nil {
		return fmt.Errorf("statfs of %s: %w", directory, err)
	}
	if capacity := said.Blocks * uint64(said.Bsize); *fs.CapacityBytes != capacity {
		return fmt.Errorf("%s: a capacity of %d bytes, and the kernel says %d", directory, *fs.CapacityBytes, capacity)
	}
	return nil
}

func summaryOfContainers(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "the containers' figures", func() (string, error) {
		s, err := summary(ctx, c)
		if err != nil {
			return "", err
		}
		var text []string
		for _, pod := range s.Pods {
			for _, container := range pod.Containers {
				if container.CPU == nil || zero(container.CPU.UsageCoreNanoSeconds) {
					return "", fmt.Errorf("container %s: no CPU figure", container.Name)
				}
				if container.Rootfs == nil || zero(container.Rootfs.UsedBytes) || zero(container.Rootfs.CapacityBytes) {
					return "", fmt.Errorf("container %s: no figures of its root", container.Name)
				}
				if container.Memory == nil || zero(container.Memory.UsageBytes) {
					return "", fmt.Errorf("container %s: no figure of its memory", container.Name)
				}
				text = append(text, fmt.Sprintf("%s cpu %.2f s memory %s root %s", container.Name,
					float64(*container.CPU.UsageCoreNanoSeconds)/1e9, size(*container.Memory.UsageBytes), size(*container.Rootfs.UsedBytes)))
			}
		}
		if len(text) < 3 {
			return "", fmt.Errorf("only %d of 3 containers: %s", len(text), strings.Join(text, ", "))
		}
		return strings.Join(text, ", "), nil
	})
}

func cadvisorMetrics(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "cAdvisor's figures", func() (string, error) {
		answer, err := kubeletSays(ctx, c, "metrics/cadvisor")
		if err != nil {
			return "", err
		}
		text := string(answer)
		node := largest(text, "container_cpu_usage_seconds_total", `id="/"`)
		web := largest(text, "container_cpu_usage_seconds_total", `container="web"`)
		used := largest(text, "container_fs_usage_bytes", device())
		limit := largest(text, "container_fs_limit_bytes", device())
		if node == 0 || web == 0 || used == 0 || limit == 0 {
			return "", fmt.Errorf("zero or missing among: cpu of / %g, of web %g, file system of a device used %g, limit %g",
				node, web, used, limit)
		}
		return fmt.Sprintf("%d series; cpu of / %.1f s, web %.2f s; fs %s of %s", series(text), node, web,
			size(uint64(used)), size(uint64(limit))), nil
	})
}

// device is how the label of the kubelet's file system begins: as of a mount's source. gVisor gives none of its own, and
// the profile makes one.
func device() string {
	if name := os.Getenv("NODE_DEVICE"); name != "" {
		return `device="` + name + `"`
	}
	return `device="/dev/`
}

// largest is the greatest value of a metric among the series that have a label; 0 without any.
func largest(text, metric, label string) float64 {
	var greatest float64
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, metric+"{") || !strings.Contains(line, label) {
			continue
		}
		_, rest, found := strings.Cut(line, "} ")
		fields := strings.Fields(rest)
		if !found || len(fields) == 0 {
			continue
		}
		if value, err := strconv.ParseFloat(fields[0], 64); err == nil {
			greatest = max(greatest, value)
		}
	}
	return greatest
}

func series(text string) int {
	count := 0
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "container_") {
			count++
		}
	}
	return count
}

func zero(value *uint64) bool { return value == nil || *value == 0 }

func size(count uint64) string {
	switch {
	case count >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(count)/(1<<30))
	case count >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(count)/(1<<20))
	default:
		return fmt.Sprintf("%.1f KiB", float64(count)/(1<<10))
	}
}
