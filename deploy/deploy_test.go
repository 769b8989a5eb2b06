// Package deploy tests the manifests as kubectl renders them. What they have to do with the plugin is tested there.
package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	psaapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// name is that of all our objects but the Service, and the label app.kubernetes.io/name of these.
const name = "coredns-headless"

// nsd is the name of the secondaries' objects.
const nsd = name + "-nsd"

// overlays are the folders that are rendered on their own.
var overlays = []string{"base", "nodelocal", "example"}

// thisCluster is what the example lacks.
const thisCluster = "zone=cluster.example\nclusterIP=10.43.0.10\n"

// object is what every object of Kubernetes is.
type object interface {
	runtime.Object
	metav1.Object
}

// thisPrimary is what the folder secondary lacks.
const thisPrimary = "primary=10.43.0.53\n"

// adapted returns a copy of this folder in which the example and the secondaries have what they lack.
func adapted(t *testing.T) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	for of, text := range map[string]string{"example": thisCluster, "secondary": thisPrimary} {
		if err := os.WriteFile(filepath.Join(folder, of, "cluster.env"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// overlay returns a new folder with a kustomization, in which DEPLOY stands for the path of an adapted copy of this folder.
func overlay(t *testing.T, text string) string {
	t.Helper()
	folder := filepath.Join(adapted(t), "overlay")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "DEPLOY", "..")
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// render returns the objects of one of our folders.
func render(t *testing.T, folder string) map[string]object {
	t.Helper()
	return renderFolder(t, filepath.Join(adapted(t), folder))
}

// build runs kustomize.
func build(folder string) (resmap.ResMap, error) {
	return krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
}

// renderFolder returns the objects of a folder by kind and name, decoded strictly.
func renderFolder(t *testing.T, folder string) map[string]object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, monitoringv1.AddToScheme, networkingv1.AddToScheme,
		policyv1.AddToScheme, rbacv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	rendered, err := build(folder)
	if err != nil {
		t.Fatal(err)
	}
	objects := make(map[string]object)
	for _, r := range rendered.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		decoded, kind, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", folder, err, text)
		}
		o := decoded.(object)
		objects[kind.Kind+" "+o.GetName()] = o
	}
	if len(objects) != rendered.Size() {
		t.Errorf("%s: got %d names for %d objects", folder, len(objects), rendered.Size())
	}
	return objects
}

// get returns one object of those that were rendered.
func get[O object](t *testing.T, objects map[string]object, key string) O {
	t.Helper()
	o, ok := objects[key].(O)
	if !ok {
		t.Fatalf("got %q, want %s among them", slices.Sorted(maps.Keys(objects)), key)
	}
	return o
}

// workload returns the pods of CoreDNS: the template, what selects them, and the labels of the object that makes them.
func workload(t *testing.T, objects map[string]object) (pod corev1.PodTemplateSpec, selector *metav1.LabelSelector, own map[string]string) {
	t.Helper()
	if d, ok := objects["DaemonSet "+name].(*appsv1.DaemonSet); ok {
		return d.Spec.Template, d.Spec.Selector, d.Labels
	}
	d := get[*appsv1.Deployment](t, objects, "Deployment "+name)
	return d.Spec.Template, d.Spec.Selector, d.Labels
}

func TestObjectsAreThoseOfTheKustomization(t *testing.T) {
	base := []string{
		"ClusterRole coredns-headless", "ClusterRoleBinding coredns-headless", "ConfigMap coredns-headless",
		"Deployment coredns-headless", "PodDisruptionBudget coredns-headless", "Service coredns-headless",
		"ServiceAccount coredns-headless",
	}
	for folder, want := range map[string][]string{
		"base": base,
		"nodelocal": {
			"ClusterRole coredns-headless", "ClusterRoleBinding coredns-headless", "ConfigMap coredns-headless",
			"DaemonSet coredns-headless", "Service coredns-headless", "ServiceAccount coredns-headless",
		},
		"compare": {
			"ClusterRole dnsdiff", "ClusterRoleBinding dnsdiff", "Job dnsdiff", "ServiceAccount dnsdiff",
		},
		"secondary": {
			"ClusterRole coredns-headless-primary", "ClusterRoleBinding coredns-headless-primary",
			"ConfigMap coredns-headless-primary", "Deployment coredns-headless-primary", "Service coredns-headless-primary",
			"ServiceAccount coredns-headless-primary",
			"ConfigMap " + nsd, "DaemonSet " + nsd, "Service " + nsd,
		},
		"example": append([]string{"Service kube-dns"}, base...),
	} {
		slices.Sort(want)
		got := slices.Sorted(maps.Keys(render(t, folder)))
		for i := range got {
			got[i] = regexp.MustCompile(`(ConfigMap .*-nsd)-\w{10}$`).ReplaceAllString(got[i], "$1") // with the hash of its content
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", folder, got, want)
		}
	}
}

