// Package forward passes TCP connections and UDP packets from one local address on to endpoints that may change.
package forward

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Endpoints are where a service's traffic goes now, and which of them is next.
type Endpoints struct {
	mutex    sync.Mutex
	all      []netip.AddrPort
	next     int
	affinity time.Duration // a client stays with its endpoint for so long; 0: it does not
	clients  map[netip.Addr]choice
	changed  func() // called after a change, without the lock
}

type choice struct {
	endpoint netip.AddrPort
	until    time.Time
}

// clientLimit bounds what is remembered of clients; above it the expired ones are forgotten.
const clientLimit = 1024

// Set replaces the endpoints. Affinity of clients to what is still there is kept.
func (e *Endpoints) Set(all []netip.AddrPort, affinity time.Duration) {
	e.mutex.Lock()
	same := slices.Equal(e.all, all) && e.affinity == affinity
	e.all, e.affinity = slices.Clone(all), affinity
	changed := e.changed
	e.mutex.Unlock()
	if !same && changed != nil {
		changed()
	}
}

// Has says whether an endpoint is still one.
func (e *Endpoints) Has(endpoint netip.AddrPort) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return slices.Contains(e.all, endpoint)
}

// Candidates returns all endpoints in the order in which they are to be tried for this client.
func (e *Endpoints) Candidates(client netip.Addr) []netip.AddrPort {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if len(e.all) == 0 {
		return nil
	}
	first := e.next % len(e.all)
	if remembered, known := e.clients[client]; known && e.affinity > 0 && time.Now().Before(remembered.until) {
		if index := slices.Index(e.all, remembered.endpoint); index >= 0 {
			return slices.Concat(e.all[index:], e.all[:index])
		}
	}
	e.next = first + 1
	return slices.Concat(e.all[first:], e.all[:first])
}

// Chosen is told which endpoint a client got.
func (e *Endpoints) Chosen(client netip.Addr, endpoint netip.AddrPort) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.affinity == 0 {
		e.clients = nil
		return
	}
	now := time.Now()
	if e.clients == nil {
		e.clients = make(map[netip.Addr]choice)
	}
	if len(e.clients) >= clientLimit {
		for client, old := range e.clients {
			if now.After(old.until) {
				delete(e.clients, client)
			}
		}
	}
	e.clients[client] = choice{endpoint, now.Add(e.affinity)}
}
