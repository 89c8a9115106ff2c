package network

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func testNode(name, cidr, ip string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: cidr}}
	if ip != "" {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: ip}}
	}
	return n
}

func TestWriteConflist(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net.d")
	path := filepath.Join(dir, cniFile)
	cidr := netip.MustParsePrefix("10.42.3.0/24")
	if wrote, err := writeConflist(dir, cidr); err != nil || !wrote {
		t.Fatalf("wrote %v, %v", wrote, err)
	}
	if wrote, err := writeConflist(dir, cidr); err != nil || wrote {
		t.Fatalf("wrote the same again: %v, %v", wrote, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		CNIVersion, Name string
		Plugins          []struct {
			Type, Bridge                   string
			IsGateway, IPMasq, HairpinMode bool
			Capabilities                   map[string]bool
			IPAM                           struct {
				Type   string
				Ranges [][]struct{ Subnet string }
				Routes []struct{ Dst string }
			}
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	bridge, portmap := got.Plugins[0], got.Plugins[1]
	if got.Name != "cbr0" || bridge.Type != "bridge" || bridge.Bridge != "cni0" || !bridge.IsGateway || bridge.IPMasq || !bridge.HairpinMode {
		t.Errorf("bridge: %+v", got)
	}
	if bridge.IPAM.Type != "host-local" || bridge.IPAM.Ranges[0][0].Subnet != "10.42.3.0/24" || bridge.IPAM.Routes[0].Dst != "0.0.0.0/0" {
		t.Errorf("ipam: %+v", bridge.IPAM)
	}
	if portmap.Type != "portmap" || !portmap.Capabilities["portMappings"] {
		t.Errorf("portmap: %+v", portmap)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v %v", entries, err)
	}
}

func TestNodePodCIDR(t *testing.T) {
	dual := testNode("n", "fd00::/64", "")
	dual.Spec.PodCIDRs = []string{"fd00::/64", "10.42.0.0/24"}
	if got, ok := nodePodCIDR(dual); !ok || got.String() != "10.42.0.0/24" {
		t.Errorf("%v %v", got, ok)
	}
	if _, ok := nodePodCIDR(testNode("n", "", "")); ok {
		t.Error("a node without a range has one")
	}
}

func TestWantedRoutes(t *testing.T) {
	nodes := []*corev1.Node{
		testNode("n1", "10.42.0.0/24", "192.168.1.5"),
		testNode("n2", "10.42.1.0/24", "192.168.1.6"),
		testNode("no-address", "10.42.2.0/24", ""),
		testNode("no-range", "", "192.168.1.7"),
		testNode("overlap", "10.42.0.0/16", "192.168.1.8"),
	}
	want := map[netip.Prefix]netip.Addr{netip.MustParsePrefix("10.42.1.0/24"): netip.MustParseAddr("192.168.1.6")}
	if got := wantedRoutes(nodes, "n1"); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

type fakeRoutes struct {
	have   map[netip.Prefix]netip.Addr
	broken netip.Prefix
}

func (f *fakeRoutes) list() (map[netip.Prefix]netip.Addr, error) {
	out := map[netip.Prefix]netip.Addr{}
	for k, v := range f.have {
		out[k] = v
	}
	return out, nil
}

func (f *fakeRoutes) replace(c netip.Prefix, via netip.Addr) error {
	if c == f.broken {
		return errors.New("network is unreachable")
	}
	f.have[c] = via
	return nil
}

func (f *fakeRoutes) remove(c netip.Prefix, _ netip.Addr) error {
	delete(f.have, c)
	return nil
}

func TestSyncRoutes(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	table := &fakeRoutes{broken: p("10.42.9.0/24"), have: map[netip.Prefix]netip.Addr{
		p("10.42.1.0/24"): a("192.168.1.6"),
		p("10.42.2.0/24"): a("192.168.1.7"), // the node has moved
		p("10.42.3.0/24"): a("192.168.1.8"), // the node is gone
	}}
	wanted := map[netip.Prefix]netip.Addr{
		p("10.42.1.0/24"): a("192.168.1.6"),
		p("10.42.2.0/24"): a("192.168.1.17"),
		p("10.42.9.0/24"): a("172.16.0.1"),
	}
	changes, err := syncRoutes(table, wanted)
	if err == nil || !strings.Contains(err.Error(), "10.42.9.0/24 via 172.16.0.1") {
		t.Errorf("error: %v", err)
	}
	if got := strings.Join(changes, "; "); got != "10.42.2.0/24 via 192.168.1.17; removed 10.42.3.0/24 via 192.168.1.8" {
		t.Errorf("changes: %s", got)
	}
	delete(wanted, p("10.42.9.0/24"))
	if !reflect.DeepEqual(table.have, wanted) {
		t.Errorf("routes: %v", table.have)
	}
	if changes, err := syncRoutes(table, wanted); err != nil || len(changes) != 0 {
		t.Errorf("nothing to do, but: %v %v", changes, err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not reached: %s", what)
}

// lockedIptables lets the test look while the controller works.
type lockedIptables struct {
	lock chan struct{}
	*fakeIptables
}

func (l lockedIptables) save(ctx context.Context, table string) (string, error) {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	return l.fakeIptables.save(ctx, table)
}

func (l lockedIptables) restore(ctx context.Context, input string) error {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	return l.fakeIptables.restore(ctx, input)
}

func (l lockedIptables) has(chain string) bool {
	l.lock <- struct{}{}
	defer func() { <-l.lock }()
	return contains(l.chains, chain)
}

func TestController(t *testing.T) {
	in := cluster()
	client := fake.NewClientset(testNode("n1", "", "192.168.1.5"), in.Pods[0], in.Namespaces[0])
	host := lockedIptables{make(chan struct{}, 1), newFakeIptables("INPUT", "FORWARD", "POSTROUTING")}
	dir := t.TempDir()
	c := newController(config{nodeName: "n1", cniConfDir: dir, clusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), cni: true, networkPolicy: true},
		host, &fakeRoutes{have: map[netip.Prefix]netip.Addr{}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.run(ctx, client) }()

	for _, name := range []string{policyChain, forwardChain, postroutingChain} {
		eventually(t, name, func() bool { return host.has(name) })
	}
	path := filepath.Join(dir, cniFile)
	if _, err := os.Stat(path); err == nil {
		t.Error("a CNI configuration without a podCIDR")
	}
	if _, err := client.CoreV1().Nodes().Update(ctx, testNode("n1", "10.42.0.0/24", "192.168.1.5"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "CNI configuration", func() bool { _, err := os.Stat(path); return err == nil })

	if _, err := client.NetworkingV1().NetworkPolicies("shop").Create(ctx, denyAll, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	web := (&pod{namespace: "shop", name: "web"}).chainName(ingressPrefix)
	eventually(t, "the chain of web", func() bool { return host.has(web) })
	if err := client.NetworkingV1().NetworkPolicies("shop").Delete(ctx, "deny", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the chain of web is gone", func() bool { return !host.has(web) })

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !host.has(policyChain) {
		t.Error("the end of the program removed the rules")
	}
}

func TestNoNetworkPolicyRemovesTheRules(t *testing.T) {
	host := newFakeIptables("INPUT", "FORWARD")
	ensure(t, newKeeper(host), policyTable(cluster(denyAll)), true)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := newController(config{nodeName: "n1"}, host, &fakeRoutes{})
	if err := c.run(ctx, fake.NewClientset()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(host.chains, " "); got != "INPUT FORWARD" {
		t.Errorf("chains: %s", got)
	}
}

func TestRelevant(t *testing.T) {
	node := testNode("n", "10.42.0.0/24", "192.168.1.5")
	beat := node.DeepCopy()
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	if relevant(node, beat) {
		t.Error("a heartbeat is not relevant")
	}
	if !relevant(testNode("n", "", "192.168.1.5"), node) {
		t.Error("a new podCIDR is relevant")
	}
	pod := cluster().Pods[0]
	for what, change := range map[string]func(*corev1.Pod){
		"label":   func(p *corev1.Pod) { p.Labels = map[string]string{"app": "x"} },
		"address": func(p *corev1.Pod) { p.Status.PodIP = "10.42.0.99" },
		"phase":   func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
	} {
		changed := pod.DeepCopy()
		change(changed)
		if !relevant(pod, changed) {
			t.Errorf("%s is relevant", what)
		}
	}
	ready := pod.DeepCopy()
	ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady}}
	if relevant(pod, ready) {
		t.Error("readiness is not relevant")
	}
}

func TestOptions(t *testing.T) {
	good := options{kubeconfig: "f", nodeName: "n", cniConfDir: "d", clusterCIDR: "10.42.0.0/16"}
	if _, err := good.config(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*options){
		"--kubeconfig":   func(o *options) { o.kubeconfig = "" },
		"--node-name":    func(o *options) { o.nodeName = "" },
		"--cni-conf-dir": func(o *options) { o.cniConfDir = "" },
		"--cluster-cidr": func(o *options) { o.clusterCIDR = "fd00::/48" },
	} {
		bad := good
		change(&bad)
		if _, err := bad.config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	good.noCNI, good.cniConfDir = true, ""
	if _, err := good.config(); err != nil {
		t.Error(err)
	}
}

func TestUnusableKubeconfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	for name, text := range map[string]string{"missing": "", "broken": "{not yaml", "empty": "{}"} {
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := NewCommand()
		cmd.SetArgs([]string{"--kubeconfig", path, "--node-name", "n", "--no-cni"})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "the kubeconfig "+path+" is unusable") {
			t.Errorf("%s: %v", name, err)
		}
		os.Remove(path)
	}
}

func TestSysctl(t *testing.T) {
	proc := t.TempDir()
	if err := enableForwarding(proc); err == nil {
		t.Error("no error though there is no such file")
	}
	path := filepath.Join(proc, "sys/net/ipv4/ip_forward")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := enableForwarding(proc); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "1" {
		t.Errorf("%q", text)
	}
}