// components are the components, with the objects that each adds to the base and the rules that it adds to its ClusterRole.
var components = map[string]struct {
	objects []string
	rules   int
}{
	"components/autoscaler": {objects: []string{
		"ClusterRole coredns-headless-autoscaler", "ClusterRoleBinding coredns-headless-autoscaler",
		"ConfigMap coredns-headless-autoscaler", "Deployment coredns-headless-autoscaler", "Role coredns-headless-autoscaler",
		"RoleBinding coredns-headless-autoscaler", "ServiceAccount coredns-headless-autoscaler",
	}},
	"components/multicluster":  {rules: 1},
	"components/networkpolicy": {objects: []string{"NetworkPolicy coredns-headless"}},
	"components/pods-verified": {rules: 1},
	"components/service":       {objects: []string{"Service kube-dns"}},
	"components/serving":       {},
	"grafana":                  {objects: []string{"ConfigMap coredns-headless-dashboard"}},
	"prometheus":               {objects: []string{"PodMonitor coredns-headless", "PrometheusRule coredns-headless"}},
}

// withComponent renders the base, or nodelocal, with a component.
func withComponent(t *testing.T, folder, component string) map[string]object {
	t.Helper()
	return renderFolder(t, overlay(t, fmt.Sprintf("resources: [DEPLOY/%s]\ncomponents: [DEPLOY/%s]\n", folder, component)))
}

// TestComponentsAddTheirObjects renders each component with the base.
func TestComponentsAddTheirObjects(t *testing.T) {
	found, err := filepath.Glob("components/*")
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Sorted(maps.Keys(components)); !slices.Equal(append(found, "grafana", "prometheus"), want) {
		t.Errorf("got the components %q and two more, want %q", found, want)
	}
	base := render(t, "base")
	for component, want := range components {
		objects := withComponent(t, "base", component)
		var added []string
		for key := range objects {
			if base[key] == nil {
				added = append(added, key)
			}
		}
		slices.Sort(added)
		if !slices.Equal(added, want.objects) || len(objects) != len(base)+len(added) {
			t.Errorf("%s: got %d objects, %q besides those of the base, want %q", component, len(objects), added, want.objects)
		}
		if role := get[*rbacv1.ClusterRole](t, objects, "ClusterRole "+name); len(role.Rules) != 2+want.rules {
			t.Errorf("%s: got the rules %v, want %d", component, role.Rules, 2+want.rules)
		}
	}
}

// TestNobodyAsksUnlessToldTo: whatever is applied but for the component serving, no Service but our own chooses the pods. With it
// the Service of the cluster's DNS does, as kubeadm makes it.
func TestNobodyAsksUnlessToldTo(t *testing.T) {
	chosen := func(objects map[string]object) bool {
		pod, _, _ := workload(t, objects)
		return labels.SelectorFromSet(map[string]string{"k8s-app": "kube-dns"}).Matches(labels.Set(pod.Labels))
	}
	for _, folder := range []string{"base", "nodelocal"} {
		if chosen(render(t, folder)) {
			t.Errorf("%s: the Service kube-dns chooses its pods, want that it does not", folder)
		}
		for component := range components {
			if got, want := chosen(withComponent(t, folder, component)), component == "components/serving"; got != want {
				t.Errorf("%s with %s: the Service kube-dns chooses its pods: %v, want %v", folder, component, got, want)
			}
		}
	}
}

