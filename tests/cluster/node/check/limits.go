package check

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fsmasq.test/node/image"
)

// limited is the namespace with a ResourceQuota (requests of 500m and 64 MiB) and a LimitRange (24 MiB requested and
// 32 MiB allowed where a container says nothing, 128 MiB at most); see objects.yaml.
const limited = "fsmasq-limited"

// limitRange leaves a pod behind, which resourceQuota finds counted.
func limitRange(ctx context.Context, c *cluster) (string, error) {
	var filled corev1.ResourceRequirements
	_, err := await(ctx, "a pod in the limited namespace", func() (string, error) {
		pod, err := c.CoreV1().Pods(limited).Create(ctx, unscheduled("silent", ""), metav1.CreateOptions{})
		if err == nil {
			filled = pod.Spec.Containers[0].Resources
		}
		return "", err
	})
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("requests %s and %s, limits %s and %s filled in", filled.Requests.Cpu(), filled.Requests.Memory(),
		filled.Limits.Cpu(), filled.Limits.Memory())
	if seen != "requests 100m and 24Mi, limits 200m and 32Mi filled in" {
		return seen, fmt.Errorf("not what the LimitRange says")
	}
	refusal, err := refused(ctx, c, unscheduled("greedy", "129Mi"), "maximum memory usage per Container is 128Mi")
	return seen + "; " + refusal, err
}

func resourceQuota(ctx context.Context, c *cluster) (string, error) {
	used, err := await(ctx, "the quota to count the pod", func() (string, error) {
		quota, err := c.CoreV1().ResourceQuotas(limited).Get(ctx, "quota", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		memory, cpu := quota.Status.Used[corev1.ResourceRequestsMemory], quota.Status.Used[corev1.ResourceRequestsCPU]
		if memory.String() != "24Mi" || cpu.String() != "100m" {
			return "", fmt.Errorf("it counts %s and %s", cpu.String(), memory.String())
		}
		return fmt.Sprintf("%s and %s used", cpu.String(), memory.String()), nil
	})
	if err != nil {
		return used, err
	}
	refusal, err := refused(ctx, c, unscheduled("over", "48Mi"), "exceeded quota: quota, requested: requests.memory=48Mi, used: requests.memory=24Mi")
	return used + "; " + refusal, err
}

// refused wants the API to refuse a pod with these words.
func refused(ctx context.Context, c *cluster, pod *corev1.Pod, words string) (string, error) {
	_, err := c.CoreV1().Pods(limited).Create(ctx, pod, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), words) {
		return "", fmt.Errorf("the pod %s should be refused with %q, but: %v", pod.Name, words, err)
	}
	return fmt.Sprintf("%s refused: %s", pod.Name, words), nil
}

// unscheduled is a pod that no node will have: it is admitted, or not, and that is all. No memory means that it asks for none.
func unscheduled(name, memory string) *corev1.Pod {
	container := corev1.Container{Name: name, Image: image.Name}
	if memory != "" {
		asked := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
		container.Resources = corev1.ResourceRequirements{Requests: asked, Limits: asked}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"fsmasq.test/node": "none"},
			Containers:   []corev1.Container{container},
		},
	}
}
