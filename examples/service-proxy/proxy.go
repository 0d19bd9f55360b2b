package main

import (
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fsmasq.example/service-proxy/forward"
)

// forwarder is a listener of the package forward.
type forwarder interface {
	Set([]netip.AddrPort, time.Duration)
	Close()
}

// interfaceAddresses is what a proxy asks of the interface that has the Services' addresses.
type interfaceAddresses interface {
	present() (map[netip.Addr]bool, error)
	inRange(netip.Addr) bool
	add(netip.Addr) error
	remove(netip.Addr) error
}

// proxy makes a node serve what is wanted of it.
type proxy struct {
	addresses interfaceAddresses
	listeners map[frontend]forwarder
}

// apply brings the node to what is wanted. What fails is left out; calling it again tries that again.
func (p *proxy) apply(w wanted) error {
	present, err := p.addresses.present()
	if err != nil {
		return err
	}
	var failures []error
	for f, listener := range p.listeners {
		if _, needed := w.frontends[f]; !needed {
			listener.Close()
			delete(p.listeners, f)
			log.Printf("closed %s %v", f.protocol, f.address)
		}
	}
	for address := range present {
		if !w.addresses[address] {
			failures = append(failures, p.addresses.remove(address))
			log.Printf("removed %v", address)
		}
	}
	for address := range w.addresses {
		if present[address] {
			continue
		}
		if !p.addresses.inRange(address) {
			failures = append(failures, fmt.Errorf("%v is in no --service-cidr: it would never be removed", address))
			continue
		}
		failures = append(failures, p.addresses.add(address))
		log.Printf("added %v", address)
	}
	for f, b := range w.frontends {
		listener := p.listeners[f]
		if listener == nil {
			if listener, err = listen(f); err != nil {
				failures = append(failures, err)
				continue
			}
			p.listeners[f] = listener
			log.Printf("serving %s %v: %v", f.protocol, f.address, b.endpoints)
		}
		listener.Set(b.endpoints, b.affinity)
	}
	return errors.Join(failures...)
}

// close ends all listeners. The addresses stay, for the next run.
func (p *proxy) close() {
	for _, listener := range p.listeners {
		listener.Close()
	}
}

func listen(f frontend) (forwarder, error) {
	if f.protocol == corev1.ProtocolUDP {
		return opened(forward.ListenUDP(f.address))
	}
	return opened(forward.ListenTCP(f.address))
}

// opened keeps a nil pointer from becoming an interface that is not nil.
func opened[T forwarder](listener T, err error) (forwarder, error) {
	if err != nil {
		return nil, err
	}
	return listener, nil
}
