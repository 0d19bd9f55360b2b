package forward

import (
	"errors"
	"log"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	sessionIdle  = time.Minute // a client that was silent for so long is forgotten
	sessionLimit = 8192        // sockets, at one address
	packetLimit  = 64 << 10
)

// UDP passes packets on from an address, and the answers back, until it is closed. Each client has a socket of its own
// towards an endpoint, which is how answers are told apart.
type UDP struct {
	Endpoints
	socket   *net.UDPConn
	mutex    sync.Mutex
	sessions map[netip.AddrPort]*session
	running  sync.WaitGroup
}

type session struct {
	*net.UDPConn
	endpoint netip.AddrPort
}

// ListenUDP starts to listen.
func ListenUDP(address netip.AddrPort) (*UDP, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return nil, err
	}
	u := &UDP{socket: socket, sessions: make(map[netip.AddrPort]*session)}
	u.changed = u.dropStale
	u.running.Go(u.receive)
	return u, nil
}

// Address is where it listens.
func (u *UDP) Address() netip.AddrPort { return plain(u.socket.LocalAddr().(*net.UDPAddr).AddrPort()) }

// Close ends it, and the clients' sessions.
func (u *UDP) Close() {
	_ = u.socket.Close() // there is nothing to lose
	u.dropIf(func(*session) bool { return true })
	u.running.Wait()
}

func (u *UDP) receive() {
	packet := make([]byte, packetLimit)
	for {
		length, client, err := u.socket.ReadFromUDPAddrPort(packet)
		if errors.Is(err, net.ErrClosed) {
			u.dropIf(func(*session) bool { return true }) // what was begun while Close looked
			return
		}
		if err != nil { // an answer that a client no longer wanted
			continue
		}
		// Twice: a session may turn out to lead nowhere.
		for range 2 {
			s := u.session(client)
			if s == nil {
				break
			}
			if _, err := s.Write(packet[:length]); err == nil {
				break
			}
			u.drop(client, s)
		}
	}
}

// session returns the client's, or begins one; nil if there is no endpoint.
func (u *UDP) session(client netip.AddrPort) *session {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if known := u.sessions[client]; known != nil {
		return known
	}
	if len(u.sessions) >= sessionLimit {
		return nil
	}
	for _, endpoint := range u.Candidates(plain(client).Addr()) {
		socket, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(endpoint))
		if err != nil {
			log.Printf("%v to %v: %v", u.socket.LocalAddr(), endpoint, err)
			continue
		}
		u.Chosen(plain(client).Addr(), endpoint)
		s := &session{socket, endpoint}
		u.sessions[client] = s
		u.running.Go(func() { u.answer(client, s) })
		return s
	}
	return nil
}

// answer passes an endpoint's packets to its client, until both were silent for a while or the endpoint is gone.
func (u *UDP) answer(client netip.AddrPort, s *session) {
	defer u.drop(client, s)
	packet := make([]byte, packetLimit)
	for {
		if err := s.SetReadDeadline(time.Now().Add(sessionIdle)); err != nil {
			return
		}
		length, err := s.Read(packet)
		if err != nil {
			return
		}
		if _, err := u.socket.WriteToUDPAddrPort(packet[:length], client); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (u *UDP) drop(client netip.AddrPort, s *session) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.sessions[client] == s {
		delete(u.sessions, client)
	}
	_ = s.Close() // there is nothing to lose
}

func (u *UDP) dropStale() { u.dropIf(func(s *session) bool { return !u.Has(s.endpoint) }) }

func (u *UDP) dropIf(unwanted func(*session) bool) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	for client, s := range u.sessions {
		if unwanted(s) {
			delete(u.sessions, client)
			_ = s.Close() // its reader ends by that
		}
	}
}
