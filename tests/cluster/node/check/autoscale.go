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

// scaled waits until the autoscaler has said that it wants so many pods because of their CPU, and the deployment has them.
func scaled(ctx context.Context, c *cluster, replicas int32) (string, error) {
	figure := "not known any more" // by the time that the pods are there
	return await(ctx, fmt.Sprintf("%d replica(s)", replicas), func() (string, error) {
		scaler, err := c.AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(ctx, "burn", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for _, metric := range scaler.Status.CurrentMetrics {
			if metric.Resource != nil && metric.Resource.Current.AverageUtilization != nil {
				figure = fmt.Sprintf("%d %%", *metric.Resource.Current.AverageUtilization)
			}
		}
		seen := fmt.Sprintf("CPU of what was asked for %s, 50 %% wanted", figure)
		reason, err := rescaled(ctx, c, fmt.Sprintf("New size: %d; reason: ", replicas))
		if err != nil {
			return seen, err
		}
		if reason == "" {
			return seen, errors.New("not yet decided; " + conditions(scaler.Status.Conditions))
		}
		deployment, err := c.AppsV1().Deployments(namespace).Get(ctx, "burn", metav1.GetOptions{})
		if err != nil {
			return seen, err
		}
		if deployment.Status.Replicas != replicas || deployment.Status.ReadyReplicas != replicas {
			return seen, fmt.Errorf("the deployment has %d pods, %d of them ready", deployment.Status.Replicas,
				deployment.Status.ReadyReplicas)
		}
		return seen + ": " + reason, nil
	})
}

// rescaled is the autoscaler's own word for what it has done, if that begins so.
func rescaled(ctx context.Context, c *cluster, beginning string) (string, error) {
	events, err := c.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=burn,reason=SuccessfulRescale"})
	if err != nil {
		return "", err
	}
	for _, event := range events.Items {
		if strings.HasPrefix(event.Message, beginning) {
			return event.Message, nil
		}
	}
	return "", nil
}

func conditions(all []autoscalingv2.HorizontalPodAutoscalerCondition) string {
	var text []string
	for _, condition := range all {
		text = append(text, fmt.Sprintf("%s %s: %s", condition.Type, condition.Status, condition.Message))
	}
	return strings.Join(text, "; ")
}
