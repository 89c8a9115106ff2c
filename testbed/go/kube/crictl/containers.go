package crictl

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
)

// pattern matches a whole list if empty, as an expression otherwise.
func pattern(flag, expression string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return re, nil
}

func (c *client) ps() *cobra.Command {
	var all, quietly, whole bool
	var format, name, state, pod string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List containers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format, "table", "json", "yaml"); err != nil {
				return err
			}
			names, err := pattern("name", name)
			if err != nil {
				return err
			}
			filter := &runtimeapi.ContainerFilter{PodSandboxId: pod}
			if state == "" && !all {
				state = "running"
			}
			if state != "" {
				number, ok := runtimeapi.ContainerState_value["CONTAINER_"+strings.ToUpper(state)]
				if !ok {
					return fmt.Errorf("--state %q is none of created, running, exited, unknown", state)
				}
				filter.State = &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState(number)}
			}
			service, err := c.runtime()
			if err != nil {
				return err
			}
			found, err := service.ListContainers(cmd.Context(), filter)
			if err != nil {
				return err
			}
			list := &runtimeapi.ListContainersResponse{}
			for _, x := range found {
				if names.MatchString(x.GetMetadata().GetName()) {
					list.Containers = append(list.Containers, x)
				}
			}
			sort.SliceStable(list.Containers, func(i, j int) bool { return list.Containers[i].CreatedAt > list.Containers[j].CreatedAt })
			out := cmd.OutOrStdout()
			if quietly {
				for _, x := range list.Containers {
					fmt.Fprintln(out, x.Id)
				}
				return nil
			}
			if format != "table" {
				object, err := toJSON(list)
				if err != nil {
					return err
				}
				return printObject(out, format, object)
			}
			rows := [][]string{{"CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"}}
			for _, x := range list.Containers {
				image := x.GetImage().GetImage()
				if strings.HasPrefix(image, "sha256:") {
					image = short(image, whole)
				}
				rows = append(rows, []string{
					short(x.Id, whole), image, ago(x.CreatedAt), stateName("CONTAINER_", x.State.String()),
					x.GetMetadata().GetName(), fmt.Sprint(x.GetMetadata().GetAttempt()), short(x.PodSandboxId, whole),
					orUnknown(x.Labels["io.kubernetes.pod.name"]), orUnknown(x.Labels["io.kubernetes.pod.namespace"]),
				})
			}
			return table(out, rows)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "also containers that do not run")
	f.BoolVarP(&quietly, "quiet", "q", false, "only IDs")
	f.BoolVar(&whole, "no-trunc", false, "do not cut IDs")
	f.StringVarP(&format, "output", "o", "table", "json, yaml or table")
	f.StringVar(&name, "name", "", "only containers whose name matches this regular expression")
	f.StringVarP(&state, "state", "s", "", "only containers in this state: created, running, exited or unknown")
	f.StringVarP(&pod, "pod", "p", "", "only containers of the pod with this ID")
	return cmd
}

// stateName turns CONTAINER_RUNNING into Running.
func stateName(prefix, state string) string {
	s := strings.ToLower(strings.TrimPrefix(state, prefix))
	switch s {
	case "notready":
		return "NotReady"
	case "":
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func (c *client) pods() *cobra.Command {
	var quietly, whole bool
	var format, name, namespace, state string
	cmd := &cobra.Command{
		Use:   "pods",
		Short: "List pods",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format, "table", "json", "yaml"); err != nil {
				return err
			}
			names, err := pattern("name", name)
			if err != nil {
				return err
			}
			namespaces, err := pattern("namespace", namespace)
			if err != nil {
				return err
			}
			filter := &runtimeapi.PodSandboxFilter{}
			if state != "" {
				number, ok := runtimeapi.PodSandboxState_value["SANDBOX_"+strings.ToUpper(state)]
				if !ok {
					return fmt.Errorf("--state %q is none of ready, notready", state)
				}
				filter.State = &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState(number)}
			}
			service, err := c.runtime()
			if err != nil {
				return err
			}
			found, err := service.ListPodSandbox(cmd.Context(), filter)
			if err != nil {
				return err
			}
			list := &runtimeapi.ListPodSandboxResponse{}
			for _, x := range found {
				if names.MatchString(x.GetMetadata().GetName()) && namespaces.MatchString(x.GetMetadata().GetNamespace()) {
					list.Items = append(list.Items, x)
				}
			}
			sort.SliceStable(list.Items, func(i, j int) bool { return list.Items[i].CreatedAt > list.Items[j].CreatedAt })
			out := cmd.OutOrStdout()
			if quietly {
				for _, x := range list.Items {
					fmt.Fprintln(out, x.Id)
				}
				return nil
			}
			if format != "table" {
				object, err := toJSON(list)
				if err != nil {
					return err
				}
				return printObject(out, format, object)
			}
			rows := [][]string{{"POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"}}
			for _, x := range list.Items {
				handler := x.RuntimeHandler
				if handler == "" {
					handler = "(default)"
				}
				rows = append(rows, []string{
					short(x.Id, whole), ago(x.CreatedAt), stateName("SANDBOX_", x.State.String()), x.GetMetadata().GetName(),
					x.GetMetadata().GetNamespace(), fmt.Sprint(x.GetMetadata().GetAttempt()), handler,
				})
			}
			return table(out, rows)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&quietly, "quiet", "q", false, "only IDs")
	f.BoolVar(&whole, "no-trunc", false, "do not cut IDs")
	f.StringVarP(&format, "output", "o", "table", "json, yaml or table")
	f.StringVar(&name, "name", "", "only pods whose name matches this regular expression")
	f.StringVar(&namespace, "namespace", "", "only pods whose namespace matches this regular expression")
	f.StringVarP(&state, "state", "s", "", "only pods in this state: ready or notready")
	return cmd
}

