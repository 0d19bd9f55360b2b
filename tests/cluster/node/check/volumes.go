package check

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kept is written to the emptyDir before the restart, and read after it.
const kept = "/www/kept"

func emptyDir(ctx context.Context, c *cluster) (string, error) {
	text, err := inPod(ctx, c, "web", "sh", "-c", "echo written before the restart > "+kept+" && cat "+kept)
	if err != nil {
		return text, err
	}
	return expect(text, "written before the restart")
}

func configMapVolume(ctx context.Context, c *cluster) (string, error) {
	return fileInPod(ctx, c, "/config/greeting", "hello from a ConfigMap")
}

func secretVolume(ctx context.Context, c *cluster) (string, error) {
	return fileInPod(ctx, c, "/secret/password", "open sesame")
}

func fileInPod(ctx context.Context, c *cluster, path, wanted string) (string, error) {
	text, err := inPod(ctx, c, "web", "cat", path)
	if err != nil {
		return text, err
	}
	return expect(text, wanted)
}

// rootType: containerd's `native` snapshots are directories of its own file system, so a pod's root shows the type of
// the 9p mount below it, in the mount table and in statfs(2).
func rootType(ctx context.Context, c *cluster) (string, error) { return typeInPod(ctx, c, "/") }

func emptyDirType(ctx context.Context, c *cluster) (string, error) { return typeInPod(ctx, c, "/www") }

func typeInPod(ctx context.Context, c *cluster, path string) (string, error) {
	table, err := inPod(ctx, c, "web", "cat", "/proc/self/mounts")
	if err != nil {
		return table, err
	}
	var kind string
	for _, line := range strings.Split(table, "\n") {
		if fields := strings.Fields(line); len(fields) > 2 && fields[1] == path {
			kind = fields[2]
		}
	}
	magic, err := inPod(ctx, c, "web", "stat", "-f", "-c", "%t", path)
	if err != nil {
		return kind, err
	}
	seen := fmt.Sprintf("%s, statfs 0x%s", kind, magic)
	if kind != "ext4" || magic != "ef53" {
		return seen, fmt.Errorf("%s should be ext4, statfs 0xef53", path)
	}
	return seen, nil
}

func configMapKept(ctx context.Context, c *cluster) (string, error) {
	object, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, "greeting", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return expect(object.Data["greeting"], "hello from a ConfigMap")
}

func podsRunningAgain(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "a new container of the pod web", func() (string, error) {
		pod, err := runningPod(ctx, c, "web")
		if err != nil {
			return "", err
		}
		restarts := pod.Status.ContainerStatuses[0].RestartCount
		if restarts == 0 { // what etcd still says of the container before the restart
			return "", fmt.Errorf("its container has not been restarted yet")
		}
		return fmt.Sprintf("web %s, restarted %d time(s)", pod.Status.PodIP, restarts), nil
	})
}

func emptyDirKept(ctx context.Context, c *cluster) (string, error) {
	return fileInPod(ctx, c, kept, "written before the restart")
}

func deletedStaysDeleted(ctx context.Context, c *cluster) (string, error) {
	_, err := c.CoreV1().Pods(namespace).Get(ctx, "peer", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("the pod peer, deleted before the restart: %v", err)
	}
	return "peer is not there", nil
}
