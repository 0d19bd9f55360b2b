// Command service-proxy gives Services their addresses on a node without iptables: it puts each address on a local
// interface, listens there, and passes connections and packets on to the ready endpoints.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	settle     = 50 * time.Millisecond // changes come in bursts
	retryPause = 5 * time.Second
)

type serviceName struct{ namespace, name string }

func main() {
	kubeconfig := flag.String("kubeconfig", "/etc/rancher/k3s/k3s.yaml", "credentials; empty: those of the pod it runs in")
	link := flag.String("interface", "lo", "the interface that gets the Services' addresses")
	cidr := flag.String("service-cidr", "10.43.0.0/16", "the range of Services' addresses; two for both families, with a comma")
	nodePorts := flag.Bool("node-ports", true, "serve NodePorts at all addresses of the node")
	flag.Parse()
	stop, ignore := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer ignore()
	if err := run(stop, *kubeconfig, *link, *cidr, *nodePorts); err != nil {
		fmt.Fprintf(os.Stderr, "service-proxy: %v\n", err)
		os.Exit(1)
	}
}

func run(stop context.Context, kubeconfig, link, cidr string, nodePorts bool) error {
	var ranges []netip.Prefix
	for _, text := range strings.Split(cidr, ",") {
		parsed, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("--service-cidr: %w", err)
		}
		ranges = append(ranges, parsed)
	}
	addresses := &addresses{link, ranges}
	addresses.warn()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	source, err := watch(stop, client)
	if err != nil {
		return err
	}
	p := &proxy{addresses, make(map[frontend]forwarder)}
	defer p.close()
	for retry := (<-chan time.Time)(nil); ; {
		select {
		case <-stop.Done():
			return nil
		case <-source.changed:
			time.Sleep(settle)
		case <-retry:
		}
		retry = nil
		services, parts, err := source.list()
		if err == nil {
			err = p.apply(want(services, parts, nodePorts))
		}
		if err != nil {
			log.Printf("again in %v: %v", retryPause, err)
			retry = time.After(retryPause)
		}
	}
}

// source is the cluster's Services and endpoints as they are now.
type source struct {
	informers.SharedInformerFactory
	changed chan struct{} // has an element after a change
}

func watch(stop context.Context, client kubernetes.Interface) (*source, error) {
	s := &source{informers.NewSharedInformerFactory(client, 0), make(chan struct{}, 1)}
	note := func() {
		select {
		case s.changed <- struct{}{}:
		default: // is noted already
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { note() },
		UpdateFunc: func(any, any) { note() },
		DeleteFunc: func(any) { note() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		s.Core().V1().Services().Informer(), s.Discovery().V1().EndpointSlices().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	s.Start(stop.Done())
	// Not before all is known: what an earlier run served would be taken away for a moment.
	for kind, synced := range s.WaitForCacheSync(stop.Done()) {
		if !synced {
			return nil, fmt.Errorf("%v: stopped before they were listed", kind)
		}
	}
	note()
	return s, nil
}

func (s *source) list() ([]*corev1.Service, map[serviceName][]*discoveryv1.EndpointSlice, error) {
	services, err := s.Core().V1().Services().Lister().List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	all, err := s.Discovery().V1().EndpointSlices().Lister().List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	parts := make(map[serviceName][]*discoveryv1.EndpointSlice)
	for _, part := range all {
		if name := part.Labels[discoveryv1.LabelServiceName]; name != "" {
			key := serviceName{part.Namespace, name}
			parts[key] = append(parts[key], part)
		}
	}
	return services, parts, nil
}
