package network

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The names of the chains that hold the network policies. Every chain that starts with
// policyChain belongs to this program, which may flush and delete it.
const (
	policyChain   = "NETPOL"
	ingressPrefix = policyChain + "-I-"
	egressPrefix  = policyChain + "-E-"
)

// policyInput is everything the rules depend on.
type policyInput struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*netv1.NetworkPolicy
	// Node limits the rules to the pods of one node. Other nodes judge their own pods. Empty
	// means all pods.
	Node string
}

// policyTable turns pods, namespaces and policies into the chains of the filter table.
//
// NETPOL is entered from FORWARD (pod to pod, pod to world) and INPUT (pod to its own node). It
// first calls the egress chain of the source, then the ingress chain of the destination. Such a
// chain ends in REJECT and leaves by RETURN for what a policy allows, so that a packet which
// passed one side is still judged by the other one, and what passed both goes on to the rules
// of the host. Nothing is ever accepted here: a policy can close a way, it cannot open one that
// the firewall of the host has closed.
//
// There is no jump from OUTPUT: what the node itself sends to its pods (probes of the kubelet,
// the API server) always passes, as in Kubernetes practice.
//
// IPv4 only. IPv6 addresses and blocks are left out, as the pods here have none.
func policyTable(in policyInput) tableSpec {
	t := tableSpec{
		Table:  "filter",
		Prefix: policyChain,
		Jumps: []jump{
			{Chain: "FORWARD", Target: policyChain, Comment: "network policies", First: true},
			{Chain: "INPUT", Target: policyChain, Comment: "network policies", First: true},
		},
	}
	g := newGenerator(in)
	main := chain{Name: policyChain}
	main.add("-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN")
	var judged []chain
	var ingress []string
	for _, p := range g.pods {
		if in.Node != "" && p.node != in.Node {
			continue
		}
		egressPolicies, ingressPolicies := g.policiesFor(p)
		if len(egressPolicies)+len(ingressPolicies) > 0 {
			// A pod always reaches itself, also through a Service.
			main.add("-s %s -d %s -j RETURN", p.addr, p.addr)
		}
		if len(egressPolicies) > 0 {
			c := g.egressChain(p, egressPolicies)
			judged = append(judged, c)
			main.add("-s %s -m comment --comment %q -j %s", p.addr, comment(p, "egress"), c.Name)
		}
		if len(ingressPolicies) > 0 {
			c := g.ingressChain(p, ingressPolicies)
			judged = append(judged, c)
			ingress = append(ingress, fmt.Sprintf("-d %s -m comment --comment %q -j %s", p.addr, comment(p, "ingress"), c.Name))
		}
	}
	main.Rules = append(main.Rules, ingress...)
	sort.Slice(judged, func(i, j int) bool { return judged[i].Name < judged[j].Name })
	t.Chains = append([]chain{main}, judged...)
	return t
}

// comment names a pod in a rule. iptables takes at most 255 characters.
func comment(p *pod, direction string) string {
	name := p.key()
	if len(name) > 240 {
		name = name[:240]
	}
	return name + " " + direction
}

// pod is a pod that has an address of its own.
type pod struct {
	namespace, name, node string
	labels                labels.Set
	addr                  netip.Addr
	containers            []corev1.Container
}

func (p *pod) key() string { return p.namespace + "/" + p.name }

// chainName makes a name of 25 characters; iptables allows 28.
func (p *pod) chainName(prefix string) string {
	sum := sha256.Sum256([]byte(p.key()))
	return fmt.Sprintf("%s%x", prefix, sum[:8])
}

// namedPorts resolves the name of a port for one protocol.
func (p *pod) namedPorts(name, protocol string) []int32 {
	var found []int32
	for _, c := range p.containers {
		for _, port := range c.Ports {
			proto := corev1.ProtocolTCP
			if port.Protocol != "" {
				proto = port.Protocol
			}
			if port.Name == name && strings.ToLower(string(proto)) == protocol {
				found = append(found, port.ContainerPort)
			}
		}
	}
	return found
}

