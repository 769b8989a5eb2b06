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

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// name is that of all our objects but the Service, and the label app.kubernetes.io/name of these.
const name = "coredns-headless"

// overlays are the folders that are rendered on their own. The example has all components that have objects.
var overlays = []string{"base", "nodelocal", "example"}

// object is what every object of Kubernetes is.
type object interface {
	runtime.Object
	metav1.Object
}

// render returns the objects of a folder by kind and name, decoded strictly.
func render(t *testing.T, folder string) map[string]object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
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
		"Deployment coredns-headless", "PodDisruptionBudget coredns-headless", "Service kube-dns", "ServiceAccount coredns-headless",
	}
	for folder, want := range map[string][]string{
		"base": base,
		"nodelocal": {
			"ClusterRole coredns-headless", "ClusterRoleBinding coredns-headless", "ConfigMap coredns-headless",
			"DaemonSet coredns-headless", "Service kube-dns", "ServiceAccount coredns-headless",
		},
		"example": append([]string{
			"ClusterRole coredns-headless-autoscaler", "ClusterRoleBinding coredns-headless-autoscaler",
			"ConfigMap coredns-headless-autoscaler", "Deployment coredns-headless-autoscaler", "Role coredns-headless-autoscaler",
			"RoleBinding coredns-headless-autoscaler", "ServiceAccount coredns-headless-autoscaler",
		}, base...),
	} {
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(render(t, folder))); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", folder, got, want)
		}
	}
}

// TestComponentsRender renders each component with the base.
func TestComponentsRender(t *testing.T) {
	components, err := filepath.Glob("components/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(components) != 3 {
		t.Errorf("got the components %q, want three", components)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, component := range components {
		folder, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		to, err := filepath.Rel(folder, here)
		if err != nil {
			t.Fatal(err)
		}
		content := fmt.Sprintf("resources: [%s/base]\ncomponents: [%s/%s]\n", to, to, component)
		if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		role := get[*rbacv1.ClusterRole](t, render(t, folder), "ClusterRole "+name)
		want := 3
		if component == "components/autoscaler" {
			want = 2
		}
		if len(role.Rules) != want {
			t.Errorf("%s: got the rules %v, want %d", component, role.Rules, want)
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
		named := append([]string{"kustomization.yaml"}, k.Resources...)
		for _, generator := range k.ConfigMapGenerator {
			named = append(named, generator.FileSources...)
		}
		files, err := os.ReadDir(path)
		for _, file := range files {
			if !slices.Contains(named, file.Name()) {
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
		if folder == "example" {
			pods["autoscaler"] = get[*appsv1.Deployment](t, objects, "Deployment "+name+"-autoscaler").Spec.Template
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

// TestLabelsAreThoseThatReadmePromises: the Service selects the pods, they are told from another CoreDNS's, and no object but the
// Service is left when those with the label are deleted.
func TestLabelsAreThoseThatReadmePromises(t *testing.T) {
	for _, folder := range overlays {
		objects := render(t, folder)
		pod, selector, own := workload(t, objects)
		if _, ok := own["k8s-app"]; ok {
			t.Errorf("%s: got the labels %v, want no k8s-app: kubeadm refuses a second Deployment with it", folder, own)
		}
		if len(selector.MatchLabels) < 2 || !labels.SelectorFromSet(selector.MatchLabels).Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s: got the selector %v for the labels %v", folder, selector.MatchLabels, pod.Labels)
		}
		service := get[*corev1.Service](t, objects, "Service kube-dns")
		if want := map[string]string{"k8s-app": "kube-dns"}; !maps.Equal(service.Spec.Selector, want) || pod.Labels["k8s-app"] != "kube-dns" {
			t.Errorf("%s: the Service selects %v, want %v, which the pods have", folder, service.Spec.Selector, want)
		}
		if b, ok := objects["PodDisruptionBudget "+name].(*policyv1.PodDisruptionBudget); ok {
			if want := map[string]string{"app.kubernetes.io/name": name}; !maps.Equal(b.Spec.Selector.MatchLabels, want) {
				t.Errorf("%s: the PodDisruptionBudget selects %v, want %v", folder, b.Spec.Selector.MatchLabels, want)
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
	objects := render(t, "example")
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
		for _, p := range get[*corev1.Service](t, objects, "Service kube-dns").Spec.Ports {
			if p.Port != got[p.Name+"/"+string(p.Protocol)] || p.TargetPort.IntVal != p.Port {
				t.Errorf("%s: the Service has the port %v, the container %v", folder, p, got)
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
	if autoscaled := get[*appsv1.Deployment](t, render(t, "example"), "Deployment "+name); autoscaled.Spec.Replicas != nil {
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
	if got := get[*corev1.Service](t, objects, "Service kube-dns").Spec.TrafficDistribution; got == nil || *got != corev1.ServiceTrafficDistributionPreferSameNode {
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

// TestExampleAdaptsTheBase: the example changes the image, the Corefile, the address and the rights.
func TestExampleAdaptsTheBase(t *testing.T) {
	objects := render(t, "example")
	pod, _, _ := workload(t, objects)
	if got, want := pod.Spec.Containers[0].Image, "registry.example.com/coredns:v1.15.0"; got != want {
		t.Errorf("got the image %q, want %q", got, want)
	}
	if got, want := get[*corev1.Service](t, objects, "Service kube-dns").Spec.ClusterIP, "10.43.0.10"; got != want {
		t.Errorf("got the address %q, want %q", got, want)
	}
	if corefile := get[*corev1.ConfigMap](t, objects, "ConfigMap "+name).Data["Corefile"]; !strings.Contains(corefile, "\ncluster.example ") {
		t.Errorf("got the Corefile\n%s", corefile)
	}
}
