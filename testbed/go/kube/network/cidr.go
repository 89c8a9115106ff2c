package network

import "net/netip"

// subtract removes one network from a list of networks. What is left of a network that holds
// the removed one is the sibling at every step of the way down to it.
func subtract(nets []netip.Prefix, remove netip.Prefix) []netip.Prefix {
	var left []netip.Prefix
	for _, n := range nets {
		switch {
		case !n.Overlaps(remove):
			left = append(left, n)
		case remove.Bits() <= n.Bits():
			// All of n is removed.
		default:
			for bits := n.Bits() + 1; bits <= remove.Bits(); bits++ {
				left = append(left, sibling(netip.PrefixFrom(remove.Addr(), bits).Masked()))
			}
		}
	}
	return left
}

// sibling is the other half of the network one bit larger.
func sibling(p netip.Prefix) netip.Prefix {
	b := p.Addr().As4()
	bit := p.Bits() - 1
	b[bit/8] ^= 1 << (7 - bit%8)
	return netip.PrefixFrom(netip.AddrFrom4(b), p.Bits())
}