type generator struct {
	pods       []*pod // sorted by key
	namespaces map[string]labels.Set
	policies   []*netv1.NetworkPolicy
}

func newGenerator(in policyInput) *generator {
	g := &generator{namespaces: map[string]labels.Set{}, policies: in.Policies}
	for _, n := range in.Namespaces {
		g.namespaces[n.Name] = n.Labels
	}
	for _, p := range in.Pods {
		// Pods on the host's network share the node's address, so that rules for it would hit
		// the node. The address of a pod that has ended may belong to another one by now.
		if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		addr, ok := podAddr(p)
		if !ok {
			continue
		}
		q := &pod{namespace: p.Namespace, name: p.Name, node: p.Spec.NodeName, labels: p.Labels, addr: addr}
		q.containers = append(q.containers, p.Spec.Containers...)
		for _, c := range p.Spec.InitContainers {
			// A restartable init container is a sidecar: it listens as long as the pod runs.
			if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				q.containers = append(q.containers, c)
			}
		}
		g.pods = append(g.pods, q)
	}
	sort.Slice(g.pods, func(i, j int) bool {
		if g.pods[i].key() != g.pods[j].key() {
			return g.pods[i].key() < g.pods[j].key()
		}
		return g.pods[i].addr.Less(g.pods[j].addr)
	})
	return g
}

