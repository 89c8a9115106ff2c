package network

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// packet is one packet as a chain of the filter table sees it.
type packet struct {
	src, dst, proto string
	port            int
	established     bool
}

// evaluator walks through the input of iptables-restore as the kernel would. It knows just what
// the rules of this package use and fails the test on anything else, so that a rule it does not
// understand cannot pass as "allowed".
type evaluator struct {
	t     *testing.T
	rules map[string][]string
}

func newEvaluator(t *testing.T, input string) *evaluator {
	t.Helper()
	e := &evaluator{t: t, rules: map[string][]string{}}
	declared := map[string]bool{"FORWARD": true, "INPUT": true, "POSTROUTING": true}
	for _, line := range strings.Split(input, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(line, "*") || line == "COMMIT":
		case strings.HasPrefix(line, ":"):
			name := f[0][1:]
			if len(name) > 28 {
				t.Fatalf("chain name %s has %d characters", name, len(name))
			}
			declared[name] = true
		case f[0] == "-A" || f[0] == "-I":
			if !declared[f[1]] {
				t.Fatalf("rule for a chain that is not declared: %s", line)
			}
			if f[0] == "-I" {
				e.rules[f[1]] = append([]string{strings.Join(f[3:], " ")}, e.rules[f[1]]...)
			} else {
				e.rules[f[1]] = append(e.rules[f[1]], strings.Join(f[2:], " "))
			}
		default:
			t.Fatalf("line not understood: %s", line)
		}
	}
	return e
}

// verdict is ACCEPT, REJECT, MASQUERADE, or empty at the end of the chain.
func (e *evaluator) verdict(chain string, p packet) string {
	for _, rule := range e.rules[chain] {
		target, ok := e.match(rule, p)
		if !ok {
			continue
		}
		switch target {
		case "RETURN":
			return ""
		case "ACCEPT", "REJECT", "MASQUERADE":
			return target
		}
		if _, known := e.rules[target]; !known && !strings.HasPrefix(target, policyChain) {
			e.t.Fatalf("jump to an unknown chain: %s", rule)
		}
		if v := e.verdict(target, p); v != "" {
			return v
		}
	}
	return ""
}

func (e *evaluator) match(rule string, p packet) (target string, ok bool) {
	f := tokens(rule)
	ok = true
	next := func() string {
		if len(f) < 2 {
			e.t.Fatalf("rule cut short: %s", rule)
		}
		v := f[1]
		f = f[2:]
		return v
	}
	for len(f) > 0 {
		switch f[0] {
		case "-s":
			ok = inside(next(), p.src) && ok
		case "-d":
			ok = inside(next(), p.dst) && ok
		case "-p":
			ok = next() == p.proto && ok
		case "-m":
			switch m := next(); m {
			case "tcp", "udp", "sctp", "comment", "conntrack":
			default:
				e.t.Fatalf("match %s not understood: %s", m, rule)
			}
		case "--comment":
			next()
		case "--ctstate":
			if s := next(); s != "RELATED,ESTABLISHED" {
				e.t.Fatalf("state %s not understood", s)
			}
			ok = p.established && ok
		case "--dport":
			low, high, isRange := strings.Cut(next(), ":")
			if !isRange {
				high = low
			}
			l, _ := strconv.Atoi(low)
			h, _ := strconv.Atoi(high)
			ok = p.port >= l && p.port <= h && ok
		case "-j":
			target = next()
		case "--reject-with":
			next()
		default:
			e.t.Fatalf("%s not understood: %s", f[0], rule)
		}
	}
	return target, ok
}

// tokens splits a rule and keeps what is in quotes together.
func tokens(rule string) []string {
	var out []string
	for i, part := range strings.Split(rule, `"`) {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func inside(network, addr string) bool {
	if !strings.Contains(network, "/") {
		network += "/32"
	}
	return netip.MustParsePrefix(network).Contains(netip.MustParseAddr(addr))
}
