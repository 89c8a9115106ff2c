package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// fakeIptables is a kernel with one table: it applies the input of iptables-restore.
type fakeIptables struct {
	chains   []string
	rules    map[string][]string
	restores []string
	fail     error
}

func newFakeIptables(builtin ...string) *fakeIptables {
	return &fakeIptables{chains: builtin, rules: map[string][]string{}}
}

func (f *fakeIptables) save(context.Context, string) (string, error) {
	var b strings.Builder
	b.WriteString("# Generated\n*filter\n")
	for _, c := range f.chains {
		fmt.Fprintf(&b, ":%s - [12:345]\n", c)
	}
	for _, c := range f.chains {
		for _, r := range f.rules[c] {
			fmt.Fprintf(&b, "-A %s %s\n", c, r)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String(), nil
}

func (f *fakeIptables) restore(_ context.Context, input string) error {
	if f.fail != nil {
		return f.fail
	}
	f.restores = append(f.restores, input)
	for _, line := range strings.Split(strings.TrimSpace(input), "\n") {
		op, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(op, "*") || op == "COMMIT":
		case strings.HasPrefix(op, ":"):
			if !contains(f.chains, op[1:]) {
				f.chains = append(f.chains, op[1:])
			}
			f.rules[op[1:]] = nil
		case op == "-X":
			for i, c := range f.chains {
				if c == rest {
					f.chains = append(f.chains[:i], f.chains[i+1:]...)
					break
				}
			}
			delete(f.rules, rest)
		default:
			chain, rule, _ := strings.Cut(rest, " ")
			switch op {
			case "-A":
				f.rules[chain] = append(f.rules[chain], rule)
			case "-I":
				f.rules[chain] = append([]string{strings.TrimPrefix(rule, "1 ")}, f.rules[chain]...)
			case "-D":
				at := -1
				for i, r := range f.rules[chain] {
					if r == rule && at < 0 {
						at = i
					}
				}
				if at < 0 {
					return fmt.Errorf("no such rule: %s", line)
				}
				f.rules[chain] = append(f.rules[chain][:at:at], f.rules[chain][at+1:]...)
			default:
				return fmt.Errorf("not understood: %s", line)
			}
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func ensure(t *testing.T, k *keeper, table tableSpec, wantWrite bool) {
	t.Helper()
	wrote, err := k.ensure(context.Background(), table)
	if err != nil {
		t.Fatal(err)
	}
	if wrote != wantWrite {
		t.Fatalf("wrote = %v, want %v", wrote, wantWrite)
	}
}

const policyJump = `-m comment --comment "network policies" -j NETPOL`

func TestEnsure(t *testing.T) {
	host := newFakeIptables("INPUT", "FORWARD", "OUTPUT")
	host.rules["FORWARD"] = []string{"-j REJECT"}
	clock := time.Unix(1000, 0)
	k := newKeeper(host)
	k.now = func() time.Time { return clock }
	table := policyTable(cluster(denyAll))

	ensure(t, k, table, true)
	if got := strings.Join(host.rules["FORWARD"], ";"); got != policyJump+";-j REJECT" {
		t.Errorf("FORWARD: %s", got)
	}
	ensure(t, k, table, false)

	// Somebody flushes FORWARD: the jump is missing and comes back at once.
	host.rules["FORWARD"] = nil
	ensure(t, k, table, true)
	if got := host.rules["FORWARD"]; len(got) != 1 || got[0] != policyJump {
		t.Errorf("FORWARD: %v", got)
	}

	// Somebody pushes in front: the jump goes back to the front, once in ten seconds.
	push := func() { host.rules["FORWARD"] = append([]string{"-j KUBE-FORWARD"}, host.rules["FORWARD"]...) }
	push()
	ensure(t, k, table, true)
	if got := strings.Join(host.rules["FORWARD"], ";"); got != policyJump+";-j KUBE-FORWARD" {
		t.Errorf("FORWARD: %s", got)
	}
	push()
	ensure(t, k, table, false)
	clock = clock.Add(moveInterval)
	ensure(t, k, table, true)
	if got := host.rules["FORWARD"]; got[0] != policyJump || len(got) != 3 {
		t.Errorf("FORWARD: %v", got)
	}

	// A missing jump does not wait.
	host.rules["INPUT"] = nil
	ensure(t, k, table, true)

	// Somebody empties one of the chains.
	victim := table.Chains[1].Name
	host.rules[victim] = nil
	ensure(t, k, table, true)
	if len(host.rules[victim]) == 0 {
		t.Error("the chain was not filled again")
	}

	// Chains that are not wanted any more go.
	ensure(t, k, policyTable(cluster()), true)
	if contains(host.chains, victim) || !contains(host.chains, policyChain) {
		t.Errorf("chains: %v", host.chains)
	}

	// After an error the next try writes, even if nothing seems to have changed.
	host.fail = errors.New("locked")
	if _, err := k.ensure(context.Background(), table); err == nil {
		t.Error("no error")
	}
	host.fail = nil
	ensure(t, k, policyTable(cluster()), true)
}

// A new process takes over what an old one left, and removes its chains.
func TestTakeOver(t *testing.T) {
	host := newFakeIptables("INPUT", "FORWARD", "OUTPUT")
	ensure(t, newKeeper(host), policyTable(cluster(denyAll)), true)
	ensure(t, newKeeper(host), policyTable(cluster()), true)
	if got := strings.Join(host.chains, " "); got != "INPUT FORWARD OUTPUT NETPOL" {
		t.Errorf("chains: %s", got)
	}
	if len(host.rules["FORWARD"]) != 1 {
		t.Errorf("FORWARD: %v", host.rules["FORWARD"])
	}
}

func TestRemoveChains(t *testing.T) {
	host := newFakeIptables("INPUT", "FORWARD", "OUTPUT")
	host.rules["FORWARD"] = []string{"-j REJECT"}
	ensure(t, newKeeper(host), policyTable(cluster(denyAll, webToSQL)), true)
	for i := 0; i < 2; i++ {
		if err := removeChains(context.Background(), host, "filter", policyChain); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(host.chains, " "); got != "INPUT FORWARD OUTPUT" {
		t.Errorf("chains: %s", got)
	}
	if len(host.rules["INPUT"]) != 0 || len(host.rules["FORWARD"]) != 1 {
		t.Errorf("rules: %v", host.rules)
	}
	if len(host.restores) != 2 {
		t.Errorf("%d writes, want 2: the second removal has nothing to do", len(host.restores))
	}
}

func TestOverlayTables(t *testing.T) {
	pods := netip.MustParsePrefix("10.42.0.0/16")

	host := newFakeIptables("FORWARD")
	host.rules["FORWARD"] = []string{"-j REJECT"}
	ensure(t, newKeeper(host), forwardTable(pods), true)
	if got := host.rules["FORWARD"]; len(got) != 2 || got[0] != "-j REJECT" {
		t.Errorf("the jump must come after what the host has: %v", got)
	}

	host = newFakeIptables("POSTROUTING")
	ensure(t, newKeeper(host), masqueradeTable(pods), true)
	e := newEvaluator(t, host.restores[0])
	e.rules[postroutingChain] = host.rules[postroutingChain]
	for _, c := range []struct{ src, dst, want string }{
		{"10.42.0.10", "10.42.1.20", ""},
		{"10.42.0.10", "203.0.113.7", "MASQUERADE"},
		{"10.42.0.10", "192.168.1.6", "MASQUERADE"},
		{"10.42.0.10", "224.0.0.251", ""},
		{"192.168.1.5", "203.0.113.7", ""},
		{"192.168.1.5", "10.42.1.20", ""},
	} {
		if got := e.verdict("POSTROUTING", packet{src: c.src, dst: c.dst, proto: "tcp"}); got != c.want {
			t.Errorf("%s -> %s: %q, want %q", c.src, c.dst, got, c.want)
		}
	}
}

// The real iptables takes the text, keeps it, and a second run finds nothing to do. It runs in a
// network namespace of its own and is left out where that is not possible.
func TestRealIptables(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root for a network namespace")
	}
	for _, tool := range []string{"ip", "iptables-save", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("netpol-test-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("no network namespace: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	host := netnsIptables(name)
	ctx := context.Background()
	if _, err := host.save(ctx, "filter"); err != nil {
		t.Fatal(err)
	}

	pods := netip.MustParsePrefix("10.42.0.0/16")
	wide := policyTable(cluster(denyAll, webToSQL, sqlForWeb))
	for _, table := range []tableSpec{wide, forwardTable(pods), masqueradeTable(pods)} {
		k := newKeeper(host)
		ensure(t, k, table, true)
		ensure(t, k, table, false)
		ensure(t, newKeeper(host), table, true)
	}
	k := newKeeper(host)
	ensure(t, k, policyTable(cluster(sqlForWeb)), true)
	if err := host.restore(ctx, "*filter\n-I FORWARD 1 -j ACCEPT\nCOMMIT\n"); err != nil {
		t.Fatal(err)
	}
	ensure(t, k, policyTable(cluster(sqlForWeb)), true)
	save, err := host.save(ctx, "filter")
	if err != nil {
		t.Fatal(err)
	}
	if got := parseSave(save).jumpsInto("FORWARD", policyChain); len(got) != 1 || got[0] != 0 {
		t.Errorf("jumps at %v in:\n%s", got, save)
	}
	if err := removeChains(ctx, host, "filter", policyChain); err != nil {
		t.Fatal(err)
	}
	if save, err = host.save(ctx, "filter"); err != nil || strings.Contains(save, policyChain) {
		t.Errorf("left: %v\n%s", err, save)
	}
	if !strings.Contains(save, forwardChain) {
		t.Errorf("chains of others are gone:\n%s", save)
	}
}

type netnsIptables string

func (n netnsIptables) save(ctx context.Context, table string) (string, error) {
	return runTool(ctx, "", "ip", "netns", "exec", string(n), "iptables-save", "-t", table)
}

func (n netnsIptables) restore(ctx context.Context, input string) error {
	_, err := runTool(ctx, input, "ip", "netns", "exec", string(n), "iptables-restore", "--noflush", "-w", "5")
	return err
}
