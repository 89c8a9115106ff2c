package network

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The cast: addresses by name, so that a case can say "web" instead of 10.42.0.10.
var addresses = map[string]string{
	"web":      "10.42.0.10",
	"postgres": "10.42.0.11",
	"dns":      "10.42.0.12",
	"monitor":  "10.42.0.13", // in namespace monitoring, label app=prometheus
	"stranger": "10.42.0.14", // in namespace monitoring, label app=other
	"impostor": "10.42.0.15", // in namespace other, label app=prometheus
	"remote":   "10.42.1.20", // app=web in namespace shop, on the other node
	"node":     "192.168.1.5",
	"world":    "203.0.113.7",
}

func testPod(namespace, name, node string, labels map[string]string, ports ...corev1.ContainerPort) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Ports: ports}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: addresses[name]},
	}
}

func testNamespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func cluster(policies ...*netv1.NetworkPolicy) policyInput {
	return policyInput{
		Node: "n1",
		Pods: []*corev1.Pod{
			testPod("shop", "web", "n1", map[string]string{"app": "web"},
				corev1.ContainerPort{Name: "http", ContainerPort: 8080}, corev1.ContainerPort{Name: "http", ContainerPort: 8443, Protocol: corev1.ProtocolUDP}),
			testPod("shop", "postgres", "n1", map[string]string{"app": "postgres"}, corev1.ContainerPort{Name: "sql", ContainerPort: 5432}),
			testPod("kube-system", "dns", "n1", map[string]string{"k8s-app": "kube-dns"}, corev1.ContainerPort{Name: "sql", ContainerPort: 5353}),
			testPod("monitoring", "monitor", "n1", map[string]string{"app": "prometheus"}),
			testPod("monitoring", "stranger", "n1", map[string]string{"app": "other"}),
			testPod("other", "impostor", "n1", map[string]string{"app": "prometheus"}),
			testPod("shop", "remote", "n2", map[string]string{"app": "web"}),
		},
		Namespaces: []*corev1.Namespace{
			testNamespace("shop", map[string]string{"name": "shop"}),
			testNamespace("kube-system", map[string]string{"name": "kube-system"}),
			testNamespace("monitoring", map[string]string{"name": "monitoring"}),
			testNamespace("other", nil),
		},
		Policies: policies,
	}
}

func policy(name string, selector metav1.LabelSelector, spec netv1.NetworkPolicySpec) *netv1.NetworkPolicy {
	spec.PodSelector = selector
	return &netv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: spec}
}

func app(name string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func appPeer(name string) netv1.NetworkPolicyPeer {
	s := app(name)
	return netv1.NetworkPolicyPeer{PodSelector: &s}
}

func block(cidr string, except ...string) netv1.NetworkPolicyPeer {
	return netv1.NetworkPolicyPeer{IPBlock: &netv1.IPBlock{CIDR: cidr, Except: except}}
}

func port(protocol corev1.Protocol, p any, end ...int32) netv1.NetworkPolicyPort {
	out := netv1.NetworkPolicyPort{Protocol: &protocol}
	if protocol == "" {
		out.Protocol = nil
	}
	switch v := p.(type) {
	case int:
		n := intstr.FromInt32(int32(v))
		out.Port = &n
	case string:
		n := intstr.FromString(v)
		out.Port = &n
	}
	if len(end) > 0 {
		out.EndPort = &end[0]
	}
	return out
}

var (
	everyPod = metav1.LabelSelector{}
	both     = []netv1.PolicyType{netv1.PolicyTypeIngress, netv1.PolicyTypeEgress}
	inOnly   = []netv1.PolicyType{netv1.PolicyTypeIngress}
	outOnly  = []netv1.PolicyType{netv1.PolicyTypeEgress}

	denyAll   = policy("deny", everyPod, netv1.NetworkPolicySpec{PolicyTypes: both})
	webToSQL  = policy("web-out", app("web"), netv1.NetworkPolicySpec{PolicyTypes: outOnly, Egress: []netv1.NetworkPolicyEgressRule{{To: []netv1.NetworkPolicyPeer{appPeer("postgres")}, Ports: []netv1.NetworkPolicyPort{port("TCP", 5432)}}}})
	sqlForWeb = policy("sql-in", app("postgres"), netv1.NetworkPolicySpec{PolicyTypes: inOnly, Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{appPeer("web")}, Ports: []netv1.NetworkPolicyPort{port("TCP", 5432)}}}})
)

