package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addresses are those of the service ranges on one interface. Others on it are left alone.
type addresses struct {
	link   netlink.Link
	ranges []netip.Prefix
}

func openAddresses(name string, ranges []netip.Prefix) (*addresses, error) {
	// By number: asking for a link by name wants more of the kernel than gVisor has.
	found, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("the interface %s: %w", name, err)
	}
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: name, Index: found.Index}}
	return &addresses{link, ranges}, nil
}

// present lists the addresses of the service ranges, those of an earlier run included.
func (a *addresses) present() (map[netip.Addr]bool, error) {
	all, err := netlink.AddrList(a.link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing addresses of %s: %w", a.link.Attrs().Name, err)
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
	err := netlink.AddrAdd(a.link, single(address))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding %v to %s: %w", address, a.link.Attrs().Name, err)
	}
	return nil
}

func (a *addresses) remove(address netip.Addr) error {
	err := netlink.AddrDel(a.link, single(address))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("removing %v from %s: %w", address, a.link.Attrs().Name, err)
	}
	return nil
}

func single(address netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{
		IP:   address.AsSlice(),
		Mask: net.CIDRMask(address.BitLen(), address.BitLen()),
	}}
}
