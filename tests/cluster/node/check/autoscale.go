package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// loadFile in a pod of the deployment burn keeps it busy (kept.yaml).
const loadFile = "/tmp/load"

// burning is the deployment's pods, the oldest first.
func burning(ctx context.Context, c *cluster) ([]corev1.Pod, error) {
	pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=burn"})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) == 0 {
		return nil, errors.New("the deployment burn has no pods")
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return pods.Items, nil
}

func loadBegun(ctx context.Context, c *cluster) (string, error) {
	pods, err := burning(ctx, c)
	if err != nil {
		return "", err
	}
	if _, err := runningPod(ctx, c, pods[0].Name); err != nil {
		return "", err
	}
	_, err = inPod(ctx, c, pods[0].Name, "touch", loadFile)
	return pods[0].Name, err
}

func scaledUp(ctx context.Context, c *cluster) (string, error) { return scaled(ctx, c, 2) }

// scaledDown ends the load first.
func scaledDown(ctx context.Context, c *cluster) (string, error) {
	pods, err := burning(ctx, c)
	if err != nil {
		return "", err
	}
	if _, err := inPod(ctx, c, pods[0].Name, "rm", loadFile); err != nil {
		return "", err
	}
	return scaled(ctx, c, 1)
}

// scaled waits until the autoscaler wants so many pods because of their CPU, and the deployment has them.
func scaled(ctx context.Context, c *cluster, replicas int32) (string, error) {
	return await(ctx, fmt.Sprintf("%d replica(s)", replicas), func() (string, error) {
		scaler, err := c.AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(ctx, "burn", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if len(scaler.Status.CurrentMetrics) == 0 || scaler.Status.CurrentMetrics[0].Resource == nil ||
			scaler.Status.CurrentMetrics[0].Resource.Current.AverageUtilization == nil {
			return "", errors.New("the autoscaler knows no figure: " + conditions(scaler.Status.Conditions))
		}
		deployment, err := c.AppsV1().Deployments(namespace).Get(ctx, "burn", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		seen := fmt.Sprintf("at %d %% of what was asked for, 50 %% wanted: %d replica(s)",
			*scaler.Status.CurrentMetrics[0].Resource.Current.AverageUtilization, deployment.Status.ReadyReplicas)
		if scaler.Status.DesiredReplicas != replicas || deployment.Status.ReadyReplicas != replicas {
			return seen, fmt.Errorf("%d wanted by the autoscaler, %d ready", scaler.Status.DesiredReplicas,
				deployment.Status.ReadyReplicas)
		}
		return seen, nil
	})
}

func conditions(all []autoscalingv2.HorizontalPodAutoscalerCondition) string {
	var text []string
	for _, condition := range all {
		text = append(text, fmt.Sprintf("%s %s: %s", condition.Type, condition.Status, condition.Message))
	}
	return strings.Join(text, "; ")
}
