package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/buildinfo"
	yaml3 "go.yaml.in/yaml/v3"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// What the objects of deploy are called.
const (
	ours      = "coredns-headless"
	ownLabel  = "app.kubernetes.io/name"
	baseImage = "registry.example.org/dns/coredns"
	diffImage = "registry.example.org/dns/dnsdiff"
)

// overlay is what is written.
type overlay struct {
	*options
	*serving
	*corefile
	image, dnsdiff image
	files          map[string]string // of the ConfigMap
	patches        []operation       // of the Deployment
	notes          []string          // what could not be kept
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// newOverlay decides what is written.
func newOverlay(o *options, now *serving) (*overlay, error) {
	c, err := rewrite(now.corefile)
	if err != nil {
		where := "ConfigMap " + now.config.Namespace + "/" + now.config.Name
		return nil, fmt.Errorf("%s: %w", cmp.Or(o.corefile, where), err)
	}
	w := &overlay{options: o, serving: now, corefile: c, files: map[string]string{"Corefile": c.text}, notes: c.said()}
	ofCorefile := len(w.notes)
	for key, content := range now.config.Data {
		if errs := validation.IsConfigMapKey(key); len(errs) > 0 { // it becomes a file's name
			return nil, fmt.Errorf("ConfigMap %s: expected the name of a file, got %q: %s", now.config.Name, key, errs[0])
		}
		if key != now.key {
			w.files[key] = content
			w.cannot("ConfigMap %s: %s is copied as it is now; what changes it there does not change the copy", now.config.Name, key)
		}
	}
	if len(w.files) > 1 { // the base mounts the Corefile alone
		w.patch("remove", "/spec/template/spec/volumes/0/configMap/items", nil)
	}
	if err := w.keepPod(); err != nil {
		return nil, err
	}
	slices.Sort(w.notes[ofCorefile:])
	return w, nil
}

func (w *overlay) cannot(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

func (w *overlay) patch(op, path string, value any) {
	w.patches = append(w.patches, operation{op, path, value})
}

// decided is what deploy/base decides for itself, of a pod and of a container.
var decided = map[string]bool{
	"containers": true, "dnsPolicy": true, "nodeSelector": true, "priorityClassName": true, "restartPolicy": true, "schedulerName": true,
	"securityContext": true, "serviceAccount": true, "serviceAccountName": true, "terminationGracePeriodSeconds": true,
	"tolerations": true, "topologySpreadConstraints": true, "volumes": true,

	"args": true, "env": true, "image": true, "imagePullPolicy": true, "livenessProbe": true, "name": true, "ports": true,
	"readinessProbe": true, "resources": true, "terminationMessagePath": true, "terminationMessagePolicy": true, "volumeMounts": true,
}

// The nodes of deploy/base, which are those of kubeadm.
var (
	baseNodes       = map[string]string{corev1.LabelOSStable: "linux"}
	baseTolerations = []corev1.Toleration{
		{Key: "CriticalAddonsOnly", Operator: corev1.TolerationOpExists},
		{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule},
	}
)

// keepPod keeps of the pods that serve what a cluster may need: where they run, their environment and the ConfigMaps and Secrets
// that they mount. It notes the rest, but for what deploy/base decides.
func (w *overlay) keepPod() error {
	pod := &w.deployment.Spec.Template.Spec
	if selector := pod.NodeSelector; len(selector) > 0 && !maps.Equal(selector, baseNodes) {
		w.patch("replace", "/spec/template/spec/nodeSelector", selector)
	}
	if len(pod.Tolerations) > 0 && !reflect.DeepEqual(pod.Tolerations, baseTolerations) {
		w.patch("replace", "/spec/template/spec/tolerations", pod.Tolerations)
	}
	for _, v := range w.container.Env {
		w.patch("add", "/spec/template/spec/containers/0/env/-", v)
	}
	for _, volume := range pod.Volumes {
		mounts := slices.DeleteFunc(slices.Clone(w.container.VolumeMounts),
			func(m corev1.VolumeMount) bool { return m.Name != volume.Name })
		switch {
		case volume.Name == w.volume || len(mounts) == 0:
		case volume.ConfigMap != nil || volume.Secret != nil:
			volume.Name = "kept-" + volume.Name
			w.patch("add", "/spec/template/spec/volumes/-", volume)
			for _, m := range mounts {
				m.Name = volume.Name
				w.patch("add", "/spec/template/spec/containers/0/volumeMounts/-", m)
			}
		default:
			w.cannot("Deployment %s: the volume %s is not kept, only those of ConfigMaps and Secrets are", w.deployment.Name, volume.Name)
		}
	}
	if r := w.container.Resources; len(r.Limits) > 0 || len(r.Requests) > 0 {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		w.cannot("Deployment %s: its resources, %s, are not kept: deploy/base has those of headless", w.deployment.Name, text)
	}
	for _, arg := range w.container.Args {
		if name := strings.TrimLeft(arg, "-"); strings.HasPrefix(arg, "-") && name != "conf" && !strings.HasPrefix(name, "conf=") {
			w.cannot("Deployment %s: the argument %s is not kept", w.deployment.Name, arg)
		}
	}
	for _, c := range pod.Containers {
		if c.Name != w.container.Name {
			w.cannot("Deployment %s: the container %s is not kept", w.deployment.Name, c.Name)
		}
	}
	if affinity := pod.Affinity; affinity != nil && (affinity.NodeAffinity != nil || affinity.PodAffinity != nil) {
		w.cannot("Deployment %s: its affinity is not kept: deploy/base keeps the pods apart and no more", w.deployment.Name)
	}
	if pod.DNSPolicy != corev1.DNSDefault && pod.DNSPolicy != "" {
		w.cannot("Deployment %s: dnsPolicy %s is not kept: deploy/base has Default", w.deployment.Name, pod.DNSPolicy)
	}
	for prefix, value := range map[string]any{"": pod, "containers." + w.container.Name + ".": w.container} {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(text, &fields); err != nil {
			return err
		}
		for field := range fields {
			if !decided[field] && field != "affinity" {
				w.cannot("Deployment %s: spec.template.spec.%s%s is not kept", w.deployment.Name, prefix, field)
			}
		}
	}
	return nil
}

// at returns the path of something in deploy, for a kustomization that is two folders deep.
func (w *overlay) at(what string) (string, error) {
	if strings.Contains(w.deploy, "://") || strings.Contains(w.deploy, "?") {
		base, query, _ := strings.Cut(w.deploy, "?")
		return strings.TrimSuffix(strings.TrimSuffix(base, "/")+"/"+what+"?"+query, "?"), nil
	}
	if _, err := os.Stat(filepath.Join(w.deploy, "base", "kustomization.yaml")); err != nil {
		return "", fmt.Errorf("-deploy: expected the folder deploy of headless, or a URL of it: %w", err)
	}
	from, err := filepath.Abs(filepath.Join(w.folder, "beside"))
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(filepath.Join(w.deploy, what))
	if err != nil {
		return "", err
	}
	// kustomize reads links before it goes up from a folder.
	if to, err = filepath.EvalSymlinks(to); err != nil {
		return "", err
	}
	if from, err = evalParent(from); err != nil {
		return "", err
	}
	path, err := filepath.Rel(from, to)
	return filepath.ToSlash(path), err
}

// evalParent returns a path without links, as far as it is there.
func evalParent(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
		return real, err
	}
	parent, err := evalParent(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// kustomization is what is written of one, in this order.
type kustomization struct {
	APIVersion string           `yaml:"apiVersion"`
	Kind       string           `yaml:"kind"`
	Namespace  string           `yaml:"namespace,omitempty"`
	Resources  []string         `yaml:"resources"`
	Components []string         `yaml:"components,omitempty"`
	Images     []map[string]any `yaml:"images,omitempty"`
	Replicas   []map[string]any `yaml:"replicas,omitempty"`
	ConfigMaps []map[string]any `yaml:"configMapGenerator,omitempty"`
	Patches    []map[string]any `yaml:"patches,omitempty"`
}

// write writes the folder.
func (w *overlay) write() error {
	if entries, err := os.ReadDir(w.folder); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is there and not empty: expected a folder to make", w.folder)
	}
	beside, err := w.beside()
	if err != nil {
		return err
	}
	compare, err := w.compare()
	if err != nil {
		return err
	}
	serving, err := w.serve()
	if err != nil {
		return err
	}
	files := make(map[string]string)
	for name, content := range w.files {
		files["beside/"+name] = content
	}
	for name, k := range map[string]*kustomization{"beside": beside, "compare": compare, "serving": serving} {
		k.APIVersion, k.Kind = "kustomize.config.k8s.io/v1beta1", "Kustomization"
		if w.namespace != "kube-system" {
			k.Namespace = w.namespace
		}
		content := bytes.NewBufferString(w.head(name))
		encoder := yaml3.NewEncoder(content)
		encoder.SetIndent(2)
		if err := encoder.Encode(k); err != nil {
			return err
		}
		files[name+"/kustomization.yaml"] = content.String()
	}
	for name, content := range files {
		path := filepath.Join(w.folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // to be read, and kept in a repository
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return nil
}

// head returns the comment at the head of a kustomization.
func (w *overlay) head(name string) string {
	what := map[string]string{
		"beside":  "A CoreDNS with headless beside the one that serves. Nobody asks it.",
		"compare": "A Job that asks both for every name of the cluster.",
		"serving": "The same as in beside, and the Service " + w.service.Name + " chooses its pods.",
	}[name]
	var b strings.Builder
	fmt.Fprintf(&b, "# %s Written by headless-switch %s.\n", what, buildinfo.Get().Version)
	if name == "beside" && len(w.notes) > 0 {
		b.WriteString("#\n# What could not be kept, or has to be known:\n")
		for _, note := range w.notes {
			b.WriteString("# * " + note + "\n")
		}
	}
	return b.String()
}

// versioned returns the entry of an image.
func versioned(from string, to image) map[string]any {
	if digest, ok := strings.CutPrefix(to.version, "@"); ok {
		return map[string]any{"name": from, "newName": to.name, "digest": digest}
	}
	return map[string]any{"name": from, "newName": to.name, "newTag": to.version[1:]}
}

// patched returns the entry of a JSON patch.
func patched(kind, name string, operations []operation) (map[string]any, error) {
	text, err := yaml.Marshal(operations)
	return map[string]any{"target": map[string]string{"kind": kind, "name": name}, "patch": string(text)}, err
}

// beside returns the kustomization of a CoreDNS that nobody asks.
func (w *overlay) beside() (*kustomization, error) {
	base, err := w.at("base")
	if err != nil {
		return nil, err
	}
	replicas := int32(1) // the default
	if w.deployment.Spec.Replicas != nil {
		replicas = *w.deployment.Spec.Replicas
	}
	k := &kustomization{
		Resources: []string{base},
		Images:    []map[string]any{versioned(baseImage, w.image)},
		Replicas:  []map[string]any{{"name": ours, "count": replicas}},
		ConfigMaps: []map[string]any{{
			"name": ours, "namespace": "kube-system", "behavior": "merge", "files": slices.Sorted(maps.Keys(w.files)),
		}},
	}
	for _, component := range []struct {
		name   string
		wanted bool
	}{{"multicluster", w.multicluster() != ""}, {"pods-verified", w.any(func(mode string) bool { return mode == "verified" })}} {
		if component.wanted {
			path, err := w.at("components/" + component.name)
			if err != nil {
				return nil, err
			}
			k.Components = append(k.Components, path)
		}
	}
	if len(w.patches) > 0 {
		entry, err := patched("Deployment", ours, w.patches)
		if err != nil {
			return nil, err
		}
		k.Patches = append(k.Patches, entry)
	}
	return k, nil
}

// any reports whether a stanza has a mode of pods that is asked for.
func (w *overlay) any(isAsked func(mode string) bool) bool {
	for _, stanza := range w.stanzas {
		if isAsked(stanza.PodMode()) {
			return true
		}
	}
	return false
}

// multicluster returns the multicluster zones, with commas between.
func (w *overlay) multicluster() string {
	var zones []string
	for _, stanza := range w.stanzas {
		for _, zone := range stanza.Zones() {
			if stanza.Multicluster(zone) {
				zones = append(zones, strings.TrimSuffix(zone, "."))
			}
		}
	}
	return strings.Join(zones, ",")
}

// compare returns the kustomization of the Job that compares.
func (w *overlay) compare() (*kustomization, error) {
	job, err := w.at("compare")
	if err != nil {
		return nil, err
	}
	entry, err := patched("Job", "dnsdiff", []operation{{"replace", "/spec/template/spec/containers/0/args", w.arguments()}})
	return &kustomization{
		Resources: []string{job}, Images: []map[string]any{versioned(diffImage, w.dnsdiff)}, Patches: []map[string]any{entry},
	}, err
}

// arguments returns those of dnsdiff.
func (w *overlay) arguments() []string {
	var zones []string
	namespaces := make(map[string]bool)
	headlessOnly, zonal := true, false
	for _, stanza := range w.stanzas {
		for _, zone := range stanza.Zones() {
			if !stanza.Multicluster(zone) && !strings.HasSuffix(zone, ".arpa.") {
				zones = append(zones, strings.TrimSuffix(zone, "."))
			}
		}
		for _, namespace := range stanza.Namespaces() {
			namespaces[namespace] = true
		}
		headlessOnly = headlessOnly && stanza.HeadlessOnly()
		zonal = zonal || stanza.Zonal()
	}
	old := w.service.Spec.ClusterIP
	if old == "" || old == corev1.ClusterIPNone {
		old = w.service.Name + "." + w.namespace
	}
	args := []string{"-old=" + old, "-new=" + ours + "." + w.namespace, "-rate=100"}
	for _, option := range []struct {
		text   string
		wanted bool
	}{
		{"-zones=" + strings.Join(zones, ","), len(zones) > 0},
		{"-multicluster=" + w.multicluster(), w.multicluster() != ""},
		{"-namespaces=" + strings.Join(slices.Sorted(maps.Keys(namespaces)), ","), len(namespaces) > 0},
		{"-pods", w.any(func(mode string) bool { return mode != "disabled" })},
		{"-endpoints=headless", headlessOnly},
		{"-zonal", zonal},
		{"-wait=16s", w.cached}, // a cache keeps what has changed for 30 s
	} {
		if option.wanted {
			args = append(args, option.text)
		}
	}
	return args
}

// serve returns the kustomization of the switch.
func (w *overlay) serve() (*kustomization, error) {
	component, err := w.at("components/serving")
	if err != nil {
		return nil, err
	}
	k := &kustomization{Resources: []string{"../beside"}}
	if maps.Equal(w.service.Spec.Selector, map[string]string{"k8s-app": "kube-dns"}) {
		k.Components = []string{component}
		return k, nil
	}
	var labels []operation
	for _, key := range slices.Sorted(maps.Keys(w.service.Spec.Selector)) {
		if key == ownLabel { // by which our own Service tells them from others: they cannot have both, and do not join
			continue
		}
		escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		labels = append(labels, operation{"add", "/spec/template/metadata/labels/" + escaped, w.service.Spec.Selector[key]})
	}
	if len(labels) > 0 {
		entry, err := patched("Deployment", ours, labels)
		if err != nil {
			return nil, err
		}
		k.Patches = []map[string]any{entry}
	}
	return k, nil
}

// selectors returns the patches that lead the Service to our pods, and back.
func (w *overlay) selectors() (there, back string, err error) {
	to, from := map[string]any{}, map[string]any{ownLabel: nil}
	for key, value := range w.service.Spec.Selector {
		to[key], from[key] = nil, value
	}
	to[ownLabel] = ours
	text := func(selector map[string]any) string {
		if err != nil {
			return ""
		}
		var b []byte
		b, err = json.Marshal(map[string]any{"spec": map[string]any{"selector": selector}})
		return string(b)
	}
	return text(to), text(from), err
}

// page returns what is printed.
func (w *overlay) page() (string, error) {
	there, back, err := w.selectors()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	replicas := w.deployment.Spec.Replicas
	fmt.Fprintf(&b, "%s is written, for the Service %s/%s at %s", w.folder, w.namespace, w.service.Name, strings.Join(w.service.Spec.ClusterIPs, " and "))
	if replicas != nil {
		fmt.Fprintf(&b, " and %d replicas", *replicas)
	}
	b.WriteString(".\n")
	if len(w.notes) > 0 {
		b.WriteString("\nWhat could not be kept, or has to be known:\n")
		for _, note := range w.notes {
			b.WriteString("  * " + note + "\n")
		}
	}
	kubectl := "kubectl -n " + w.namespace
	fmt.Fprintf(&b, `
Start it, where nobody asks it:
  kubectl apply -k %[1]s/beside
  %[2]s rollout status deployment %[5]s

Compare:
  kubectl apply -k %[1]s/compare
  %[2]s wait job dnsdiff --for jsonpath=.status.ready=1 --timeout 5m
  %[2]s logs -f job/dnsdiff
  %[2]s wait job dnsdiff --for condition=complete --timeout 10s

The switch; docs/switching.md says what happens at each line:
  kubectl apply -k %[1]s/serving
  %[2]s rollout status deployment %[5]s
  %[2]s patch service %[6]s -p '%[3]s'

The way back:
  %[2]s patch service %[6]s -p '%[4]s'
  kubectl apply -k %[1]s/beside
`, w.folder, kubectl, there, back, ours, w.service.Name)
	return b.String(), nil
}
