package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
)

// lab is a node in a network namespace: a bridge, and the pods of cluster() as namespaces on it.
type lab struct {
	t      *testing.T
	prefix string
}

func (l *lab) name(who string) string { return l.prefix + who }

// sh runs commands in the namespace of the node or a pod.
func (l *lab) sh(who, script string) {
	l.t.Helper()
	out, err := exec.Command("ip", "netns", "exec", l.name(who), "sh", "-ec", script).CombinedOutput()
	if err != nil {
		l.t.Fatalf("the laboratory cannot be built here: %s: %v: %s", script, err, out)
	}
}

// inside runs a function in a namespace. Its thread ends with it, as it belongs to that namespace.
func (l *lab) inside(who string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.GetFromName(l.name(who))
		if err == nil {
			defer ns.Close()
			if err = netns.Set(ns); err == nil {
				err = f()
			}
		}
		done <- err
	}()
	return <-done
}

func newLab(t *testing.T, pods ...string) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root for network namespaces")
	}
	for _, tool := range []string{"ip", "iptables-save", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
	l := &lab{t: t, prefix: fmt.Sprintf("np%d-", os.Getpid())}
	for _, who := range append([]string{"node"}, pods...) {
		name := l.name(who)
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Fatalf("no network namespace: %v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	}
	l.sh("node", `ip link set lo up; ip link add cni0 type bridge; ip addr add 10.42.0.1/24 dev cni0; ip link set cni0 up
		echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables`)
	for i, who := range pods {
		l.sh("node", fmt.Sprintf(`ip link add v%d type veth peer name eth0 netns %s; ip link set v%d master cni0 up`, i, l.name(who), i))
		l.sh(who, fmt.Sprintf(`ip link set lo up; ip addr add %s/24 dev eth0; ip link set eth0 up; ip route add default via 10.42.0.1`, addresses[who]))
	}
	return l
}

// listen answers on a port until the end of the test.
func (l *lab) listen(who, addr string) {
	l.t.Helper()
	err := l.inside(who, func() error {
		listener, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		l.t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					b := make([]byte, 1)
					for {
						if _, err := c.Read(b); err != nil {
							c.Close()
							return
						}
						c.Write(b)
					}
				}()
			}
		}()
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) dial(who, addr string) (conn net.Conn, err error) {
	err = l.inside(who, func() error {
		var err error
		conn, err = net.DialTimeout("tcp4", addr, 2*time.Second)
		return err
	})
	return conn, err
}

func echo(c net.Conn) error {
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// The rules hold in a real kernel. Left out where namespaces or bridge filtering are missing.
func TestTraffic(t *testing.T) {
	l := newLab(t, "web", "postgres", "monitor")
	for _, p := range []string{"5432", "8080"} {
		l.listen("postgres", ":"+p)
		l.listen("web", ":"+p)
	}
	l.listen("node", ":6443")
	sql, web := addresses["postgres"], addresses["web"]
	k := newKeeper(netnsIptables(l.name("node")))
	apply := func(policies ...*netv1.NetworkPolicy) {
		t.Helper()
		if _, err := k.ensure(context.Background(), policyTable(cluster(policies...))); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(open bool, from, addr string) {
		t.Helper()
		c, err := l.dial(from, addr)
		if c != nil {
			c.Close()
		}
		switch {
		case open && err != nil:
			t.Errorf("%s -> %s: %v", from, addr, err)
		case !open && err == nil:
			t.Errorf("%s -> %s is open", from, addr)
		case !open && !errors.Is(err, syscall.ECONNREFUSED):
			t.Errorf("%s -> %s is not refused but: %v", from, addr, err)
		}
	}

	apply()
	for _, from := range []string{"web", "monitor", "node"} {
		expect(true, from, sql+":5432")
	}
	expect(true, "web", "10.42.0.1:6443")
	old, err := l.dial("monitor", sql+":5432")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()

	apply(denyAll)
	expect(false, "web", sql+":5432")
	expect(false, "monitor", sql+":5432")
	expect(false, "web", "10.42.0.1:6443") // egress to the own node
	expect(true, "node", sql+":5432")      // a probe of the kubelet
	expect(true, "monitor", "10.42.0.1:6443")
	if err := echo(old); err != nil {
		t.Errorf("a connection that was open is cut: %v", err)
	}

	apply(denyAll, sqlForWeb) // only one of two sides
	expect(false, "web", sql+":5432")
	apply(denyAll, webToSQL)
	expect(false, "web", sql+":5432")

	apply(denyAll, webToSQL, sqlForWeb)
	expect(true, "web", sql+":5432")
	expect(false, "web", sql+":8080")
	expect(false, "postgres", web+":5432")
	expect(false, "monitor", sql+":5432")
	expect(true, "node", web+":8080")

	apply(policy("p", app("postgres"), netv1.NetworkPolicySpec{PolicyTypes: inOnly, Ingress: []netv1.NetworkPolicyIngressRule{{
		From:  []netv1.NetworkPolicyPeer{block("10.42.0.0/16", addresses["monitor"]+"/32")},
		Ports: []netv1.NetworkPolicyPort{port(corev1.ProtocolTCP, 5000, 6000)}}}}))
	expect(true, "web", sql+":5432")
	expect(false, "web", sql+":8080")
	expect(false, "monitor", sql+":5432")

	if err := removeChains(context.Background(), k.tool, "filter", policyChain); err != nil {
		t.Fatal(err)
	}
	expect(true, "monitor", sql+":5432")
	if save, _ := k.tool.save(context.Background(), "filter"); strings.Contains(save, policyChain) {
		t.Errorf("left:\n%s", save)
	}
}

// The routes reach the kernel, and routes of others stay.
func TestRealRoutes(t *testing.T) {
	l := newLab(t)
	l.sh("node", "ip route add 10.99.0.0/24 via 10.42.0.9")
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	for _, step := range []map[netip.Prefix]netip.Addr{
		{p("10.42.1.0/24"): a("10.42.0.2"), p("10.42.2.0/24"): a("10.42.0.3")},
		{p("10.42.1.0/24"): a("10.42.0.4")},
		{},
	} {
		err := l.inside("node", func() error {
			if _, err := syncRoutes(hostRoutes{}, step); err != nil {
				return err
			}
			have, err := hostRoutes{}.list()
			if err == nil && !reflect.DeepEqual(have, step) {
				err = fmt.Errorf("routes %v, want %v", have, step)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	out, err := exec.Command("ip", "-n", l.name("node"), "route", "show", "10.99.0.0/24").Output()
	if err != nil || !strings.Contains(string(out), "via 10.42.0.9") {
		t.Errorf("the route of somebody else: %q %v", out, err)
	}
}
