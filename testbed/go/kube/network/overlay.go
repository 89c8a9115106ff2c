package network

import "net/netip"

// The chains have the names of flannel's, which K3s uses: what somebody learns about the firewall
// on this stand-in then also holds there.
const (
	forwardChain     = "FLANNEL-FWD"
	postroutingChain = "FLANNEL-POSTRTG"
	multicast        = "224.0.0.0/4"
)

// forwardTable accepts forwarded traffic of pods. As with flannel the jump is appended: after a
// firewall of the host that ends in REJECT it has no effect, and the host has to open the way
// itself.
func forwardTable(cluster netip.Prefix) tableSpec {
	c := chain{Name: forwardChain}
	c.add("-s %s -m comment --comment %q -j ACCEPT", cluster, "flanneld forward")
	c.add("-d %s -m comment --comment %q -j ACCEPT", cluster, "flanneld forward")
	return tableSpec{
		Table:  "filter",
		Prefix: forwardChain,
		Chains: []chain{c},
		Jumps:  []jump{{Chain: "FORWARD", Target: forwardChain, Comment: "flanneld forward"}},
	}
}

// masqueradeTable hides the addresses of pods from the world outside, but not from pods on other
// nodes: their policies have to see where traffic comes from.
func masqueradeTable(cluster netip.Prefix) tableSpec {
	c := chain{Name: postroutingChain}
	c.add("-s %s -d %s -m comment --comment %q -j RETURN", cluster, cluster, "flanneld masq")
	c.add("-s %s -d %s -m comment --comment %q -j RETURN", cluster, multicast, "flanneld masq")
	c.add("-s %s -m comment --comment %q -j MASQUERADE", cluster, "flanneld masq")
	return tableSpec{
		Table:  "nat",
		Prefix: postroutingChain,
		Chains: []chain{c},
		Jumps:  []jump{{Chain: "POSTROUTING", Target: postroutingChain, Comment: "flanneld masq"}},
	}
}
