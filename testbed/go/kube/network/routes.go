package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sort"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// routeProtocol marks the routes of this program, so that after a restart it still knows which
// ones it may delete. The number is not used by any routing program in rt_protos.
const routeProtocol = 77

// wantedRoutes is the way to the pods of every other node: pod range to node address.
func wantedRoutes(nodes []*corev1.Node, self string) map[netip.Prefix]netip.Addr {
	routes := map[netip.Prefix]netip.Addr{}
	var own netip.Prefix
	for _, n := range nodes {
		if n.Name == self {
			own, _ = nodePodCIDR(n)
		}
	}
	for _, n := range nodes {
		if n.Name == self {
			continue
		}
		cidr, ok := nodePodCIDR(n)
		via, hasIP := nodeInternalIP(n)
		// A range that overlaps the own one would take the pods of this node away.
		if !ok || !hasIP || (own.IsValid() && own.Overlaps(cidr)) {
			continue
		}
		routes[cidr] = via
	}
	return routes
}

// routeTable is the part of the kernel's routing table that has routeProtocol.
type routeTable interface {
	list() (map[netip.Prefix]netip.Addr, error)
	replace(netip.Prefix, netip.Addr) error
	remove(netip.Prefix, netip.Addr) error
}

// syncRoutes adds what is missing and removes what is not wanted any more. One route that fails
// does not keep the others from being set. It describes what it changed.
func syncRoutes(t routeTable, wanted map[netip.Prefix]netip.Addr) ([]string, error) {
	have, err := t.list()
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var changes []string
	var failed []error
	for _, cidr := range sortedPrefixes(wanted) {
		via := wanted[cidr]
		if have[cidr] == via {
			continue
		}
		if err := t.replace(cidr, via); err != nil {
			failed = append(failed, fmt.Errorf("route %s via %s: %w", cidr, via, err))
			continue
		}
		changes = append(changes, fmt.Sprintf("%s via %s", cidr, via))
	}
	for _, cidr := range sortedPrefixes(have) {
		if _, ok := wanted[cidr]; ok {
			continue
		}
		if err := t.remove(cidr, have[cidr]); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = append(failed, fmt.Errorf("remove route %s via %s: %w", cidr, have[cidr], err))
			continue
		}
		changes = append(changes, fmt.Sprintf("removed %s via %s", cidr, have[cidr]))
	}
	return changes, errors.Join(failed...)
}

func sortedPrefixes(m map[netip.Prefix]netip.Addr) []netip.Prefix {
	keys := make([]netip.Prefix, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	return keys
}

type hostRoutes struct{}

func (hostRoutes) list() (map[netip.Prefix]netip.Addr, error) {
	found, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, err
	}
	routes := map[netip.Prefix]netip.Addr{}
	for _, r := range found {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		if !ok {
			continue
		}
		bits, _ := r.Dst.Mask.Size()
		via, _ := netip.AddrFromSlice(r.Gw.To4())
		routes[netip.PrefixFrom(addr, bits)] = via
	}
	return routes, nil
}

func (hostRoutes) replace(cidr netip.Prefix, via netip.Addr) error {
	return netlink.RouteReplace(hostRoute(cidr, via))
}

func (hostRoutes) remove(cidr netip.Prefix, via netip.Addr) error {
	return netlink.RouteDel(hostRoute(cidr, via))
}

func hostRoute(cidr netip.Prefix, via netip.Addr) *netlink.Route {
	r := &netlink.Route{
		Dst:      &net.IPNet{IP: cidr.Addr().AsSlice(), Mask: net.CIDRMask(cidr.Bits(), 32)},
		Protocol: routeProtocol,
	}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	return r
}