// flow reads "web -> postgres tcp/5432".
func flow(t *testing.T, text string) (chain string, p packet) {
	t.Helper()
	var src, dst, service string
	if n, _ := fmt.Sscanf(text, "%s -> %s %s", &src, &dst, &service); n != 3 {
		t.Fatalf("flow %q", text)
	}
	resolve := func(s string) string {
		if a, ok := addresses[s]; ok {
			return a
		}
		return s
	}
	proto, number, _ := strings.Cut(service, "/")
	p = packet{src: resolve(src), dst: resolve(dst), proto: proto}
	fmt.Sscan(number, &p.port)
	if dst == "node" {
		return "INPUT", p
	}
	return "FORWARD", p
}

func evaluate(t *testing.T, in policyInput) *evaluator {
	t.Helper()
	table := policyTable(in)
	var edits []string
	for _, j := range table.Jumps {
		edits = append(edits, savedTable{}.jumpEdits(j, true)...)
	}
	return newEvaluator(t, table.restoreInput(savedTable{}, edits))
}

func TestPolicies(t *testing.T) {
	monitoring := metav1.LabelSelector{MatchLabels: map[string]string{"name": "monitoring"}}
	prometheus := app("prometheus")
	always := corev1.ContainerRestartPolicyAlways

	cases := []struct {
		name     string
		policies []*netv1.NetworkPolicy
		change   func(*policyInput)
		allowed  []string
		denied   []string
	}{
		{
			name:    "no policy, no rule",
			allowed: []string{"web -> postgres tcp/5432", "world -> web tcp/8080", "web -> world udp/53", "web -> node tcp/6443"},
		},
		{
			name:     "default deny both ways",
			policies: []*netv1.NetworkPolicy{denyAll},
			allowed:  []string{"monitor -> stranger tcp/80", "monitor -> world tcp/443", "web -> web tcp/8080"},
			denied: []string{"web -> postgres tcp/5432", "web -> world tcp/443", "web -> dns udp/53", "web -> node tcp/6443",
				"world -> web tcp/8080", "monitor -> web tcp/8080", "remote -> web tcp/8080", "web -> remote icmp/0"},
		},
		{
			name:     "web may reach postgres on 5432 and nothing else",
			policies: []*netv1.NetworkPolicy{denyAll, webToSQL, sqlForWeb},
			allowed:  []string{"web -> postgres tcp/5432", "remote -> postgres tcp/5432"},
			denied: []string{"web -> postgres tcp/22", "web -> postgres udp/5432", "postgres -> web tcp/5432", "monitor -> postgres tcp/5432",
				"web -> monitor tcp/5432", "web -> world tcp/5432", "web -> postgres icmp/0"},
		},
		{
			name:     "the ingress of the destination alone is not enough",
			policies: []*netv1.NetworkPolicy{denyAll, sqlForWeb},
			allowed:  []string{"remote -> postgres tcp/5432"}, // its own node judges the egress of remote
			denied:   []string{"web -> postgres tcp/5432"},
		},
		{
			name:     "the egress of the source alone is not enough",
			policies: []*netv1.NetworkPolicy{denyAll, webToSQL},
			denied:   []string{"web -> postgres tcp/5432", "remote -> postgres tcp/5432"},
		},
		{
			name:     "a pod that a policy allows as source is still bound by its own egress",
			policies: []*netv1.NetworkPolicy{sqlForWeb, policy("web-none", app("web"), netv1.NetworkPolicySpec{PolicyTypes: outOnly})},
			denied:   []string{"web -> postgres tcp/5432"},
			allowed:  []string{"postgres -> web tcp/8080"},
		},
		{
			name: "policyTypes left out: ingress always",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{appPeer("postgres")}}}})},
			allowed: []string{"web -> world tcp/443", "postgres -> web tcp/1"},
			denied:  []string{"monitor -> web tcp/8080"},
		},
		{
			name: "policyTypes left out: egress too if there are egress rules",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{
				Egress: []netv1.NetworkPolicyEgressRule{{To: []netv1.NetworkPolicyPeer{appPeer("postgres")}}}})},
			allowed: []string{"web -> postgres tcp/5432"},
			denied:  []string{"web -> world tcp/443", "monitor -> web tcp/8080"},
		},
		{
			name: "egress only does not isolate ingress",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: outOnly,
				Egress: []netv1.NetworkPolicyEgressRule{{}}})},
			allowed: []string{"world -> web tcp/8080", "web -> world udp/53", "web -> node tcp/6443"},
		},
		{
			name: "an empty rule allows everything",
			policies: []*netv1.NetworkPolicy{denyAll, policy("open", app("web"), netv1.NetworkPolicySpec{PolicyTypes: both,
				Ingress: []netv1.NetworkPolicyIngressRule{{}}, Egress: []netv1.NetworkPolicyEgressRule{{}}})},
			allowed: []string{"world -> web sctp/9", "web -> world tcp/443", "web -> world icmp/0"},
			denied:  []string{"web -> postgres tcp/5432"},
		},
		{
			name: "ports without peers",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: both,
				Ingress: []netv1.NetworkPolicyIngressRule{{Ports: []netv1.NetworkPolicyPort{port("", 8080)}}},
				Egress:  []netv1.NetworkPolicyEgressRule{{Ports: []netv1.NetworkPolicyPort{port("UDP", 53), port("TCP", 53)}}}})},
			allowed: []string{"world -> web tcp/8080", "web -> dns udp/53", "web -> world tcp/53"},
			denied:  []string{"world -> web udp/8080", "world -> web tcp/8081", "web -> world tcp/443"},
		},
		{
			name: "a protocol without a port is every port of it",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{Ports: []netv1.NetworkPolicyPort{port("SCTP", nil)}}}})},
			allowed: []string{"world -> web sctp/1", "world -> web sctp/65535"},
			denied:  []string{"world -> web tcp/1", "world -> web udp/1"},
		},
		{
			name: "endPort",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{Ports: []netv1.NetworkPolicyPort{port("TCP", 8000, 8010)}}}})},
			allowed: []string{"world -> web tcp/8000", "world -> web tcp/8005", "world -> web tcp/8010"},
			denied:  []string{"world -> web tcp/7999", "world -> web tcp/8011", "world -> web udp/8005"},
		},
		{
			name: "named port of ingress is looked up in the selected pod, with its protocol",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{Ports: []netv1.NetworkPolicyPort{port("TCP", "http")}}}})},
			allowed: []string{"world -> web tcp/8080"},
			denied:  []string{"world -> web udp/8080", "world -> web tcp/8443", "world -> web udp/8443"},
		},
		{
			name: "named port of egress is looked up in each destination",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: outOnly,
				Egress: []netv1.NetworkPolicyEgressRule{{To: []netv1.NetworkPolicyPeer{{NamespaceSelector: &everyPod}}, Ports: []netv1.NetworkPolicyPort{port("TCP", "sql")}}}})},
			allowed: []string{"web -> postgres tcp/5432", "web -> dns tcp/5353"},
			denied:  []string{"web -> postgres tcp/5353", "web -> dns tcp/5432", "web -> world tcp/5432"},
		},
		{
			name: "named port of egress to anywhere is every pod that has it",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: outOnly,
				Egress: []netv1.NetworkPolicyEgressRule{{Ports: []netv1.NetworkPolicyPort{port("TCP", "sql")}}}})},
			allowed: []string{"web -> postgres tcp/5432", "web -> dns tcp/5353"},
			denied:  []string{"web -> postgres tcp/5353", "web -> world tcp/5432", "web -> monitor tcp/1"},
		},
		{
			name: "named port of a sidecar",
			change: func(in *policyInput) {
				in.Pods[0].Spec.InitContainers = []corev1.Container{
					{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9100}}},
					{Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9200}}}, // has ended
				}
			},
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{Ports: []netv1.NetworkPolicyPort{port("TCP", "metrics")}}}})},
			allowed: []string{"world -> web tcp/9100"},
			denied:  []string{"world -> web tcp/9200"},
		},
		{
			name: "ipBlock with exceptions",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: both,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{block("203.0.113.0/24", "203.0.113.0/29")}}},
				Egress:  []netv1.NetworkPolicyEgressRule{{To: []netv1.NetworkPolicyPeer{block("0.0.0.0/0", "10.0.0.0/8", "192.168.1.5/32")}, Ports: []netv1.NetworkPolicyPort{port("TCP", 443)}}}})},
			allowed: []string{"203.0.113.8 -> web tcp/1", "203.0.113.255 -> web tcp/1", "web -> world tcp/443", "web -> 9.255.255.255 tcp/443", "web -> 11.0.0.0 tcp/443", "web -> 192.168.1.4 tcp/443"},
			denied:  []string{"203.0.113.7 -> web tcp/1", "203.0.112.8 -> web tcp/1", "web -> world tcp/80", "web -> 10.255.0.1 tcp/443", "web -> postgres tcp/443", "web -> node tcp/443"},
		},
		{
			name: "an exception of one block does not bind another peer",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: outOnly,
				Egress: []netv1.NetworkPolicyEgressRule{{To: []netv1.NetworkPolicyPeer{block("0.0.0.0/0", "10.42.0.0/16"), appPeer("postgres")}}}})},
			allowed: []string{"web -> world tcp/1", "web -> postgres tcp/1"},
			denied:  []string{"web -> dns udp/53"},
		},
		{
			name: "IPv6 blocks allow nothing",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{block("::/0"), block("nonsense")}}}})},
			denied: []string{"world -> web tcp/1"},
		},
		{
			name: "namespaceSelector AND podSelector in one peer",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{NamespaceSelector: &monitoring, PodSelector: &prometheus}}}}})},
			allowed: []string{"monitor -> web tcp/8080"},
			denied:  []string{"stranger -> web tcp/8080", "impostor -> web tcp/8080", "postgres -> web tcp/8080"},
		},
		{
			name: "namespaceSelector OR podSelector in two peers",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{NamespaceSelector: &monitoring}, appPeer("postgres")}}}})},
			allowed: []string{"monitor -> web tcp/8080", "stranger -> web tcp/8080", "postgres -> web tcp/8080"},
			denied:  []string{"impostor -> web tcp/8080", "dns -> web tcp/8080"},
		},
		{
			name: "a podSelector alone stays in the namespace of the policy",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{PodSelector: &everyPod}}}}})},
			allowed: []string{"postgres -> web tcp/1", "remote -> web tcp/1"},
			denied:  []string{"monitor -> web tcp/1", "world -> web tcp/1", "192.168.1.6 -> web tcp/1"},
		},
		{
			name: "an empty namespaceSelector is every pod, but not the world",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{NamespaceSelector: &everyPod}}}}})},
			allowed: []string{"monitor -> web tcp/1", "impostor -> web tcp/1"},
			denied:  []string{"world -> web tcp/1"},
		},
		{
			name: "matchExpressions",
			policies: []*netv1.NetworkPolicy{policy("p",
				metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web"}}}},
				netv1.NetworkPolicySpec{PolicyTypes: inOnly})},
			allowed: []string{"world -> web tcp/1"},
			denied:  []string{"world -> postgres tcp/1"},
		},
		{
			name: "a peer with nothing in it allows nothing",
			policies: []*netv1.NetworkPolicy{policy("p", app("web"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{}}}}})},
			denied: []string{"postgres -> web tcp/1", "world -> web tcp/1"},
		},
		{
			name: "several policies add up",
			policies: []*netv1.NetworkPolicy{sqlForWeb, policy("p", app("postgres"), netv1.NetworkPolicySpec{PolicyTypes: inOnly,
				Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{NamespaceSelector: &monitoring}}, Ports: []netv1.NetworkPolicyPort{port("TCP", 9187)}}}})},
			allowed: []string{"web -> postgres tcp/5432", "monitor -> postgres tcp/9187"},
			denied:  []string{"monitor -> postgres tcp/5432", "web -> postgres tcp/9187"},
		},
		{
			name: "pods on the host's network are neither bound nor peers",
			change: func(in *policyInput) {
				in.Pods[0].Spec.HostNetwork = true
			},
			policies: []*netv1.NetworkPolicy{denyAll, sqlForWeb},
			allowed:  []string{"world -> web tcp/1", "web -> world tcp/1"},
			denied:   []string{"web -> postgres tcp/5432"},
		},
		{
			name: "pods that have ended are neither bound nor peers",
			change: func(in *policyInput) {
				in.Pods[0].Status.Phase = corev1.PodSucceeded
				in.Pods[6].Status.Phase = corev1.PodFailed
			},
			policies: []*netv1.NetworkPolicy{denyAll, sqlForWeb},
			allowed:  []string{"world -> web tcp/1"},
			denied:   []string{"web -> postgres tcp/5432", "remote -> postgres tcp/5432"},
		},
		{
			name: "pods without an IPv4 address are left out",
			change: func(in *policyInput) {
				in.Pods[0].Status.PodIP = ""
				in.Pods[6].Status.PodIP = "fd00::1"
			},
			policies: []*netv1.NetworkPolicy{denyAll, sqlForWeb},
			denied:   []string{"web -> postgres tcp/5432", "remote -> postgres tcp/5432", "world -> postgres tcp/5432"},
		},
		{
			name: "the IPv4 address of a dual-stack pod",
			change: func(in *policyInput) {
				in.Pods[0].Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "fd00::1", PodIPs: []corev1.PodIP{{IP: "fd00::1"}, {IP: addresses["web"]}}}
			},
			policies: []*netv1.NetworkPolicy{denyAll},
			denied:   []string{"world -> web tcp/1"},
		},
		{
			name: "a policy of another namespace selects nothing here",
			policies: []*netv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "deny"},
				Spec: netv1.NetworkPolicySpec{PolicyTypes: both}}},
			allowed: []string{"world -> web tcp/1", "web -> postgres tcp/1"},
			denied:  []string{"world -> impostor tcp/1"},
		},
		{
			name:     "pods of other nodes are judged there",
			policies: []*netv1.NetworkPolicy{denyAll},
			allowed:  []string{"world -> remote tcp/1", "remote -> world tcp/1"},
		},
		{
			name:     "without a node all pods are judged",
			change:   func(in *policyInput) { in.Node = "" },
			policies: []*netv1.NetworkPolicy{denyAll},
			denied:   []string{"world -> remote tcp/1", "remote -> world tcp/1"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := cluster(c.policies...)
			if c.change != nil {
				c.change(&in)
			}
			e := evaluate(t, in)
			check := func(flows []string, want string) {
				for _, f := range flows {
					from, p := flow(t, f)
					if got := e.verdict(from, p); got != want {
						t.Errorf("%s: verdict %q, want %q", f, got, want)
					}
					p.established = true
					if got := e.verdict(from, p); got != "" {
						t.Errorf("%s, established: verdict %q", f, got)
					}
				}
			}
			check(c.allowed, "")
			check(c.denied, "REJECT")
		})
	}
}