// podAddr is the first IPv4 address of a pod.
func podAddr(p *corev1.Pod) (netip.Addr, bool) {
	candidates := []string{p.Status.PodIP}
	for _, ip := range p.Status.PodIPs {
		candidates = append(candidates, ip.IP)
	}
	for _, s := range candidates {
		if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// policiesFor lists the policies that select a pod, for each direction.
func (g *generator) policiesFor(p *pod) (egress, ingress []*netv1.NetworkPolicy) {
	for _, np := range g.policies {
		if np.Namespace != p.namespace || !matches(&np.Spec.PodSelector, p.labels) {
			continue
		}
		in, out := directions(np)
		if in {
			ingress = append(ingress, np)
		}
		if out {
			egress = append(egress, np)
		}
	}
	return egress, ingress
}

// directions applies the default of policyTypes: ingress always, egress if there are rules for it.
func directions(np *netv1.NetworkPolicy) (ingress, egress bool) {
	if len(np.Spec.PolicyTypes) == 0 {
		return true, len(np.Spec.Egress) > 0
	}
	for _, t := range np.Spec.PolicyTypes {
		ingress = ingress || t == netv1.PolicyTypeIngress
		egress = egress || t == netv1.PolicyTypeEgress
	}
	return ingress, egress
}

// matches treats a selector that cannot be read as one that selects nothing.
func matches(s *metav1.LabelSelector, set labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(set)
}

// peer is one side of the traffic that a rule allows: addresses, and the pod behind them if known.
type peer struct {
	nets []netip.Prefix
	pod  *pod
}

// peers resolves the from or to list of one rule. any is true if the list is empty.
func (g *generator) peers(namespace string, list []netv1.NetworkPolicyPeer) (found []peer, any bool) {
	if len(list) == 0 {
		return nil, true
	}
	for _, from := range list {
		switch {
		case from.IPBlock != nil:
			found = append(found, peer{nets: blockNets(from.IPBlock)})
		case from.PodSelector != nil || from.NamespaceSelector != nil:
			for _, q := range g.pods {
				if from.NamespaceSelector != nil {
					set, known := g.namespaces[q.namespace]
					if !known || !matches(from.NamespaceSelector, set) {
						continue
					}
				} else if q.namespace != namespace {
					continue
				}
				if from.PodSelector == nil || matches(from.PodSelector, q.labels) {
					found = append(found, peer{nets: []netip.Prefix{netip.PrefixFrom(q.addr, 32)}, pod: q})
				}
			}
		}
	}
	return found, false
}

// blockNets is a block without its exceptions, as disjoint networks. Plain networks need no
// chain of their own, no marks and no kernel module.
func blockNets(b *netv1.IPBlock) []netip.Prefix {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil || !cidr.Addr().Is4() {
		return nil
	}
	nets := []netip.Prefix{cidr.Masked()}
	for _, e := range b.Except {
		except, err := netip.ParsePrefix(e)
		if err != nil || !except.Addr().Is4() {
			continue
		}
		nets = subtract(nets, except.Masked())
	}
	return nets
}

// portMatches is the part of a rule that matches protocol and port; destination is the pod that
// named ports are looked up in, or nil.
func portMatches(ports []netv1.NetworkPolicyPort, destination *pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var found []string
	for _, port := range ports {
		proto := "tcp"
		if port.Protocol != nil {
			proto = strings.ToLower(string(*port.Protocol))
		}
		match := fmt.Sprintf("-p %s -m %s --dport ", proto, proto)
		switch {
		case port.Port == nil:
			found = append(found, "-p "+proto)
		case port.Port.Type == intstr.String:
			// A name means nothing for an address that is no pod's.
			if destination == nil {
				continue
			}
			for _, n := range destination.namedPorts(port.Port.StrVal, proto) {
				found = append(found, fmt.Sprintf("%s%d", match, n))
			}
		case port.EndPort != nil && *port.EndPort != port.Port.IntVal:
			found = append(found, fmt.Sprintf("%s%d:%d", match, port.Port.IntVal, *port.EndPort))
		default:
			found = append(found, fmt.Sprintf("%s%d", match, port.Port.IntVal))
		}
	}
	return found
}

func (g *generator) ingressChain(p *pod, policies []*netv1.NetworkPolicy) chain {
	allowed := allowances{}
	for _, np := range policies {
		for _, rule := range np.Spec.Ingress {
			ports := portMatches(rule.Ports, p)
			from, any := g.peers(np.Namespace, rule.From)
			if any {
				allowed.add("", ports)
			}
			for _, f := range from {
				for _, n := range f.nets {
					allowed.add("-s "+n.String(), ports)
				}
			}
		}
	}
	return allowed.chain(p.chainName(ingressPrefix))
}

func (g *generator) egressChain(p *pod, policies []*netv1.NetworkPolicy) chain {
	allowed := allowances{}
	for _, np := range policies {
		for _, rule := range np.Spec.Egress {
			to, any := g.peers(np.Namespace, rule.To)
			if any {
				allowed.add("", portMatches(rule.Ports, nil))
				// A named port belongs to the destination, so "anywhere" means every pod
				// that has a port of this name.
				for _, q := range g.pods {
					allowed.add("-d "+q.addr.String()+"/32", portMatches(namedOnly(rule.Ports), q))
				}
			}
			for _, t := range to {
				for _, n := range t.nets {
					allowed.add("-d "+n.String(), portMatches(rule.Ports, t.pod))
				}
			}
		}
	}
	return allowed.chain(p.chainName(egressPrefix))
}

// namedOnly never returns an empty list for "all ports": without a named port it returns one
// that matches nothing.
func namedOnly(ports []netv1.NetworkPolicyPort) []netv1.NetworkPolicyPort {
	none := intstr.FromString("")
	named := []netv1.NetworkPolicyPort{{Port: &none}}
	for _, p := range ports {
		if p.Port != nil && p.Port.Type == intstr.String {
			named = append(named, p)
		}
	}
	return named
}

// allowances is a set of matches; a set, as several policies often allow the same.
type allowances map[string]bool

func (a allowances) add(address string, ports []string) {
	for _, p := range ports {
		a[strings.TrimSpace(address+" "+p)] = true
	}
}

func (a allowances) chain(name string) chain {
	c := chain{Name: name}
	if a[""] {
		// Everything is allowed; an empty chain returns.
		return c
	}
	all := make([]string, 0, len(a))
	for match := range a {
		all = append(all, match)
	}
	sort.Strings(all)
	for _, match := range all {
		c.add("%s -j RETURN", match)
	}
	c.add("-j REJECT --reject-with icmp-port-unreachable")
	return c
}