// TestExampleNeedsAZoneAndAnAddress: as it is, and with one of the two, it renders nothing.
func TestExampleNeedsAZoneAndAnAddress(t *testing.T) {
	for content, missing := range map[string]string{
		"":                       "data.zone",
		"zone=cluster.local\n":   "data.clusterIP",
		"clusterIP=10.96.0.10\n": "data.zone",
	} {
		folder := filepath.Join(adapted(t), "example")
		if content == "" {
			text, err := os.ReadFile("example/cluster.env")
			if err != nil {
				t.Fatal(err)
			}
			content = string(text)
		}
		if err := os.WriteFile(filepath.Join(folder, "cluster.env"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if rendered, err := build(folder); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("%q: got %v, %v; want an error that names %s", content, rendered, err, missing)
		}
	}
}

func TestEveryFileIsReferenced(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(path, "kustomization.yaml"))
		if os.IsNotExist(err) {
			return nil
		} else if err != nil {
			return err
		}
		var k types.Kustomization
		if err := yaml.UnmarshalStrict(content, &k); err != nil {
			return err
		}
		named := append([]string{"kustomization.yaml", "alerts_test.yaml"}, k.Resources...)
		for _, generator := range k.ConfigMapGenerator {
			named = append(append(named, generator.FileSources...), generator.EnvSources...)
		}
		files, err := os.ReadDir(path)
		for _, file := range files {
			if isGo := strings.HasPrefix(filepath.Ext(file.Name()), ".go") || strings.HasPrefix(file.Name(), "go."); !isGo && !slices.Contains(named, file.Name()) {
				t.Errorf("%s: no kustomization names it", filepath.Join(path, file.Name()))
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPodsMeetTheRestrictedStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
	for _, folder := range overlays {
		objects := render(t, folder)
		pod, _, _ := workload(t, objects)
		pods := map[string]corev1.PodTemplateSpec{name: pod}
		if folder == "base" {
			autoscaled := withComponent(t, folder, "components/autoscaler")
			pods["autoscaler"] = get[*appsv1.Deployment](t, autoscaled, "Deployment "+name+"-autoscaler").Spec.Template
			pods["dnsdiff"] = get[*batchv1.Job](t, render(t, "compare"), "Job dnsdiff").Spec.Template
		}
		for what, pod := range pods {
			for _, result := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s (%s)", folder, what, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			for _, c := range pod.Spec.Containers {
				if ro := c.SecurityContext.ReadOnlyRootFilesystem; ro == nil || !*ro {
					t.Errorf("%s: %s: got a writable root file system", folder, what)
				}
			}
			if user := pod.Spec.SecurityContext.RunAsUser; user == nil || *user == 0 {
				t.Errorf("%s: %s: got the user %v, want one that is not root", folder, what, user)
			}
			if pod.Spec.HostNetwork {
				t.Errorf("%s: %s: got the network of the host", folder, what)
			}
		}
	}
}

func TestPodMayBindPort53AndNothingElse(t *testing.T) {
	for _, folder := range overlays {
		pod, _, _ := workload(t, render(t, folder))
		got := pod.Spec.Containers[0].SecurityContext.Capabilities
		if !slices.Equal(got.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(got.Add, []corev1.Capability{"NET_BIND_SERVICE"}) {
			t.Errorf("%s: got the capabilities %v, want NET_BIND_SERVICE only", folder, got)
		}
		want := []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "53"}}
		if got := pod.Spec.SecurityContext.Sysctls; !slices.Equal(got, want) {
			t.Errorf("%s: got the sysctls %v, want %v", folder, got, want)
		}
	}
}

// TestLabelsAreThoseThatReadmePromises: our Service selects the pods, they are told from another CoreDNS's, and no object but the
// Service of the cluster's DNS is left when those with the label are deleted.
func TestLabelsAreThoseThatReadmePromises(t *testing.T) {
	ours := map[string]string{"app.kubernetes.io/name": name}
	for _, folder := range overlays {
		objects := render(t, folder)
		pod, selector, own := workload(t, objects)
		if _, ok := own["k8s-app"]; ok {
			t.Errorf("%s: got the labels %v, want no k8s-app: kubeadm refuses a second Deployment with it", folder, own)
		}
		if !maps.Equal(selector.MatchLabels, ours) || !labels.SelectorFromSet(ours).Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s: got the selector %v for the labels %v, want %v", folder, selector.MatchLabels, pod.Labels, ours)
		}
		if service := get[*corev1.Service](t, objects, "Service "+name); !maps.Equal(service.Spec.Selector, ours) {
			t.Errorf("%s: the Service selects %v, want %v", folder, service.Spec.Selector, ours)
		}
		if service, ok := objects["Service kube-dns"].(*corev1.Service); ok {
			if want := map[string]string{"k8s-app": "kube-dns"}; !maps.Equal(service.Spec.Selector, want) || pod.Labels["k8s-app"] != "kube-dns" {
				t.Errorf("%s: the Service kube-dns selects %v, want %v, which the pods have", folder, service.Spec.Selector, want)
			}
		}
		if b, ok := objects["PodDisruptionBudget "+name].(*policyv1.PodDisruptionBudget); ok {
			if !maps.Equal(b.Spec.Selector.MatchLabels, ours) || b.Spec.MaxUnavailable.Type != intstr.String {
				t.Errorf("%s: the PodDisruptionBudget has %v of %v, want a share of %v", folder, b.Spec.MaxUnavailable, b.Spec.Selector.MatchLabels, ours)
			}
		}
		for key, o := range objects {
			label := o.GetLabels()["app.kubernetes.io/name"]
			switch {
			case key == "Service kube-dns" && label != "":
				t.Errorf("%s: %s: got the label %q, want none", folder, key, label)
			case key != "Service kube-dns" && label != o.GetName():
				t.Errorf("%s: %s: got the label %q, want its name", folder, key, label)
			}
			if namespace := o.GetNamespace(); namespace != "kube-system" && !strings.HasPrefix(key, "ClusterRole") {
				t.Errorf("%s: %s: got the namespace %q", folder, key, namespace)
			}
		}
	}
}

