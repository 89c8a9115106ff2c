package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	netlisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// debounce gathers the changes that come in a burst, as when a Deployment starts.
	debounce = 150 * time.Millisecond
	// resync repairs what others changed on the node.
	resync = 10 * time.Second
	// retryDelay is used after a failure instead of resync.
	retryDelay = time.Second
)

// config is what the command line sets.
type config struct {
	nodeName      string
	cniConfDir    string
	clusterCIDR   netip.Prefix
	cni           bool
	networkPolicy bool
}

type controller struct {
	config
	tool   iptables
	routes routeTable

	policyKeeper, forwardKeeper, masqueradeKeeper *keeper

	nodes      corelisters.NodeLister
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   netlisters.NetworkPolicyLister
}

func newController(c config, tool iptables, routes routeTable) *controller {
	return &controller{
		config: c, tool: tool, routes: routes,
		policyKeeper: newKeeper(tool), forwardKeeper: newKeeper(tool), masqueradeKeeper: newKeeper(tool),
	}
}

// run works until the context ends. It leaves rules and routes in place then: pods outlive a
// restart of this program, and so must what protects them.
func (c *controller) run(ctx context.Context, client kubernetes.Interface) error {
	if !c.networkPolicy {
		if err := removeChains(ctx, c.tool, "filter", policyChain); err != nil {
			return fmt.Errorf("remove the chains of network policies: %w", err)
		}
	}
	if err := waitForAPI(ctx, client, c.nodeName); err != nil {
		return nil // Only the end of the context ends the wait.
	}

	kick := make(chan struct{}, 1)
	wake := func() {
		select {
		case kick <- struct{}{}:
		default: // One is waiting already.
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() },
		UpdateFunc: func(before, after any) {
			if relevant(before, after) {
				wake()
			}
		},
		DeleteFunc: func(any) { wake() },
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	watch := func(i cache.SharedIndexInformer) error {
		_, err := i.AddEventHandler(handler)
		return err
	}
	var errs []error
	if c.cni {
		n := factory.Core().V1().Nodes()
		c.nodes = n.Lister()
		errs = append(errs, watch(n.Informer()))
	}
	if c.networkPolicy {
		p, n, np := factory.Core().V1().Pods(), factory.Core().V1().Namespaces(), factory.Networking().V1().NetworkPolicies()
		c.pods, c.namespaces, c.policies = p.Lister(), n.Lister(), np.Lister()
		errs = append(errs, watch(p.Informer()), watch(n.Informer()), watch(np.Informer()))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		// Rules from half of the objects would cut or open ways that should not be.
		if !synced && ctx.Err() == nil {
			return fmt.Errorf("no list of %s from the API", kind)
		}
	}
	klog.InfoS("Watching the cluster", "node", c.nodeName, "cni", c.cni, "networkPolicy", c.networkPolicy)

	for ctx.Err() == nil {
		wait := resync
		if err := c.sync(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Setting up the network failed, will try again")
			wait = retryDelay
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-kick:
			select {
			case <-ctx.Done():
			case <-time.After(debounce):
			}
		}
		timer.Stop()
	}
	return nil
}

// relevant filters the updates that change nothing here, above all the heartbeat of nodes.
func relevant(before, after any) bool {
	switch b := after.(type) {
	case *corev1.Node:
		a, ok := before.(*corev1.Node)
		if !ok {
			return true
		}
		cidrA, _ := nodePodCIDR(a)
		cidrB, _ := nodePodCIDR(b)
		ipA, _ := nodeInternalIP(a)
		ipB, _ := nodeInternalIP(b)
		return cidrA != cidrB || ipA != ipB
	case *corev1.Pod:
		a, ok := before.(*corev1.Pod)
		if !ok {
			return true
		}
		addrA, _ := podAddr(a)
		addrB, _ := podAddr(b)
		return a.UID != b.UID || addrA != addrB || a.Status.Phase != b.Status.Phase ||
			a.Spec.NodeName != b.Spec.NodeName || !labels.Equals(a.Labels, b.Labels)
	}
	return true
}

// waitForAPI tries until the API answers. It says why it waits, but not each second.
func waitForAPI(ctx context.Context, client kubernetes.Interface, nodeName string) error {
	last := ""
	for {
		_, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err == nil || apierrors.IsNotFound(err) {
			// The kubelet registers the node later; the watch will see it.
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err.Error() != last {
			klog.InfoS("Waiting for the API", "err", err)
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryDelay):
		}
	}
}

// sync brings everything in place. The parts do not wait for each other: a route that cannot be
// set must not keep a policy from being enforced.
func (c *controller) sync(ctx context.Context) error {
	var errs []error
	if c.networkPolicy {
		errs = append(errs, c.syncPolicies(ctx))
	}
	if c.cni {
		errs = append(errs, c.syncOverlay(ctx), c.syncNodes())
	}
	return errors.Join(errs...)
}

func (c *controller) syncPolicies(ctx context.Context) error {
	in := policyInput{Node: c.nodeName}
	var err error
	if in.Pods, err = c.pods.List(labels.Everything()); err != nil {
		return err
	}
	if in.Namespaces, err = c.namespaces.List(labels.Everything()); err != nil {
		return err
	}
	if in.Policies, err = c.policies.List(labels.Everything()); err != nil {
		return err
	}
	table := policyTable(in)
	wrote, err := c.policyKeeper.ensure(ctx, table)
	if err != nil {
		return fmt.Errorf("network policies: %w", err)
	}
	if wrote {
		klog.InfoS("Network policies applied", "policies", len(in.Policies), "chains", len(table.Chains)-1)
	}
	return nil
}

func (c *controller) syncOverlay(ctx context.Context) error {
	var errs []error
	for _, part := range []struct {
		keeper *keeper
		table  tableSpec
	}{
		{c.forwardKeeper, forwardTable(c.clusterCIDR)},
		{c.masqueradeKeeper, masqueradeTable(c.clusterCIDR)},
	} {
		wrote, err := part.keeper.ensure(ctx, part.table)
		if err != nil {
			errs = append(errs, fmt.Errorf("chain %s: %w", part.table.Prefix, err))
		} else if wrote {
			klog.InfoS("Chain put in place", "chain", part.table.Prefix)
		}
	}
	return errors.Join(errs...)
}

// syncNodes writes the CNI configuration from the own node and the routes from the others.
func (c *controller) syncNodes() error {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		if n.Name != c.nodeName {
			continue
		}
		cidr, ok := nodePodCIDR(n)
		if !ok {
			klog.V(2).InfoS("The node has no podCIDR yet", "node", n.Name)
			continue
		}
		wrote, err := writeConflist(c.cniConfDir, cidr)
		if err != nil {
			errs = append(errs, fmt.Errorf("CNI configuration: %w", err))
		} else if wrote {
			klog.InfoS("CNI configuration written", "dir", c.cniConfDir, "podCIDR", cidr)
		}
	}
	changes, err := syncRoutes(c.routes, wantedRoutes(nodes, c.nodeName))
	for _, change := range changes {
		klog.InfoS("Route changed", "route", change)
	}
	return errors.Join(append(errs, err)...)
}
