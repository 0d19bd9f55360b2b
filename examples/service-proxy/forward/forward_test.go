package forward

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// patience is a limit for a broken forwarder; a working one never waits for it.
const patience = 10 * time.Second

// endpoint is a TCP server that reads until its client has no more, then says its name and what it read.
func endpoint(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				asked, _ := io.ReadAll(connection)
				_, _ = io.WriteString(connection, name+":"+string(asked))
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// unused is an address where nobody listens.
func unused(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func serve(t *testing.T, affinity time.Duration, endpoints ...netip.AddrPort) *TCP {
	t.Helper()
	forwarder, err := ListenTCP(loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(forwarder.Close)
	forwarder.Set(endpoints, affinity)
	return forwarder
}

// connect is closed at the test's end, and never waits longer than its patience.
func connect(t *testing.T, network string, to netip.AddrPort) net.Conn {
	t.Helper()
	connection, err := net.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return connection
}

// ask sends a question, closes that half, and returns the answer.
func ask(t *testing.T, to netip.AddrPort) string {
	t.Helper()
	connection := connect(t, "tcp", to)
	if _, err := io.WriteString(connection, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestTheEndOfAQuestionIsPassedOnWhileTheAnswerIsStillToCome(t *testing.T) {
	forwarder := serve(t, 0, endpoint(t, "a"))
	if answer := ask(t, forwarder.Address()); answer != "a:hello" {
		t.Fatalf("answered %q", answer)
	}
}

func TestConnectionsTakeTurns(t *testing.T) {
	forwarder := serve(t, 0, endpoint(t, "a"), endpoint(t, "b"))
	first, second := ask(t, forwarder.Address()), ask(t, forwarder.Address())
	if first == second {
		t.Fatalf("both were answered %q", first)
	}
}

func TestWithAffinityAClientStays(t *testing.T) {
	forwarder := serve(t, time.Hour, endpoint(t, "a"), endpoint(t, "b"))
	first := ask(t, forwarder.Address())
	for range 3 {
		if next := ask(t, forwarder.Address()); next != first {
			t.Fatalf("first %q, then %q", first, next)
		}
	}
}

func TestAnEndpointThatRefusesIsPassedOver(t *testing.T) {
	forwarder := serve(t, 0, unused(t), endpoint(t, "b"))
	for range 2 {
		if answer := ask(t, forwarder.Address()); answer != "b:hello" {
			t.Fatalf("answered %q", answer)
		}
	}
}

func TestWithoutAnEndpointAConnectionIsResetAndNotEmpty(t *testing.T) {
	forwarder := serve(t, 0, unused(t))
	connection, err := net.Dial("tcp", forwarder.Address().String())
	if err == nil { // the reset may be faster than connect's return
		defer connection.Close()
		_ = connection.SetDeadline(time.Now().Add(patience))
		_, err = io.ReadAll(connection)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("ended with %v", err)
	}
}

func TestCloseEndsConnections(t *testing.T) {
	forwarder := serve(t, 0, endpoint(t, "a"))
	connection := connect(t, "tcp", forwarder.Address())
	if _, err := io.WriteString(connection, "hello"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { forwarder.Close(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("still open")
	}
	if _, err := net.Dial("tcp", forwarder.Address().String()); err == nil {
		t.Fatal("it still listens")
	}
}

// packets is a UDP server that answers with its name and what it got.
func packets(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		packet := make([]byte, 1024)
		for {
			length, client, err := socket.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			_, _ = socket.WriteToUDPAddrPort([]byte(name+":"+string(packet[:length])), client)
		}
	}()
	return socket.LocalAddr().(*net.UDPAddr).AddrPort()
}

func exchange(t *testing.T, connection net.Conn) string {
	t.Helper()
	if _, err := io.WriteString(connection, "hello"); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 1024)
	length, err := connection.Read(packet)
	if err != nil {
		t.Fatal(err)
	}
	return string(packet[:length])
}

func TestPacketsOfAClientStayWithAnEndpointUntilThatIsGone(t *testing.T) {
	forwarder, err := ListenUDP(loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(forwarder.Close)
	a, b := packets(t, "a"), packets(t, "b")
	forwarder.Set([]netip.AddrPort{a, b}, 0)
	client := connect(t, "udp", forwarder.Address())
	first := exchange(t, client)
	if again := exchange(t, client); again != first {
		t.Fatalf("first %q, then %q", first, again)
	}
	left, name := a, "a:hello"
	if first == name {
		left, name = b, "b:hello"
	}
	forwarder.Set([]netip.AddrPort{left}, 0)
	if after := exchange(t, client); after != name {
		t.Fatalf("answered %q", after)
	}
}

func TestTwoClientsOfOneAddressGetTheirOwnAnswers(t *testing.T) {
	forwarder, err := ListenUDP(loopback)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(forwarder.Close)
	forwarder.Set([]netip.AddrPort{packets(t, "a"), packets(t, "b")}, 0)
	first := exchange(t, connect(t, "udp", forwarder.Address()))
	second := exchange(t, connect(t, "udp", forwarder.Address()))
	if first == second {
		t.Fatalf("both were answered %q", first)
	}
}
