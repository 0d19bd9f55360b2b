package server

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// AdminClient talks to the node's own apiserver with all rights.
func AdminClient() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", AdminKubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// waitForAPI waits until the apiserver says that it is ready.
func waitForAPI(ctx context.Context, api *component) error {
	client, err := AdminClient()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		answer, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(5 * time.Second).DoRaw(ctx)
		if err == nil && string(answer) == "ok" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kube-apiserver is not ready after 2 minutes: %v: %s", err, answer)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-api.done:
			return fmt.Errorf("kube-apiserver ended while it started: %v", api.err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// announceReady prints one line when the kubelet has reported this node as Ready since the start; the test waits for it.
func announceReady(ctx context.Context, started time.Time) {
	client, err := AdminClient()
	if err != nil {
		fmt.Printf("node: no client: %v\n", err)
		return
	}
	for ctx.Err() == nil {
		node, err := client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
		if err == nil && readySince(node, started) {
			fmt.Printf("node: Ready after %.1f s\n", time.Since(started).Seconds())
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// readySince ignores what the last run of the node has left in etcd.
func readySince(node *corev1.Node, started time.Time) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			// Times in the API have whole seconds.
			fresh := !condition.LastHeartbeatTime.Time.Before(started.Truncate(time.Second))
			return condition.Status == corev1.ConditionTrue && fresh
		}
	}
	return false
}