// inspector is a command that prints one object for each ID.
func inspector(use, short string, get func(cmd *cobra.Command, id string) (json.RawMessage, error)) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format, "json", "yaml"); err != nil {
				return err
			}
			for _, id := range args {
				object, err := get(cmd, id)
				if err != nil {
					return err
				}
				if err := printObject(cmd.OutOrStdout(), format, object); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "json", "json or yaml")
	return cmd
}

func (c *client) inspect() *cobra.Command {
	return inspector("inspect CONTAINER...", "Show the status of containers", func(cmd *cobra.Command, id string) (json.RawMessage, error) {
		service, err := c.runtime()
		if err != nil {
			return nil, err
		}
		status, err := service.ContainerStatus(cmd.Context(), id, true)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", id, err)
		}
		return withInfo(status.GetStatus(), status.GetInfo())
	})
}

func (c *client) inspectPod() *cobra.Command {
	return inspector("inspectp POD...", "Show the status of pods", func(cmd *cobra.Command, id string) (json.RawMessage, error) {
		service, err := c.runtime()
		if err != nil {
			return nil, err
		}
		status, err := service.PodSandboxStatus(cmd.Context(), id, true)
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", id, err)
		}
		return withInfo(status.GetStatus(), status.GetInfo())
	})
}

func (c *client) logs() *cobra.Command {
	var timestamps bool
	var tail int64
	cmd := &cobra.Command{
		Use:   "logs CONTAINER",
		Short: "Print the log of a container, as it is now",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service, err := c.runtime()
			if err != nil {
				return err
			}
			answer, err := service.ContainerStatus(cmd.Context(), args[0], false)
			if err != nil {
				return fmt.Errorf("container %s: %w", args[0], err)
			}
			path := answer.GetStatus().GetLogPath()
			if path == "" {
				return fmt.Errorf("container %s has no log", args[0])
			}
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("the log of container %s cannot be read: %w", args[0], err)
			}
			options := &corev1.PodLogOptions{Timestamps: timestamps}
			if tail >= 0 {
				options.TailLines = &tail
			}
			return logs.ReadLogs(cmd.Context(), &quiet, path, answer.GetStatus().GetId(), logs.NewLogOptions(options, time.Now()),
				service, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&timestamps, "timestamps", "t", false, "with the time of each line")
	f.Int64Var(&tail, "tail", -1, "only so many lines of the end; all if negative")
	return cmd
}

func (c *client) info() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show the status and configuration of the container runtime",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format, "json", "yaml"); err != nil {
				return err
			}
			service, err := c.runtime()
			if err != nil {
				return err
			}
			status, err := service.Status(cmd.Context(), true)
			if err != nil {
				return err
			}
			object, err := withInfo(status.GetStatus(), status.GetInfo())
			if err != nil {
				return err
			}
			return printObject(cmd.OutOrStdout(), format, object)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "json", "json or yaml")
	return cmd
}

func (c *client) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of the container runtime",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			service, err := c.runtime()
			if err != nil {
				return err
			}
			v, err := service.Version(cmd.Context(), "v1")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n",
				v.Version, v.RuntimeName, v.RuntimeVersion, v.RuntimeApiVersion)
			return err
		},
	}
}
