package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// chart is what the values are tried with: testdata/chart, which has the keys of CoreDNS's chart, or the one that the variable names.
func chart() string {
	if folder := os.Getenv("HEADLESS_TEST_CHART"); folder != "" {
		return folder
	}
	return "testdata/chart"
}

// rendered returns the object of a kind, decoded strictly.
func rendered[T any](t *testing.T, kind string) (object T) {
	t.Helper()
	objects, err := render(chart(), "coredns-headless")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, text := range objects {
		if regexp.MustCompile(`(?m)^kind: ` + kind + `$`).MatchString(text) {
			found++
			if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
		}
	}
	if found != 1 {
		t.Fatalf("got %d objects of kind %s, want one, in\n%s", found, kind, strings.Join(objects, "\n---\n"))
	}
	return object
}

// TestValuesSayWhatTheBaseSays: the Corefile is that of deploy/base, but for the port.
func TestValuesSayWhatTheBaseSays(t *testing.T) {
	base, err := os.ReadFile("../base/Corefile")
	if err != nil {
		t.Fatal(err)
	}
	words := func(corefile string) (lines []string) {
		for line := range strings.Lines(regexp.MustCompile(`#.*`).ReplaceAllString(corefile, "")) {
			if words := strings.Fields(line); len(words) > 0 {
				lines = append(lines, strings.Join(words, " "))
			}
		}
		return lines
	}
	corefile := rendered[corev1.ConfigMap](t, "ConfigMap").Data["Corefile"]
	zones := regexp.MustCompile(`dns://(\S+):1053`)
	if got, want := words(zones.ReplaceAllString(corefile, "$1")), words(string(base)); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := len(zones.FindAllString(corefile, -1)); n != 4 {
		t.Errorf("got %d zones with a port, want all four, in\n%s", n, corefile)
	}
}

// TestNobodyAsks: the Service kube-dns, as kubeadm makes it, chooses none of the pods, and the Service of the chart all of them.
func TestNobodyAsks(t *testing.T) {
	d, service := rendered[appsv1.Deployment](t, "Deployment"), rendered[corev1.Service](t, "Service")
	labels := d.Spec.Template.Labels
	if labels["k8s-app"] == "kube-dns" {
		t.Errorf("got the labels %v, want none that the Service kube-dns knows", labels)
	}
	for _, selector := range []map[string]string{service.Spec.Selector, d.Spec.Selector.MatchLabels, rendered[policyv1.PodDisruptionBudget](t, "PodDisruptionBudget").Spec.Selector.MatchLabels} {
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("got the selector %v for the labels %v", selector, labels)
			}
		}
	}
	networks := make(map[corev1.Protocol]bool)
	for _, p := range service.Spec.Ports {
		networks[p.Protocol] = true
		if p.Port != 53 || p.TargetPort.IntVal != 1053 {
			t.Errorf("got the port %v, want 53 to 1053", p)
		}
	}
	if !networks[corev1.ProtocolUDP] || !networks[corev1.ProtocolTCP] {
		t.Errorf("got the ports %v, want UDP and TCP", service.Spec.Ports)
	}
}

// TestPodIsThatOfTheBase compares what the chart lets us say.
func TestPodIsThatOfTheBase(t *testing.T) {
	text, err := os.ReadFile("../base/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var base appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &base); err != nil {
		t.Fatal(err)
	}
	d := rendered[appsv1.Deployment](t, "Deployment")
	pod, want := d.Spec.Template.Spec, base.Spec.Template.Spec
	got, of := pod.Containers[0], want.Containers[0]
	for what, pair := range map[string][2]any{
		"image":     {got.Image, of.Image},
		"replicas":  {*d.Spec.Replicas, *base.Spec.Replicas},
		"update":    {d.Spec.Strategy.RollingUpdate, base.Spec.Strategy.RollingUpdate},
		"resources": {got.Resources, of.Resources},
		"places":    {pod.Tolerations, want.Tolerations},
		"nodes":     {pod.NodeSelector, want.NodeSelector},
		"priority":  {pod.PriorityClassName, want.PriorityClassName},
		"resolver":  {pod.DNSPolicy, want.DNSPolicy},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %v, want %v, as in deploy/base", what, pair[0], pair[1])
		}
	}
	if s := got.SecurityContext; !*s.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || len(s.Capabilities.Add) > 0 {
		t.Errorf("got the security context %v", s)
	}
	var names []string
	for _, rule := range rendered[rbacv1.ClusterRole](t, "ClusterRole").Rules {
		names = append(names, rule.Resources...)
	}
	for _, needed := range []string{"namespaces", "services", "endpointslices"} {
		if !strings.Contains(strings.Join(names, " "), needed) {
			t.Errorf("got the right to %q, want %s among them", names, needed)
		}
	}
}