func TestRightsAreThoseOfThePodsAccount(t *testing.T) {
	objects := withComponent(t, "base", "components/autoscaler")
	for _, account := range []string{name, name + "-autoscaler"} {
		get[*corev1.ServiceAccount](t, objects, "ServiceAccount "+account)
		if got := get[*appsv1.Deployment](t, objects, "Deployment "+account).Spec.Template.Spec.ServiceAccountName; got != account {
			t.Errorf("got the account %q, want %q", got, account)
		}
		want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: "kube-system"}}
		b := get[*rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding "+account)
		if role := (rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: account}); b.RoleRef != role || !slices.Equal(b.Subjects, want) {
			t.Errorf("%s: got %v for %v", account, b.RoleRef, b.Subjects)
		}
	}
	b := get[*rbacv1.RoleBinding](t, objects, "RoleBinding "+name+"-autoscaler")
	if role := (rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name + "-autoscaler"}); b.RoleRef != role || b.Subjects[0].Name != role.Name {
		t.Errorf("got %v for %v", b.RoleRef, b.Subjects)
	}
}

// TestPortsAreThoseOfTheCorefile compares the Corefile, which has the default ports of its plugins, with the container, its probes
// and the Service.
func TestPortsAreThoseOfTheCorefile(t *testing.T) {
	for _, folder := range overlays {
		objects := render(t, folder)
		pod, _, _ := workload(t, objects)
		c := pod.Spec.Containers[0]
		corefile := get[*corev1.ConfigMap](t, objects, "ConfigMap "+name).Data["Corefile"]
		want := map[string]int32{"dns/UDP": 53, "dns-tcp/TCP": 53}
		for line, port := range map[string]int32{"prometheus :9153": 9153, "health {": 8080, "ready": 8181} {
			if regexp.MustCompile(`(?m)^ +` + line + `$`).MatchString(corefile) {
				want[map[int32]string{9153: "metrics", 8080: "liveness-probe", 8181: "readiness-probe"}[port]+"/TCP"] = port
			}
		}
		got := make(map[string]int32)
		for _, p := range c.Ports {
			got[p.Name+"/"+string(p.Protocol)] = p.ContainerPort
		}
		if len(want) != 5 || !maps.Equal(got, want) {
			t.Errorf("%s: got the ports %v, want %v", folder, got, want)
		}
		for probe, want := range map[*corev1.Probe]corev1.HTTPGetAction{
			c.LivenessProbe:  {Path: "/health", Port: intstr.FromString("liveness-probe")},
			c.ReadinessProbe: {Path: "/ready", Port: intstr.FromString("readiness-probe")},
		} {
			if !reflect.DeepEqual(*probe.HTTPGet, want) {
				t.Errorf("%s: got the probe %v, want %v", folder, probe.HTTPGet, want)
			}
		}
		for _, service := range []string{name, "kube-dns"} {
			if objects["Service "+service] == nil {
				continue
			}
			ports := get[*corev1.Service](t, objects, "Service "+service).Spec.Ports
			if len(ports) != 3 {
				t.Errorf("%s: %s has the ports %v, want three", folder, service, ports)
			}
			for _, p := range ports {
				if to := p.TargetPort.String(); p.Port != got[p.Name+"/"+string(p.Protocol)] || to != p.Name && to != fmt.Sprint(p.Port) {
					t.Errorf("%s: %s has the port %v, the container %v", folder, service, p, got)
				}
			}
		}
	}
}

