// Package crictl is a small part of the command crictl: what one needs to look at the containers
// and images of a node, with the names, flags and output of the original.
package crictl

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	componentversion "k8s.io/component-base/version"
	internalapi "k8s.io/cri-api/pkg/apis"
	remote "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"
)

const (
	endpointVariable = "CONTAINER_RUNTIME_ENDPOINT"
	defaultEndpoint  = "unix:///run/k3s/containerd/containerd.sock"
)

// leftOut are the commands of the original that this subset does not have.
var leftOut = []string{
	"attach", "checkpoint", "completion", "config", "create", "events", "exec", "imagefsinfo",
	"metricdescs", "metricsp", "port-forward", "rm", "rmp", "run", "runp", "runtime-config", "start",
	"stats", "statsp", "stop", "stopp", "update", "update-runtime-config",
}

// client holds the global flags and makes the connections.
type client struct {
	endpoint string
	timeout  time.Duration
}

// NewCommand is the command "crictl".
func NewCommand() *cobra.Command {
	c := &client{}
	var version bool
	root := &cobra.Command{
		Use:   "crictl",
		Short: "Look at the containers and images of this node (a subset of crictl)",
		Long: `Look at the containers and images of this node.

This is a subset of crictl with the same names, flags and output. It does not
have: ` + strings.Join(leftOut, ", ") + `.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "crictl version", componentversion.Get().GitVersion)
				return err
			}
			return cmd.Help()
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	endpoint := os.Getenv(endpointVariable)
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	// Its own flag: the Kubernetes components in this program define one for all of them, which
	// does nothing here.
	root.Flags().BoolVarP(&version, "version", "v", false, "print the version of crictl")
	f := root.PersistentFlags()
	f.StringVarP(&c.endpoint, "runtime-endpoint", "r", endpoint, "socket of the container runtime [$"+endpointVariable+"]")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
	root.AddCommand(
		c.ps(), c.pods(), c.images(), c.inspect(), c.inspectPod(), c.inspectImage(),
		c.pull(), c.removeImage(), c.logs(), c.info(), c.version(),
	)
	for _, name := range leftOut {
		root.AddCommand(&cobra.Command{
			Use:    name,
			Hidden: true,
			// Their flags are not known here, and must not hide the real reason.
			DisableFlagParsing: true,
			RunE:               func(cmd *cobra.Command, _ []string) error { return unknown(cmd.Root(), cmd.Name()) },
		})
	}
	return root
}

func unknown(root *cobra.Command, name string) error {
	var have []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			have = append(have, c.Name())
		}
	}
	what := "is no command of crictl"
	for _, l := range leftOut {
		if l == name {
			what = "is not part of this subset of crictl"
		}
	}
	return fmt.Errorf("%q %s; it has: %s; it does not have: %s", name, what, strings.Join(have, ", "), strings.Join(leftOut, ", "))
}

// address accepts a path in place of a URL, as the original does.
func (c *client) address() (string, error) {
	address := c.endpoint
	if strings.HasPrefix(address, "/") {
		address = "unix://" + address
	}
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("no container runtime at %s: %w", c.endpoint, err)
		}
	}
	return address, nil
}

// quiet swallows the log of the client library: its errors are returned and printed once.
var quiet klog.Logger

func (c *client) runtime() (internalapi.RuntimeService, error) {
	address, err := c.address()
	if err != nil {
		return nil, err
	}
	service, err := remote.NewRemoteRuntimeService(address, c.timeout, nil, &quiet)
	if err != nil {
		return nil, fmt.Errorf("no answer from the container runtime at %s: %w", c.endpoint, err)
	}
	return service, nil
}

func (c *client) imageService() (internalapi.ImageManagerService, error) {
	address, err := c.address()
	if err != nil {
		return nil, err
	}
	service, err := remote.NewRemoteImageService(address, c.timeout, nil, &quiet)
	if err != nil {
		return nil, fmt.Errorf("no answer from the image service at %s: %w", c.endpoint, err)
	}
	return service, nil
}
