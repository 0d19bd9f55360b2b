package check

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

//go:embed services.yaml
var serviceObjects string

// As services.yaml has them.
const (
	servicesNamespace = "fsmasq-services"
	pageAddress       = "10.43.0.80"
	pageName          = "page." + servicesNamespace + ".svc.cluster.local"
	pageText          = "a page of a Service"
)

// servicesPhase is run where there is time for it: Services without kube-proxy, by examples/service-proxy, and their
// names, by CoreDNS; a chart of helm's, with a controller that reaches the API by its Service. All is made by the first step and gone after the last.
var servicesPhase = []step{
	{"objects of services.yaml created", createServices},
	{"Service's address from the node", serviceFromNode},
	{"Service's address from a pod", serviceFromPod},
	{"NodePort from a pod", nodePortFromPod},
	{"Service by its name from a pod (UDP)", serviceByName},
	{"name over TCP", nameOverTCP},
	{"API by its Service's name from a pod", apiByName},
	{"chart installed by helm", chartInstalled},
	{"controller makes what is wanted", controllerMakes},
	{"controller makes anew what was deleted", controllerMakesAnew},
	{"chart upgraded, and uninstalled", chartUninstalled},
	{"deleted Service loses its address", serviceDeleted},
	{"objects of services.yaml deleted", deleteServices},
}

func createServices(ctx context.Context, _ *cluster) (string, error) {
	// Pods are refused until the controller manager has made the namespace's default service account.
	return await(ctx, "the creation", func() (string, error) {
		return each(kubectl(ctx, serviceObjects, "apply", "-f", "-"))
	})
}

func deleteServices(ctx context.Context, _ *cluster) (string, error) {
	return each(kubectl(ctx, serviceObjects, "delete", "--ignore-not-found", "-f", "-"))
}

// inClient runs a command in the pod that asks. Its tools wait for long by themselves.
func inClient(ctx context.Context, command ...string) (string, error) {
	words := []string{"--namespace", servicesNamespace, "exec", "client", "--", "timeout", "10"}
	return kubectl(ctx, "", append(words, command...)...)
}

// page wants the Service's page, as one of these commands gets it.
func page(ctx context.Context, get func() (string, error)) (string, error) {
	return await(ctx, "the page", func() (string, error) {
		text, err := get()
		if err != nil {
			return text, err
		}
		return expect(text, pageText)
	})
}

// serviceFromNode is meaningful because the checks run in the node's network.
func serviceFromNode(ctx context.Context, _ *cluster) (string, error) {
	return page(ctx, func() (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pageAddress+"/", nil)
		if err != nil {
			return "", err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		return string(text), err
	})
}

func serviceFromPod(ctx context.Context, _ *cluster) (string, error) {
	return page(ctx, func() (string, error) {
		return inClient(ctx, "wget", "-q", "-O", "-", "http://"+pageAddress+"/")
	})
}

func nodePortFromPod(ctx context.Context, _ *cluster) (string, error) {
	return page(ctx, func() (string, error) {
		return inClient(ctx, "wget", "-q", "-O", "-", "http://10.42.0.1:30080/")
	})
}

func serviceByName(ctx context.Context, _ *cluster) (string, error) {
	return page(ctx, func() (string, error) {
		return inClient(ctx, "wget", "-q", "-O", "-", "http://"+pageName+"/")
	})
}

func nameOverTCP(ctx context.Context, _ *cluster) (string, error) {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", "10.43.0.10:53")
	}}
	addresses, err := resolver.LookupHost(ctx, pageName+".")
	if err != nil {
		return "", err
	}
	return expect(strings.Join(addresses, " "), pageAddress)
}

// apiByName is content with the API's complaint: busybox does not speak the TLS that it wants.
func apiByName(ctx context.Context, _ *cluster) (string, error) {
	return await(ctx, "an answer of the API", func() (string, error) {
		_, err := inClient(ctx, "wget", "-q", "-O", "-", "http://kubernetes.default:443/")
		if err == nil {
			return "", errors.New("something else answers there")
		}
		if complaint := "400 Bad Request"; strings.Contains(err.Error(), complaint) {
			return "HTTP at port 443: " + complaint, nil
		}
		return "", err
	})
}

func serviceDeleted(ctx context.Context, _ *cluster) (string, error) {
	if _, err := kubectl(ctx, "", "--namespace", servicesNamespace, "delete", "service", "page"); err != nil {
		return "", err
	}
	return await(ctx, "the address's removal", func() (string, error) {
		addresses, err := exec.CommandContext(ctx, "ip", "-o", "addr", "show", "dev", "cni0").Output()
		if err != nil {
			return "", err
		}
		if strings.Contains(string(addresses), pageAddress+"/") {
			return "", fmt.Errorf("%s is still there", pageAddress)
		}
		dialer := net.Dialer{Timeout: 2 * time.Second}
		if connection, err := dialer.DialContext(ctx, "tcp", pageAddress+":80"); err == nil {
			connection.Close()
			return "", fmt.Errorf("%s still answers", pageAddress)
		}
		return pageAddress + " is gone", nil
	})
}
