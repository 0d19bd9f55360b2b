package forward

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	dialPatience = 3 * time.Second // for each endpoint, before the next is tried
	acceptPause  = 100 * time.Millisecond
)

// TCP listens on an address and passes connections on, until it is closed.
type TCP struct {
	Endpoints
	listener net.Listener
	context  context.Context
	end      context.CancelFunc
	running  sync.WaitGroup
}

// ListenTCP starts to listen.
func ListenTCP(address netip.AddrPort) (*TCP, error) {
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
	if err != nil {
		return nil, err
	}
	t := &TCP{listener: listener}
	t.context, t.end = context.WithCancel(context.Background())
	t.running.Go(t.accept)
	return t, nil
}

// Address is where it listens.
func (t *TCP) Address() netip.AddrPort { return plain(t.listener.Addr().(*net.TCPAddr).AddrPort()) }

// Close ends the listener and all connections that came by it.
func (t *TCP) Close() {
	t.end()
	_ = t.listener.Close() // there is nothing to lose
	t.running.Wait()
}

func (t *TCP) accept() {
	for {
		connection, err := t.listener.Accept()
		switch {
		case err == nil:
			t.running.Go(func() { t.pass(connection.(*net.TCPConn)) })
		case errors.Is(err, net.ErrClosed):
			return
		default: // too many open files, say; that may pass
			log.Printf("accepting on %v: %v", t.listener.Addr(), err)
			select {
			case <-t.context.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}

func (t *TCP) pass(client *net.TCPConn) {
	defer client.Close()
	server := t.dial(plain(client.RemoteAddr().(*net.TCPAddr).AddrPort()).Addr())
	if server == nil {
		_ = client.SetLinger(0) // a reset: the client is not to take it for an empty answer
		return
	}
	defer server.Close()
	stop := context.AfterFunc(t.context, func() {
		client.Close()
		server.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { oneWay(server, client) })
	both.Go(func() { oneWay(client, server) })
	both.Wait()
}

// dial tries one endpoint after the other, and returns nil if none answers.
func (t *TCP) dial(client netip.Addr) *net.TCPConn {
	dialer := net.Dialer{Timeout: dialPatience}
	for _, endpoint := range t.Candidates(client) {
		connection, err := dialer.DialContext(t.context, "tcp", endpoint.String())
		if err == nil {
			t.Chosen(client, endpoint)
			return connection.(*net.TCPConn)
		}
		log.Printf("%v to %v: %v", t.listener.Addr(), endpoint, err)
	}
	return nil
}

// oneWay copies until the source has no more, then tells the target so; the other direction may go on.
func oneWay(target, source *net.TCPConn) {
	if _, err := io.Copy(target, source); err != nil {
		// Half of a broken connection is of no use to anyone.
		target.Close()
		source.Close()
		return
	}
	_ = target.CloseWrite() // fails if the target has ended altogether
}

// plain undoes the writing of an IPv4 address as an IPv6 one, which sockets that take both have.
func plain(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}
