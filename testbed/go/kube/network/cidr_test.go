package network

import (
	"net/netip"
	"reflect"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestSubtract(t *testing.T) {
	cases := []struct {
		name   string
		from   []netip.Prefix
		remove string
		want   []netip.Prefix
	}{
		{"nothing in common", prefixes("10.0.0.0/8"), "192.168.0.0/16", prefixes("10.0.0.0/8")},
		{"the same", prefixes("10.0.0.0/8"), "10.0.0.0/8", nil},
		{"a larger one", prefixes("10.0.0.0/8", "11.0.0.0/8"), "10.0.0.0/7", nil},
		{"one half", prefixes("10.0.0.0/8"), "10.128.0.0/9", prefixes("10.0.0.0/9")},
		{"one address", prefixes("10.0.0.0/30"), "10.0.0.1/32", prefixes("10.0.0.2/31", "10.0.0.0/32")},
	}
	for _, c := range cases {
		got := subtract(c.from, netip.MustParsePrefix(c.remove))
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Every address is either in the removed network or in exactly one of the rest.
func TestSubtractIsExact(t *testing.T) {
	remove := netip.MustParsePrefix("10.1.2.64/27")
	rest := subtract(prefixes("10.1.2.0/24"), remove)
	for i := 0; i < 256; i++ {
		addr := netip.AddrFrom4([4]byte{10, 1, 2, byte(i)})
		hits := 0
		for _, n := range rest {
			if n.Contains(addr) {
				hits++
			}
		}
		if want := map[bool]int{true: 0, false: 1}[remove.Contains(addr)]; hits != want {
			t.Errorf("%s is in %d networks, want %d", addr, hits, want)
		}
	}
}
