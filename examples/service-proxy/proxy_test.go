package main

import (
	"net"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var clusterIP = netip.MustParseAddr("10.43.0.9")

func service(port corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIPs: []string{clusterIP.String()}, Ports: []corev1.ServicePort{port}},
	}
}

func pointer[T any](value T) *T { return &value }

func part(port int32, endpoints ...discoveryv1.Endpoint) map[serviceName][]*discoveryv1.EndpointSlice {
	return map[serviceName][]*discoveryv1.EndpointSlice{{"default", "web"}: {{
		Ports: []discoveryv1.EndpointPort{
			{Name: pointer("http"), Protocol: pointer(corev1.ProtocolTCP), Port: &port},
		},
		Endpoints: endpoints,
	}}}
}

func endpoint(address string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{
		Ready: &ready, Serving: &serving, Terminating: &terminating,
	}}
}

var httpPort = corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}

func TestOnlyReadyEndpointsAreServed(t *testing.T) {
	w := want([]*corev1.Service{service(httpPort)}, part(8080,
		endpoint("10.42.0.11", true, true, false), endpoint("10.42.0.12", false, false, false)), true)
	for _, address := range []string{"10.43.0.9:80", "0.0.0.0:30080"} {
		b := w.frontends[frontend{corev1.ProtocolTCP, netip.MustParseAddrPort(address)}]
		if len(b.endpoints) != 1 || b.endpoints[0] != netip.MustParseAddrPort("10.42.0.11:8080") {
			t.Errorf("%s goes to %v", address, b.endpoints)
		}
	}
}

func TestWithoutAReadyOneThoseThatEndAreServed(t *testing.T) {
	w := want([]*corev1.Service{service(httpPort)}, part(8080, endpoint("10.42.0.11", false, true, true)), false)
	if len(w.frontends) != 1 {
		t.Fatalf("there are %v", w.frontends)
	}
}

func TestAServiceWithoutEndpointsHasItsAddressAndNoListener(t *testing.T) {
	w := want([]*corev1.Service{service(httpPort)}, nil, true)
	if !w.addresses[clusterIP] || len(w.frontends) != 0 {
		t.Fatalf("there are %v and %v", w.addresses, w.frontends)
	}
}

func TestHeadlessServicesHaveNoAddress(t *testing.T) {
	headless := service(httpPort)
	headless.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
	w := want([]*corev1.Service{headless}, part(8080, endpoint("10.42.0.11", true, true, false)), true)
	if len(w.addresses) != 0 || len(w.frontends) != 0 {
		t.Fatalf("there are %v and %v", w.addresses, w.frontends)
	}
}

// held stands for an interface: loopback has all of 127.0.0.0/8 without being told.
type held map[netip.Addr]bool

func (h held) present() (map[netip.Addr]bool, error) { return h, nil }
func (h held) inRange(address netip.Addr) bool {
	return netip.MustParsePrefix("127.43.0.0/16").Contains(address)
}
func (h held) add(address netip.Addr) error    { h[address] = true; return nil }
func (h held) remove(address netip.Addr) error { delete(h, address); return nil }

func TestADeletedServiceLosesItsAddressAndItsListener(t *testing.T) {
	h := held{}
	p := &proxy{h, make(map[frontend]forwarder)}
	t.Cleanup(p.close)
	local := service(corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 18437})
	address := netip.MustParseAddr("127.43.0.9")
	local.Spec.ClusterIPs = []string{address.String()}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	ready := part(int32(server.Addr().(*net.TCPAddr).Port), endpoint("127.0.0.1", true, true, false))
	if err := p.apply(want([]*corev1.Service{local}, ready, false)); err != nil {
		t.Fatal(err)
	}
	connection, err := net.Dial("tcp", "127.43.0.9:18437")
	if err != nil || !h[address] {
		t.Fatalf("%v, and the addresses are %v", err, h)
	}
	connection.Close()
	if err := p.apply(want(nil, nil, false)); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", "127.43.0.9:18437"); err == nil || h[address] {
		t.Fatalf("it is still served; the addresses are %v", h)
	}
}
