// Package network is the network of one node: the CNI configuration, the routes to the pods of
// other nodes, the rules for traffic that leaves the cluster, and the enforcement of network
// policies. It stands for flannel and the policy controller that K3s has built in.
package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"
)

type options struct {
	kubeconfig, nodeName, cniConfDir, cniBinDir, clusterCIDR string
	noCNI, noNetworkPolicy                                   bool
}

// NewCommand is the command "network".
func NewCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Set up the pod network of this node",
		Long: `Set up the pod network of this node: write the CNI configuration, route to the pods
of other nodes, masquerade what leaves the cluster, and enforce network policies.

IPv4 only. Nodes must share a network segment, as routes lead straight to them.
The firewall of the host is not opened: where its FORWARD chain rejects, pods
reach each other only after the host has made an exception.

The user of the kubeconfig must be allowed to list and watch nodes, pods,
namespaces and networkpolicies. Rules and routes stay in place when the program
ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return o.run(ctx)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "file with the address of the API and the credentials (required)")
	f.StringVar(&o.nodeName, "node-name", "", "name of this node in the cluster (required)")
	f.StringVar(&o.cniConfDir, "cni-conf-dir", "", "directory for "+cniFile+" (required unless --no-cni)")
	f.StringVar(&o.cniBinDir, "cni-bin-dir", "", "directory of the CNI plugins; accepted, but the container runtime is what uses it")
	f.StringVar(&o.clusterCIDR, "cluster-cidr", "10.42.0.0/16", "addresses of all pods of the cluster")
	f.BoolVar(&o.noCNI, "no-cni", false, "leave CNI configuration, routes and masquerading to somebody else")
	f.BoolVar(&o.noNetworkPolicy, "no-network-policy", false, "do not enforce network policies, and remove the rules of an earlier run")
	return cmd
}

// config checks the flags.
func (o options) config() (config, error) {
	var errs []error
	if o.kubeconfig == "" {
		errs = append(errs, errors.New("--kubeconfig is required"))
	}
	if o.nodeName == "" {
		errs = append(errs, errors.New("--node-name is required"))
	}
	if o.cniConfDir == "" && !o.noCNI {
		errs = append(errs, errors.New("--cni-conf-dir is required unless --no-cni is given"))
	}
	cidr, err := netip.ParsePrefix(o.clusterCIDR)
	if err != nil || !cidr.Addr().Is4() {
		errs = append(errs, fmt.Errorf("--cluster-cidr %q is not an IPv4 network", o.clusterCIDR))
	}
	return config{
		nodeName: o.nodeName, cniConfDir: o.cniConfDir, clusterCIDR: cidr.Masked(),
		cni: !o.noCNI, networkPolicy: !o.noNetworkPolicy,
	}, errors.Join(errs...)
}

func (o options) run(ctx context.Context) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("the kubeconfig %s is unusable: %w", o.kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return fmt.Errorf("the kubeconfig %s is unusable: %w", o.kubeconfig, err)
	}
	if err := enableForwarding("/proc"); err != nil {
		klog.ErrorS(err, "Forwarding cannot be enabled: pods will reach nothing outside of this node")
	}
	if err := enableBridgeFilter(ctx, "/proc"); err != nil {
		klog.ErrorS(err, "bridge-nf-call-iptables cannot be enabled (module br_netfilter): network policies will not apply between two pods of this node, and Services may fail between them")
	}
	return newController(c, hostIptables{}, hostRoutes{}).run(ctx, client)
}
