package main

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// frontend is where a Service is served: its address and port, or a port of the node's own at all its addresses.
type frontend struct {
	protocol corev1.Protocol
	address  netip.AddrPort
}

// backends are where its traffic goes.
type backends struct {
	endpoints []netip.AddrPort
	affinity  time.Duration
}

// wanted is what the cluster's Services ask of a node.
type wanted struct {
	addresses map[netip.Addr]bool
	frontends map[frontend]backends
}

// want finds that from the objects alone. A port without endpoints is in no frontend: its address refuses connections.
func want(services []*corev1.Service, slicesOf map[serviceName][]*discoveryv1.EndpointSlice, nodePorts bool) wanted {
	w := wanted{make(map[netip.Addr]bool), make(map[frontend]backends)}
	for _, service := range services {
		if service.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		parts := slicesOf[serviceName{service.Namespace, service.Name}]
		for _, text := range service.Spec.ClusterIPs {
			address, err := netip.ParseAddr(text)
			if err != nil { // "None": without an address of its own
				continue
			}
			w.addresses[address] = true
			for _, port := range service.Spec.Ports {
				if port.Protocol != corev1.ProtocolTCP && port.Protocol != corev1.ProtocolUDP {
					continue
				}
				b := backends{ready(parts, port, address.Is4()), affinity(service)}
				if len(b.endpoints) == 0 {
					continue
				}
				w.frontends[frontend{port.Protocol, netip.AddrPortFrom(address, uint16(port.Port))}] = b
				if nodePorts && port.NodePort != 0 {
					everywhere := netip.IPv6Unspecified()
					if address.Is4() {
						everywhere = netip.IPv4Unspecified()
					}
					w.frontends[frontend{port.Protocol, netip.AddrPortFrom(everywhere, uint16(port.NodePort))}] = b
				}
			}
		}
	}
	return w
}

func affinity(service *corev1.Service) time.Duration {
	if service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if config := service.Spec.SessionAffinityConfig; config != nil && config.ClientIP != nil &&
		config.ClientIP.TimeoutSeconds != nil {
		seconds = *config.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

// ready lists a port's endpoints: those that are ready, or, when none is, those that end but still serve.
func ready(parts []*discoveryv1.EndpointSlice, port corev1.ServicePort, ipv4 bool) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, part := range parts {
		for _, offered := range part.Ports {
			if offered.Port == nil || deref(offered.Name, "") != port.Name ||
				deref(offered.Protocol, corev1.ProtocolTCP) != port.Protocol {
				continue
			}
			for _, endpoint := range part.Endpoints {
				if len(endpoint.Addresses) == 0 {
					continue
				}
				address, err := netip.ParseAddr(endpoint.Addresses[0]) // the others mean the same
				if err != nil || address.Is4() != ipv4 {
					continue
				}
				full := netip.AddrPortFrom(address, uint16(*offered.Port))
				conditions := endpoint.Conditions
				if deref(conditions.Ready, true) {
					ready = append(ready, full)
				} else if deref(conditions.Serving, false) && deref(conditions.Terminating, false) {
					ending = append(ending, full)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	return slices.Compact(ready)
}

func deref[T any](pointer *T, otherwise T) T {
	if pointer == nil {
		return otherwise
	}
	return *pointer
}
