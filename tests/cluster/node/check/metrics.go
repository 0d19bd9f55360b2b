package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fsmasq.test/node/server"
)

// metricsAPI wants the API that the metrics server adds to be there: it is, once that has seen figures twice.
func metricsAPI(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "the metrics server", func() (string, error) {
		answer, err := c.RESTClient().Get().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io").DoRaw(ctx)
		if err != nil {
			return "", err
		}
		var service struct {
			Status struct{ Conditions []metav1.Condition }
		}
		if err := json.Unmarshal(answer, &service); err != nil {
			return "", err
		}
		for _, condition := range service.Status.Conditions {
			if condition.Type != "Available" {
				continue
			}
			if condition.Status != metav1.ConditionTrue {
				return "", fmt.Errorf("%s: %s", condition.Reason, condition.Message)
			}
			return "v1beta1.metrics.k8s.io: " + condition.Message, nil
		}
		return "", errors.New("the API server says nothing of it")
	})
}

func topNode(ctx context.Context, _ *cluster) (string, error) {
	return await(ctx, "the node's figures", func() (string, error) {
		return top(ctx, 0, "node", server.NodeName)
	})
}

// topPods wants to see the load of the pod that has it, and figures of one that has none.
func topPods(ctx context.Context, c *cluster) (string, error) {
	pods, err := burning(ctx, c)
	if err != nil {
		return "", err
	}
	return await(ctx, "figures of pods", func() (string, error) {
		busy, err := top(ctx, 100, "pod", pods[0].Name, "--namespace", namespace)
		if err != nil {
			return busy, err
		}
		idle, err := top(ctx, 0, "pod", "web", "--namespace", namespace)
		return "with load " + busy + ", " + idle, err
	})
}

// top wants more than this of CPU in kubectl's table of one thing, and some memory.
func top(ctx context.Context, thousandths int64, arguments ...string) (string, error) {
	table, err := kubectl(ctx, "", append(append([]string{"top"}, arguments...), "--no-headers")...)
	if err != nil {
		return "", err
	}
	fields := strings.Fields(table)
	if len(fields) < 3 {
		return table, errors.New("not a name and two figures")
	}
	cpu, memory := fields[1], fields[2]
	if arguments[0] == "node" && len(fields) > 3 { // NAME CPU CPU% MEMORY MEMORY%
		memory = fields[3]
	}
	seen := fmt.Sprintf("%s %s %s", fields[0], cpu, memory)
	used, err := resource.ParseQuantity(cpu)
	if err != nil {
		return seen, err
	}
	bytes, err := resource.ParseQuantity(memory)
	if err != nil {
		return seen, err
	}
	if used.MilliValue() <= thousandths || bytes.Value() <= 0 {
		return seen, fmt.Errorf("more than %dm of CPU and 0 of memory are wanted", thousandths)
	}
	return seen, nil
}
