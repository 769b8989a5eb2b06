// Command helm prints what helm makes of values.yaml and a chart, for the tests: helm's own packages render it. It is a module of its
// own, for they need much that the tests of the manifests do not.
package main

import (
	"fmt"
	"os"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: helm CHART RELEASE")
		os.Exit(2)
	}
	objects, err := render(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintf(os.Stderr, "helm: %v\n", err)
		os.Exit(1)
	}
	for i, object := range objects {
		if i > 0 {
			fmt.Println("---")
		}
		fmt.Println(object)
	}
}

// render returns the objects of a release in kube-system, in the order in which helm applies them.
func render(chart, release string) (objects []string, err error) {
	c, err := loader.Load(chart)
	if err != nil {
		return nil, err
	}
	values, err := chartutil.ReadValuesFile("values.yaml")
	if err != nil {
		return nil, err
	}
	o := chartutil.ReleaseOptions{Name: release, Namespace: "kube-system", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, o, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	delete(files, c.Name()+"/templates/NOTES.txt")
	_, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	for _, m := range manifests {
		objects = append(objects, m.Content)
	}
	return objects, err
}
