package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"fsmasq.test/node/server"
)

func nodeReady(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "the node to be Ready", func() (string, error) {
		node, err := c.CoreV1().Nodes().Get(ctx, server.NodeName, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type != corev1.NodeReady {
				continue
			}
			if condition.Status != corev1.ConditionTrue {
				return "", fmt.Errorf("%s: %s", condition.Reason, condition.Message)
			}
			info := node.Status.NodeInfo
			return fmt.Sprintf("kubelet %s, %s", info.KubeletVersion, info.ContainerRuntimeVersion), nil
		}
		return "", errors.New("the kubelet has reported no condition yet")
	})
}

// runningPod waits until the pod runs and is ready.
func runningPod(ctx context.Context, c *cluster, name string) (*corev1.Pod, error) {
	var found *corev1.Pod
	_, err := await(ctx, "the pod "+name+" to run", func() (string, error) {
		pod, err := c.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if status.State.Waiting != nil && status.State.Waiting.Message != "" {
				return "", fmt.Errorf("%s: %s", status.State.Waiting.Reason, status.State.Waiting.Message)
			}
			if !status.Ready {
				return "", fmt.Errorf("container %s is not ready", status.Name)
			}
		}
		if pod.Status.Phase != corev1.PodRunning {
			return "", fmt.Errorf("it is %s; %s", pod.Status.Phase, lastEvent(ctx, c, name))
		}
		if pod.Status.PodIP == "" {
			return "", errors.New("it has no address")
		}
		found = pod
		return "", nil
	})
	return found, err
}

// lastEvent says why a pod does not come up.
func lastEvent(ctx context.Context, c *cluster, pod string) string {
	events, err := c.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	if err != nil || len(events.Items) == 0 {
		return "no event says why"
	}
	last := events.Items[len(events.Items)-1]
	return fmt.Sprintf("%s: %s", last.Reason, last.Message)
}

func podsRunning(ctx context.Context, c *cluster) (string, error) {
	seen := map[string]string{}
	var text []string
	for _, name := range []string{"web", "peer"} {
		pod, err := runningPod(ctx, c, name)
		if err != nil {
			return strings.Join(text, ", "), err
		}
		address := pod.Status.PodIP
		if address == pod.Status.HostIP {
			return "", fmt.Errorf("the pod %s has the node's address %s", name, address)
		}
		if other, taken := seen[address]; taken {
			return "", fmt.Errorf("the pods %s and %s share the address %s", name, other, address)
		}
		seen[address] = name
		text = append(text, name+" "+address)
	}
	return strings.Join(text, ", "), nil
}

func hostNetwork(ctx context.Context, c *cluster) (string, error) {
	pod, err := runningPod(ctx, c, "on-host")
	if err != nil {
		return "", err
	}
	if pod.Status.PodIP != pod.Status.HostIP {
		return "", fmt.Errorf("its address %s is not the node's %s", pod.Status.PodIP, pod.Status.HostIP)
	}
	return "on-host " + pod.Status.PodIP, nil
}

func logs(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "the log of the pod web", func() (string, error) {
		text, err := c.CoreV1().Pods(namespace).GetLogs("web", &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			return "", err
		}
		return expect(string(text), "web started")
	})
}

func execute(ctx context.Context, c *cluster) (string, error) {
	output, err := inPod(ctx, c, "web", "sh", "-c", "echo pid $$ on $(hostname); exit 0")
	if err != nil {
		return output, err
	}
	// An exit status has to come through as well.
	_, err = inPod(ctx, c, "web", "sh", "-c", "exit 7")
	if err == nil || !strings.Contains(err.Error(), "exit code 7") {
		return output, fmt.Errorf("a command that exits with 7 gave: %v", err)
	}
	return output + ", exit status 7 seen", nil
}

// inPod runs a command in a pod's container, and returns its standard output without blanks around it.
func inPod(ctx context.Context, c *cluster, pod string, command ...string) (string, error) {
	request := c.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, request.URL().String())
	if err != nil {
		return "", err
	}
	var output, errorOutput bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &output, Stderr: &errorOutput})
	if err != nil {
		err = fmt.Errorf("%q in the pod %s: %w: %s", command, pod, err, strings.TrimSpace(errorOutput.String()))
	}
	return strings.TrimSpace(output.String()), err
}

func podToPod(ctx context.Context, c *cluster) (string, error) {
	web, err := runningPod(ctx, c, "web")
	if err != nil {
		return "", err
	}
	return await(ctx, "an answer from web to peer", func() (string, error) {
		page, err := inPod(ctx, c, "peer", "timeout", "10", "wget", "-q", "-O", "-", "http://"+web.Status.PodIP+":8080/")
		if err != nil {
			return page, err
		}
		return expect(page, "hello from a ConfigMap")
	})
}

// nodeToPod is meaningful because the checks run in the node's network.
func nodeToPod(ctx context.Context, c *cluster) (string, error) {
	web, err := runningPod(ctx, c, "web")
	if err != nil {
		return "", err
	}
	address, err := netip.ParseAddr(web.Status.PodIP)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(address, 8080).String()+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return "", err
	}
	return expect(string(page), "hello from a ConfigMap")
}

func deletePod(ctx context.Context, c *cluster) (string, error) {
	pod, err := c.CoreV1().Pods(namespace).Get(ctx, "peer", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	directory := "/var/lib/kubelet/pods/" + string(pod.UID)
	if _, err := os.Stat(directory); err != nil {
		return "", fmt.Errorf("the pod's directory before its deletion: %w", err)
	}
	if err := c.CoreV1().Pods(namespace).Delete(ctx, "peer", metav1.DeleteOptions{}); err != nil {
		return "", err
	}
	return await(ctx, "the pod peer to be gone", func() (string, error) {
		_, err := c.CoreV1().Pods(namespace).Get(ctx, "peer", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("the API still has it (%v)", err)
		}
		if _, err := os.Stat(directory); !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("its directory is still there: %s", directory)
		}
		return "peer and its directory are gone", nil
	})
}

// expect returns the text, shortened for a table, if it holds what is wanted.
func expect(text, wanted string) (string, error) {
	text = strings.TrimSpace(text)
	if len(text) > 80 {
		text = text[:80] + "…"
	}
	if !strings.Contains(text, wanted) {
		return text, fmt.Errorf("%q is missing", wanted)
	}
	return text, nil
}
