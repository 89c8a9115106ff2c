// Command kube is every upstream Kubernetes component that the stand-in for K3s runs, in one
// program that decides by its own name (argv[0]), as the K3s binary does. One program instead of
// nine keeps the release artifact small: the components share almost all of their code.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"observer-node/testbed/kube/crictl"
	"observer-node/testbed/kube/network"
)

// programs maps the names under which this program is called to what it then is. The value is its
// exit status.
var programs = map[string]func() int{
	"kube-apiserver":          component(apiserver.NewAPIServerCommand),
	"kube-controller-manager": component(controllers.NewControllerManagerCommand),
	"kube-scheduler":          component(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              component(proxy.NewProxyCommand),
	"kubelet":                 component(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"network":                 component(network.NewCommand),
	"kubectl":                 runKubectl,
	"crictl":                  runCrictl,
}

// component runs a daemon: with the logging flags of Kubernetes, and errors as log lines.
func component(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

// runKubectl does what the main function of kubectl does: it prints errors as people know them
// from kubectl, not as log lines, and reads the verbosity before plugins are looked for.
func runKubectl() int {
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // ends the program
	}
	return 0
}

// runCrictl prints plain errors and has none of the logging flags, like the original.
func runCrictl() int {
	if err := crictl.NewCommand().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "crictl: %v\n", err)
		return 1
	}
	return 0
}

func main() {
	name := filepath.Base(os.Args[0])
	run, ok := programs[name]
	if !ok {
		names := make([]string, 0, len(programs))
		for n := range programs {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "kube: called as %q, which is no component; link it under one of these names: %s\n", name, strings.Join(names, ", "))
		os.Exit(2)
	}
	os.Exit(run())
}