// TestFilesOfTheCorefileAreInVolumes: the Corefile is where -conf says, and the snapshot where the pod may write.
func TestFilesOfTheCorefileAreInVolumes(t *testing.T) {
	for _, folder := range overlays {
		objects := render(t, folder)
		pod, _, _ := workload(t, objects)
		c := pod.Spec.Containers[0]
		volumes := make(map[string]corev1.Volume)
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = v
		}
		at := make(map[string]corev1.VolumeMount)
		for _, m := range c.VolumeMounts {
			at[m.MountPath] = m
		}
		conf := at[filepath.Dir(c.Args[1])]
		config := volumes[conf.Name].ConfigMap
		if config == nil || !conf.ReadOnly || config.Items[0].Path != filepath.Base(c.Args[1]) {
			t.Fatalf("%s: got the mounts %v, want a ConfigMap with %s", folder, c.VolumeMounts, c.Args[1])
		}
		corefile := get[*corev1.ConfigMap](t, objects, "ConfigMap "+config.Name).Data[config.Items[0].Key]
		snapshot := regexp.MustCompile(`(?m)^ +snapshot (\S+)`).FindStringSubmatch(corefile)
		if snapshot == nil {
			t.Fatalf("%s: got no snapshot in\n%s", folder, corefile)
		}
		if m := at[filepath.Dir(snapshot[1])]; m.ReadOnly || volumes[m.Name].EmptyDir == nil {
			t.Errorf("%s: got %v for %s, want an emptyDir", folder, m, snapshot[1])
		}
	}
}

// TestCorefileOfANodeIsThatOfTheBase: but for the lines that say which node it is, and for what.
func TestCorefileOfANodeIsThatOfTheBase(t *testing.T) {
	corefile := func(folder string) string {
		return get[*corev1.ConfigMap](t, render(t, folder), "ConfigMap "+name).Data["Corefile"]
	}
	own := regexp.MustCompile(`(?m)^ +(# Who asks .*|node \{\$NODE_NAME\}|topology hints)\n`)
	got := corefile("nodelocal")
	if rest := own.ReplaceAllString(got, ""); rest != corefile("base") || len(own.FindAllString(got, -1)) != 3 {
		t.Errorf("got the Corefile\n%s", got)
	}
	pod, _, _ := workload(t, render(t, "nodelocal"))
	var fields []string
	for _, e := range pod.Spec.Containers[0].Env {
		if e.Name == "NODE_NAME" {
			fields = append(fields, e.ValueFrom.FieldRef.FieldPath)
		}
	}
	if !slices.Equal(fields, []string{"spec.nodeName"}) {
		t.Errorf("got NODE_NAME from %q, want it from the pod's node", fields)
	}
}

func TestServerHasTimeToEnd(t *testing.T) {
	for _, folder := range overlays {
		objects := render(t, folder)
		pod, _, _ := workload(t, objects)
		grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
		if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
			grace = *g
		}
		corefile := get[*corev1.ConfigMap](t, objects, "ConfigMap "+name).Data["Corefile"]
		lameduck := regexp.MustCompile(`(?m)^ +lameduck (\S+)$`).FindStringSubmatch(corefile)
		if lameduck == nil {
			t.Fatalf("%s: got no lameduck in\n%s", folder, corefile)
		}
		d, err := time.ParseDuration(lameduck[1])
		if err != nil || d < time.Second || 2*d > time.Duration(grace)*time.Second {
			t.Errorf("%s: got lameduck %s of %d s (%v)", folder, lameduck[1], grace, err)
		}
	}
}

