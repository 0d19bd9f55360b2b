package check

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// crashStatus looks at a container that fails each time.
func crashStatus(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "a restart of the pod crash", func() (string, error) {
		pod, err := c.CoreV1().Pods(namespace).Get(ctx, "crash", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if len(pod.Status.ContainerStatuses) == 0 {
			return "", fmt.Errorf("no status of its container; %s", lastEvent(ctx, c, "crash"))
		}
		status := pod.Status.ContainerStatuses[0]
		last := status.LastTerminationState.Terminated
		if status.RestartCount == 0 || last == nil {
			return "", errors.New("its container has not been restarted")
		}
		seen := fmt.Sprintf("restarted %d time(s), before that %s with %d: %q", status.RestartCount, last.Reason,
			last.ExitCode, last.Message)
		if last.Reason != "Error" || last.ExitCode != 7 || last.Message != "out of luck\n" {
			return seen, errors.New("it ended with 7 and said something else")
		}
		if last.StartedAt.IsZero() || last.FinishedAt.IsZero() {
			return seen, errors.New("the times of its start and end are missing")
		}
		return seen, nil
	})
}

// runningStatus looks at a container that runs: what it was given, by the runtime's word, and the pod's conditions.
func runningStatus(ctx context.Context, c *cluster) (string, error) {
	pod, err := runningPod(ctx, c, "writer")
	if err != nil {
		return "", err
	}
	status := pod.Status.ContainerStatuses[0]
	if status.Resources == nil || status.State.Running == nil || status.ImageID == "" || status.ContainerID == "" {
		return "", errors.New("resources, state, image or container are missing in the container's status")
	}
	seen := fmt.Sprintf("allocated %s and %s, limits %s and %s", status.AllocatedResources.Cpu(),
		status.AllocatedResources.Memory(), status.Resources.Limits.Cpu(), status.Resources.Limits.Memory())
	if seen != "allocated 50m and 16Mi, limits 500m and 64Mi" {
		return seen, errors.New("not what the pod asks for")
	}
	return await(ctx, "the conditions of the pod writer", func() (string, error) {
		pod, err := c.CoreV1().Pods(namespace).Get(ctx, "writer", metav1.GetOptions{})
		if err != nil {
			return seen, err
		}
		met := map[corev1.PodConditionType]bool{}
		for _, condition := range pod.Status.Conditions {
			met[condition.Type] = condition.Status == corev1.ConditionTrue
		}
		for _, wanted := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReadyToStartContainers,
			corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
			if !met[wanted] {
				return seen, fmt.Errorf("the condition %s is not met", wanted)
			}
		}
		return fmt.Sprintf("%s; %d conditions met", seen, len(met)), nil
	})
}
