package crictl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (c *client) images() *cobra.Command {
	var quietly, whole, digests bool
	var format string
	cmd := &cobra.Command{
		Use:     "images [NAME]",
		Aliases: []string{"image", "img"},
		Short:   "List images",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format, "table", "json", "yaml"); err != nil {
				return err
			}
			var filter *runtimeapi.ImageFilter
			if len(args) == 1 {
				filter = &runtimeapi.ImageFilter{Image: &runtimeapi.ImageSpec{Image: args[0]}}
			}
			service, err := c.imageService()
			if err != nil {
				return err
			}
			found, err := service.ListImages(cmd.Context(), filter)
			if err != nil {
				return err
			}
			sort.SliceStable(found, func(i, j int) bool { return firstName(found[i]) < firstName(found[j]) })
			out := cmd.OutOrStdout()
			if quietly {
				for _, i := range found {
					fmt.Fprintln(out, i.Id)
				}
				return nil
			}
			if format != "table" {
				object, err := toJSON(&runtimeapi.ListImagesResponse{Images: found})
				if err != nil {
					return err
				}
				return printObject(out, format, object)
			}
			return table(out, imageRows(found, whole, digests))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&quietly, "quiet", "q", false, "only IDs")
	f.BoolVar(&whole, "no-trunc", false, "do not cut IDs")
	f.BoolVar(&digests, "digests", false, "with digests")
	f.StringVarP(&format, "output", "o", "table", "json, yaml or table")
	return cmd
}

func firstName(i *runtimeapi.Image) string {
	for _, list := range [][]string{i.RepoTags, i.RepoDigests} {
		if len(list) > 0 {
			return list[0]
		}
	}
	return i.Id
}

// imageRows has one row for each name of an image.
func imageRows(images []*runtimeapi.Image, whole, digests bool) [][]string {
	header := []string{"IMAGE", "TAG"}
	if digests {
		header = append(header, "DIGEST")
	}
	rows := [][]string{append(header, "IMAGE ID", "SIZE")}
	for _, i := range images {
		repository, digest := "<none>", "<none>"
		if len(i.RepoDigests) > 0 {
			if r, d, ok := strings.Cut(i.RepoDigests[0], "@"); ok {
				repository, digest = r, short(d, whole)
			}
		}
		names := [][2]string{}
		for _, t := range i.RepoTags {
			name, tag := t, "<none>"
			// A colon before the last slash belongs to the port of the registry.
			if at := strings.LastIndex(t, ":"); at > strings.LastIndex(t, "/") {
				name, tag = t[:at], t[at+1:]
			}
			names = append(names, [2]string{name, tag})
		}
		if len(names) == 0 {
			names = append(names, [2]string{repository, "<none>"})
		}
		for _, n := range names {
			row := []string{n[0], n[1]}
			if digests {
				row = append(row, digest)
			}
			rows = append(rows, append(row, short(i.Id, whole), units.HumanSizeWithPrecision(float64(i.Size), 3)))
		}
	}
	return rows
}

func (c *client) inspectImage() *cobra.Command {
	return inspector("inspecti IMAGE...", "Show the status of images", func(cmd *cobra.Command, id string) (json.RawMessage, error) {
		service, err := c.imageService()
		if err != nil {
			return nil, err
		}
		status, err := imageStatus(cmd.Context(), service, id, true)
		if err != nil {
			return nil, err
		}
		return withInfo(status.GetImage(), status.GetInfo())
	})
}

func imageStatus(ctx context.Context, service internalapi.ImageManagerService, name string, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	status, err := service.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: name}, verbose)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	if status.GetImage() == nil {
		return nil, fmt.Errorf("no such image %q present", name)
	}
	return status, nil
}

func (c *client) pull() *cobra.Command {
	var creds string
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Pull an image from a registry",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var auth *runtimeapi.AuthConfig
			if creds != "" {
				user, password, ok := strings.Cut(creds, ":")
				if !ok || user == "" {
					return errors.New("--creds must be USERNAME:PASSWORD")
				}
				auth = &runtimeapi.AuthConfig{Username: user, Password: password}
			}
			service, err := c.imageService()
			if err != nil {
				return err
			}
			reference, err := service.PullImage(cmd.Context(), &runtimeapi.ImageSpec{Image: args[0]}, auth, nil)
			if err != nil {
				return fmt.Errorf("pull %s: %w", args[0], err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Image is up to date for %s\n", reference)
			return err
		},
	}
	cmd.Flags().StringVar(&creds, "creds", "", "credentials for the registry, USERNAME:PASSWORD")
	return cmd
}

func (c *client) removeImage() *cobra.Command {
	var all, prune bool
	cmd := &cobra.Command{
		Use:   "rmi IMAGE...",
		Short: "Remove images",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !all && !prune {
				return errors.New("name an image, or give --all or --prune")
			}
			if len(args) > 0 && (all || prune) {
				return errors.New("name images, or give --all or --prune, not both")
			}
			service, err := c.imageService()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			var remove []*runtimeapi.Image
			var failed []error
			if all || prune {
				if remove, err = service.ListImages(ctx, nil); err != nil {
					return err
				}
			}
			if prune {
				runtime, err := c.runtime()
				if err != nil {
					return err
				}
				if remove, err = unused(ctx, runtime, remove); err != nil {
					return err
				}
			}
			for _, name := range args {
				status, err := imageStatus(ctx, service, name, false)
				if err != nil {
					failed = append(failed, err)
					continue
				}
				remove = append(remove, status.GetImage())
			}
			for _, i := range remove {
				if err := service.RemoveImage(ctx, &runtimeapi.ImageSpec{Image: i.Id}); err != nil {
					failed = append(failed, fmt.Errorf("remove image %s: %w", firstName(i), err))
					continue
				}
				names := i.RepoTags
				if len(names) == 0 {
					names = []string{i.Id}
				}
				for _, n := range names {
					fmt.Fprintf(cmd.OutOrStdout(), "Deleted: %s\n", n)
				}
			}
			return errors.Join(failed...)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "remove all images")
	f.BoolVarP(&prune, "prune", "q", false, "remove all images that no container uses")
	return cmd
}

// unused leaves out the images that a container uses, running or not, and those that the runtime
// itself needs.
func unused(ctx context.Context, runtime internalapi.RuntimeService, images []*runtimeapi.Image) ([]*runtimeapi.Image, error) {
	containers, err := runtime.ListContainers(ctx, nil)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.GetImageId()] = true
		used[c.GetImageRef()] = true
		used[c.GetImage().GetImage()] = true
	}
	status, err := runtime.Status(ctx, true)
	if err != nil {
		return nil, err
	}
	// The containerd of K3s pins the image of its sandboxes. Older ones do not, and no pod would
	// start any more on a node that has no registry to get it back from.
	var config struct{ SandboxImage string }
	if err := json.Unmarshal([]byte(status.GetInfo()["config"]), &config); err == nil && config.SandboxImage != "" {
		used[config.SandboxImage] = true
	}
	delete(used, "")
	var left []*runtimeapi.Image
	for _, i := range images {
		keep := i.Pinned || used[i.Id]
		for _, n := range append(append([]string{}, i.RepoTags...), i.RepoDigests...) {
			keep = keep || used[n]
		}
		if !keep {
			left = append(left, i)
		}
	}
	return left, nil
}