// TestUpdateNeverTakesAPodBeforeAnotherIsReady also says which of the two kinds is which.
func TestUpdateNeverTakesAPodBeforeAnotherIsReady(t *testing.T) {
	d := get[*appsv1.Deployment](t, render(t, "base"), "Deployment "+name)
	if r := d.Spec.Strategy.RollingUpdate; r.MaxUnavailable.IntValue() != 0 || r.MaxSurge.String() != "25%" || *d.Spec.Replicas < 2 {
		t.Errorf("got %v with %d replicas", r, *d.Spec.Replicas)
	}
	if autoscaled := get[*appsv1.Deployment](t, withComponent(t, "base", "components/autoscaler"), "Deployment "+name); autoscaled.Spec.Replicas != nil {
		t.Errorf("got %d replicas beside an autoscaler, want none", *autoscaled.Spec.Replicas)
	}
	objects := render(t, "nodelocal")
	n := get[*appsv1.DaemonSet](t, objects, "DaemonSet "+name)
	if r := n.Spec.UpdateStrategy.RollingUpdate; r.MaxUnavailable.IntValue() != 0 || r.MaxSurge.String() != "10%" {
		t.Errorf("got %v", r)
	}
	if want := []corev1.Toleration{{Operator: corev1.TolerationOpExists}}; !slices.Equal(n.Spec.Template.Spec.Tolerations, want) {
		t.Errorf("got the tolerations %v, want %v: a pod on each node", n.Spec.Template.Spec.Tolerations, want)
	}
	if got := get[*corev1.Service](t, objects, "Service "+name).Spec.TrafficDistribution; got == nil || *got != corev1.ServiceTrafficDistributionPreferSameNode {
		t.Errorf("got the traffic distribution %v, want that clients use the pod on their node", got)
	}
}

func TestReplicasAreSpread(t *testing.T) {
	pod, _, _ := workload(t, render(t, "base"))
	var keys []string
	for _, c := range pod.Spec.TopologySpreadConstraints {
		if !labels.SelectorFromSet(c.LabelSelector.MatchLabels).Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s: got the selector %v for the labels %v", c.TopologyKey, c.LabelSelector.MatchLabels, pod.Labels)
		}
		keys = append(keys, c.TopologyKey)
	}
	if want := []string{corev1.LabelTopologyZone, corev1.LabelHostname}; !slices.Equal(keys, want) {
		t.Errorf("got a spread over %q, want %q", keys, want)
	}
	away := pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if len(away) != 1 || !maps.Equal(away[0].PodAffinityTerm.LabelSelector.MatchLabels, map[string]string{"k8s-app": "kube-dns"}) {
		t.Errorf("got the anti-affinity %v, want one to all pods of DNS", away)
	}
}

// TestExampleAdaptsTheBase: the example changes the image, the zone and the address, and is asked.
func TestExampleAdaptsTheBase(t *testing.T) {
	objects := render(t, "example")
	pod, _, _ := workload(t, objects)
	if got, want := pod.Spec.Containers[0].Image, "registry.example.com/coredns:v1.15.0"; got != want {
		t.Errorf("got the image %q, want %q", got, want)
	}
	if got, want := get[*corev1.Service](t, objects, "Service kube-dns").Spec.ClusterIP, "10.43.0.10"; got != want {
		t.Errorf("got the address %q, want %q", got, want)
	}
	base := get[*corev1.ConfigMap](t, render(t, "base"), "ConfigMap "+name).Data["Corefile"]
	want := strings.Replace(base, "cluster.local ", "cluster.example ", 1)
	if corefile := get[*corev1.ConfigMap](t, objects, "ConfigMap "+name).Data["Corefile"]; corefile != want || base == want {
		t.Errorf("got the Corefile\n%s", corefile)
	}
	if pod.Labels["k8s-app"] != "kube-dns" {
		t.Errorf("got the labels %v, want those that are asked", pod.Labels)
	}
}

// TestNetworkPolicyHasThePortsOfTheContainer: nothing that is offered is closed, and nothing else is open.
func TestNetworkPolicyHasThePortsOfTheContainer(t *testing.T) {
	objects := withComponent(t, "base", "components/networkpolicy")
	pod, selector, _ := workload(t, objects)
	policy := get[*networkingv1.NetworkPolicy](t, objects, "NetworkPolicy "+name)
	if !maps.Equal(policy.Spec.PodSelector.MatchLabels, selector.MatchLabels) || !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress"}) {
		t.Errorf("got %v", policy.Spec)
	}
	var got, want []string
	for _, p := range policy.Spec.Ingress[0].Ports {
		got = append(got, p.Port.String()+"/"+string(*p.Protocol))
	}
	for _, p := range pod.Spec.Containers[0].Ports {
		want = append(want, p.Name+"/"+string(p.Protocol))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the ports %q, want %q", got, want)
	}
}

