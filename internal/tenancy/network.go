package tenancy

import "net/netip"

// Network is what counts as one client where attempts are limited: an IPv4 address,
// or an IPv6 network of the size a single client is given, in which each attempt could
// have an address of its own. It is zero for what is no address.
func Network(address string) netip.Prefix {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if ip = ip.Unmap(); ip.Is6() {
		bits = 64
	}
	prefix, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
