package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addresses are those of the service ranges on one interface. Others on it are left alone.
type addresses struct {
	name   string
	ranges []netip.Prefix
}

// link is found anew each time: a bridge may come with the first pod only.
func (a *addresses) link() (netlink.Link, error) {
	found, err := net.InterfaceByName(a.name)
	if err != nil {
		return nil, fmt.Errorf("the interface %s: %w", a.name, err)
	}
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: a.name, Index: found.Index}}, nil
}

// warn says what can't work in gVisor: there, as in other strict hosts, a packet that comes by one interface for the
// address of another is forwarded or dropped.
func (a *addresses) warn() {
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if a.name == "lo" && err == nil && strings.TrimSpace(string(forward)) == "0" {
		log.Print("net.ipv4.ip_forward is 0: in gVisor, pods reach no address of lo; set it to 1, or name the pods' bridge by --interface")
	}
}

// present lists the addresses of the service ranges, those of an earlier run included.
func (a *addresses) present() (map[netip.Addr]bool, error) {
	link, err := a.link()
	if err != nil {
		return nil, err
	}
	all, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing addresses of %s: %w", a.name, err)
	}
	present := make(map[netip.Addr]bool)
	for _, one := range all {
		address, valid := netip.AddrFromSlice(one.IP)
		if address = address.Unmap(); valid && a.inRange(address) {
			present[address] = true
		}
	}
	return present, nil
}

func (a *addresses) inRange(address netip.Addr) bool {
	for _, services := range a.ranges {
		if services.Contains(address) {
			return true
		}
	}
	return false
}

func (a *addresses) add(address netip.Addr) error {
	return a.change(netlink.AddrAdd, address, unix.EEXIST, "adding")
}

func (a *addresses) remove(address netip.Addr) error {
	return a.change(netlink.AddrDel, address, unix.EADDRNOTAVAIL, "removing")
}

func (a *addresses) change(how func(netlink.Link, *netlink.Addr) error, address netip.Addr, done error, doing string) error {
	link, err := a.link()
	if err != nil {
		return err
	}
	if err := how(link, single(address)); err != nil && !errors.Is(err, done) {
		return fmt.Errorf("%s %v on %s: %w", doing, address, a.name, err)
	}
	return nil
}

func single(address netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{
		IP:   address.AsSlice(),
		Mask: net.CIDRMask(address.BitLen(), address.BitLen()),
	}}
}