// TestMonitorScrapesThePods: by a port that they have.
func TestMonitorScrapesThePods(t *testing.T) {
	objects := withComponent(t, "base", "prometheus")
	pod, selector, _ := workload(t, objects)
	monitor := get[*monitoringv1.PodMonitor](t, objects, "PodMonitor "+name)
	if !maps.Equal(monitor.Spec.Selector.MatchLabels, selector.MatchLabels) {
		t.Errorf("got the selector %v, want %v", monitor.Spec.Selector.MatchLabels, selector.MatchLabels)
	}
	port := monitor.Spec.PodMetricsEndpoints[0].Port
	if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == *port && p.ContainerPort == 9153 }) {
		t.Errorf("got the port %q, want one of %v", *port, pod.Spec.Containers[0].Ports)
	}
	if rules := get[*monitoringv1.PrometheusRule](t, objects, "PrometheusRule "+name).Spec.Groups; len(rules) != 1 || len(rules[0].Rules) < 10 {
		t.Errorf("got the rules %v, want those of the alerts", rules)
	}
}

// TestSecondariesKnowTheirPrimary: NSD has the zones of a Deployment with one replica, by its Service's address, and may have
// them; it answers on the port of its own Service, and meets the restricted standard, as the primary does.
func TestSecondariesKnowTheirPrimary(t *testing.T) {
	objects := render(t, "secondary")
	primary := get[*appsv1.Deployment](t, objects, "Deployment "+name+"-primary")
	corefile := get[*corev1.ConfigMap](t, objects, "ConfigMap "+name+"-primary").Data["Corefile"]
	d := get[*appsv1.DaemonSet](t, objects, "DaemonSet "+nsd)
	if *primary.Spec.Replicas != 1 || !strings.Contains(corefile, "transfer {\n        to *\n") {
		t.Errorf("got %d replicas, want one, which gives transfers:\n%s", *primary.Spec.Replicas, corefile)
	}
	of := get[*corev1.Service](t, objects, "Service "+name+"-primary")
	for service, pods := range map[*corev1.Service]corev1.PodTemplateSpec{of: primary.Spec.Template, get[*corev1.Service](t, objects, "Service "+nsd): d.Spec.Template} {
		for what, pod := range map[string]corev1.PodTemplateSpec{"primary": primary.Spec.Template, "secondary": d.Spec.Template} {
			chosen := labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels))
			if want := maps.Equal(pod.Labels, pods.Labels); chosen != want {
				t.Errorf("%s chooses the %s: %v, want %v", service.Name, what, chosen, want)
			}
		}
		base := get[*corev1.Service](t, render(t, "base"), "Service "+name)
		if labels.SelectorFromSet(base.Spec.Selector).Matches(labels.Set(pods.Labels)) {
			t.Errorf("the Service of the base chooses the pods of %s", service.Name)
		}
	}
	config := get[*corev1.ConfigMap](t, objects, "ConfigMap "+d.Spec.Template.Spec.Volumes[0].ConfigMap.Name)
	want := "10.43.0.53"
	if got := config.Data["primary.conf"]; of.Spec.ClusterIP != want || got != "request-xfr: "+want+" NOKEY\n" {
		t.Errorf("the primary is at %s, and NSD asks by %q; want %s", of.Spec.ClusterIP, got, want)
	}
	var zones []string
	for _, match := range regexp.MustCompile(`(?m)^zone:\n  name: "(.*)"$`).FindAllStringSubmatch(config.Data["nsd.conf"], -1) {
		zones = append(zones, match[1])
	}
	if first, _, _ := strings.Cut(corefile, " {"); strings.Join(zones, " ") != first {
		t.Errorf("NSD has the zones %q, and the primary %q", zones, first)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range []corev1.PodTemplateSpec{primary.Spec.Template, d.Spec.Template} {
		for _, result := range evaluator.EvaluatePod(psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
			if !result.Allowed {
				t.Errorf("%s: %s (%s)", pod.Labels, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		for _, v := range pod.Spec.Containers[0].VolumeMounts {
			if !slices.ContainsFunc(pod.Spec.Volumes, func(o corev1.Volume) bool { return o.Name == v.Name }) {
				t.Errorf("no volume %s", v.Name)
			}
		}
	}
}

// TestSecondariesNeedAnAddress: as the folder is, it renders nothing.
func TestSecondariesNeedAnAddress(t *testing.T) {
	if rendered, err := build("secondary"); err == nil || !strings.Contains(err.Error(), "data.primary") {
		t.Errorf("got %v, %v; want an error that names data.primary", rendered, err)
	}
}
