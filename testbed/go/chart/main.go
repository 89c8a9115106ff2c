// Command chart renders a Helm chart's folder into one manifest, with Helm's own engine, so that the
// release mirror can offer sealed-secrets' manifest although no release page can be reached.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	log.SetFlags(0)
	release := flag.String("release", "", "release name")
	namespace := flag.String("namespace", "default", "namespace of the release")
	valuesFile := flag.String("values", "", "YAML file with values")
	flag.Parse()
	if flag.NArg() != 1 || *release == "" {
		log.Fatal("usage: chart -release NAME [-namespace NS] [-values FILE] CHART-FOLDER")
	}
	loaded, err := loader.LoadDir(flag.Arg(0))
	if err != nil {
		log.Fatalf("chart: %v", err)
	}
	given := map[string]any{}
	if *valuesFile != "" {
		if given, err = chartutil.ReadValuesFile(*valuesFile); err != nil {
			log.Fatalf("chart: %v", err)
		}
	}
	values, err := chartutil.ToRenderValues(loaded, given, chartutil.ReleaseOptions{
		Name: *release, Namespace: *namespace, Revision: 1, IsInstall: true,
	}, chartutil.DefaultCapabilities)
	if err != nil {
		log.Fatalf("chart: %v", err)
	}
	rendered, err := engine.Render(loaded, values)
	if err != nil {
		log.Fatalf("chart: %v", err)
	}
	for _, crd := range loaded.CRDObjects() {
		document(crd.Filename, string(crd.File.Data))
	}
	names := make([]string, 0, len(rendered))
	for name := range rendered {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if extension := path.Ext(name); extension == ".yaml" || extension == ".yml" {
			document(name, rendered[name])
		}
	}
}

// document prints one template's text unless it rendered to nothing but comments.
func document(name, text string) {
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			fmt.Fprintf(os.Stdout, "---\n# Source: %s\n%s\n", name, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "---")))
			return
		}
	}
}