// What the node sends to its pods leaves through OUTPUT, which must have no rules.
func TestNodeReachesItsPods(t *testing.T) {
	for _, j := range policyTable(cluster(denyAll)).Jumps {
		if j.Chain != "FORWARD" && j.Chain != "INPUT" {
			t.Errorf("jump from %s", j.Chain)
		}
	}
}

func TestPolicyTextIsDeterministic(t *testing.T) {
	in := cluster(denyAll, webToSQL, sqlForWeb)
	want := policyTable(in).text()
	for i := 0; i < 20; i++ {
		rand.Shuffle(len(in.Pods), func(a, b int) { in.Pods[a], in.Pods[b] = in.Pods[b], in.Pods[a] })
		rand.Shuffle(len(in.Policies), func(a, b int) { in.Policies[a], in.Policies[b] = in.Policies[b], in.Policies[a] })
		rand.Shuffle(len(in.Namespaces), func(a, b int) { in.Namespaces[a], in.Namespaces[b] = in.Namespaces[b], in.Namespaces[a] })
		if got := policyTable(in).text(); got != want {
			t.Fatalf("the order of the input changed the text:\n%s\nwas:\n%s", got, want)
		}
	}
}

func TestPolicyText(t *testing.T) {
	got := policyTable(cluster(sqlForWeb)).text()
	want := `:NETPOL - [0:0]
:NETPOL-I-18dd7ed1fb616f82 - [0:0]
-A NETPOL -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A NETPOL -s 10.42.0.11 -d 10.42.0.11 -j RETURN
-A NETPOL -d 10.42.0.11 -m comment --comment "shop/postgres ingress" -j NETPOL-I-18dd7ed1fb616f82
-A NETPOL-I-18dd7ed1fb616f82 -s 10.42.0.10/32 -p tcp -m tcp --dport 5432 -j RETURN
-A NETPOL-I-18dd7ed1fb616f82 -s 10.42.1.20/32 -p tcp -m tcp --dport 5432 -j RETURN
-A NETPOL-I-18dd7ed1fb616f82 -j REJECT --reject-with icmp-port-unreachable
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// A long name must not make a comment that iptables refuses.
func TestLongNames(t *testing.T) {
	in := cluster(denyAll)
	in.Pods[0].Name = strings.Repeat("n", 253)
	for _, c := range policyTable(in).Chains {
		for _, r := range c.Rules {
			for _, f := range tokens(r) {
				if len(f) > 255 {
					t.Errorf("%d characters: %s", len(f), f)
				}
			}
		}
	}
}
