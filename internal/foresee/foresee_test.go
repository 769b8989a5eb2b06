package foresee

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// objects returns what is in manifests, of which --- separates the documents.
func objects(t *testing.T, manifests string) (all []runtime.Object) {
	t.Helper()
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		text, err := yaml.YAMLToJSON([]byte(document))
		var obj runtime.Object
		if err == nil {
			obj, _, err = scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
		}
		if err != nil {
			t.Fatalf("%v in %s", err, document)
		}
		all = append(all, obj)
	}
	return all
}

// endpoints writes what the EndpointSlices among objects say, a line for each endpoint, sorted.
func endpoints(all []runtime.Object) string {
	var lines []string
	for _, obj := range all {
		es, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		var ports []string
		for _, p := range es.Ports {
			ports = append(ports, fmt.Sprintf("%s:%d/%s", *p.Name, *p.Port, *p.Protocol))
		}
		for _, e := range es.Endpoints {
			hostname, state := "-", "ready"
			if e.Hostname != nil {
				hostname = *e.Hostname
			}
			switch c := e.Conditions; {
			case c.Ready == nil || *c.Ready:
			case *c.Serving && *c.Terminating:
				state = "leaving"
			default:
				state = "not ready"
			}
			if isIPv6 := strings.Contains(e.Addresses[0], ":"); isIPv6 != (es.AddressType == discoveryv1.AddressTypeIPv6) {
				state += " in a slice of " + string(es.AddressType)
			}
			lines = append(lines, fmt.Sprintf("%s/%s %s %s %s %s", es.Namespace, es.Labels[discoveryv1.LabelServiceName], hostname, e.Addresses[0], state, strings.Join(ports, " ")))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// manifest pieces.
const (
	headless = `{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432}]}}`
	labelled = `selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: x}]}}`
)

func set(spec string) string {
	return "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: shop}, spec: {serviceName: db, " + spec + ", " + labelled + "}}"
}

func TestPodsAreForeseen(t *testing.T) {
	long := strings.Repeat("d", 64)
	for _, c := range []struct {
		name, manifests string
		want            []string // the endpoints
		notes           []string // what each begins with
	}{
		{"a StatefulSet", set("replicas: 2") + "\n---\n" + headless, []string{"shop/db db-0 198.18.0.1 ready sql:5432/TCP", "shop/db db-1 198.18.0.2 ready sql:5432/TCP"}, []string{"2 Pods of StatefulSet shop/db"}},
		{"a StatefulSet that does not say how many", headless + "\n---\n" + set("podManagementPolicy: Parallel"), []string{"shop/db db-0 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of StatefulSet shop/db"}},
		{"a StatefulSet of none", set("replicas: 0") + "\n---\n" + headless, nil, nil},
		{"a StatefulSet that counts from 3", set("replicas: 2, ordinals: {start: 3}") + "\n---\n" + headless, []string{"shop/db db-3 198.18.0.1 ready sql:5432/TCP", "shop/db db-4 198.18.0.2 ready sql:5432/TCP"}, []string{"2 Pods of"}},
		{
			"a StatefulSet of which a Pod is there",
			set("replicas: 2") + "\n---\n" + headless + "\n---\n" + `{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db},
				ownerReferences: [{kind: StatefulSet, name: db, controller: true}]}, spec: {hostname: db-0, subdomain: db},
				status: {podIP: 10.1.0.5, conditions: [{type: Ready, status: "True"}]}}`,
			[]string{"shop/db db-0 10.1.0.5 ready sql:5432/TCP"},
			[]string{"EndpointSlices of 1 Service"},
		},
		{
			"a Deployment of which a Pod is there, by way of its ReplicaSet",
			"{apiVersion: apps/v1, kind: Deployment, metadata: {name: db, namespace: shop}, spec: {replicas: 2, " + labelled + "}}\n---\n" + headless + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-7d9f-x2x4z, namespace: shop, labels: {app: db, pod-template-hash: 7d9f},
				ownerReferences: [{kind: ReplicaSet, name: db-7d9f, controller: true}]},
				status: {podIP: 10.1.0.5, conditions: [{type: Ready, status: "True"}]}}`,
			[]string{"shop/db - 10.1.0.5 ready sql:5432/TCP"},
			[]string{"EndpointSlices of 1 Service"},
		},
		{"a StatefulSet of another Service", strings.Replace(set("replicas: 1"), "serviceName: db", "serviceName: other", 1) + "\n---\n" + headless, []string{"shop/db - 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of"}},
		{"a Service of one Pod of a StatefulSet", set("replicas: 2") + "\n---\n" + `{apiVersion: v1, kind: Service, metadata: {name: db-1, namespace: shop}, spec: {clusterIP: None, selector: {statefulset.kubernetes.io/pod-name: db-1}}}`, []string{"shop/db-1 - 198.18.0.2 ready "}, []string{"2 Pods of"}},
		{"a Service of one Pod of a StatefulSet, by its number", set("replicas: 2") + "\n---\n" + `{apiVersion: v1, kind: Service, metadata: {name: db-1, namespace: shop}, spec: {clusterIP: None, selector: {apps.kubernetes.io/pod-index: "1"}}}`, []string{"shop/db-1 - 198.18.0.2 ready "}, []string{"2 Pods of"}},
		{"two versions of a StatefulSet", set("replicas: 5") + "\n---\n" + set("replicas: 1") + "\n---\n" + headless, []string{"shop/db db-0 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of"}},
		{"a Service in another namespace", set("replicas: 1") + "\n---\n" + strings.Replace(headless, "namespace: shop", "namespace: other", 1), nil, []string{"1 Pod of"}},
		{"objects without a namespace", strings.Replace(set("replicas: 1")+"\n---\n"+headless, ", namespace: shop", "", 2), []string{"default/db db-0 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of StatefulSet default/db"}},
		{
			"a Deployment whose template has a hostname",
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: db, namespace: shop}, spec: {replicas: 2, ` + strings.Replace(labelled, "spec: {", "spec: {hostname: one, subdomain: db, ", 1) + "}}\n---\n" + headless,
			[]string{"shop/db one 198.18.0.1 ready sql:5432/TCP", "shop/db one 198.18.0.2 ready sql:5432/TCP"},
			[]string{"2 Pods of Deployment shop/db"},
		},
		{"a Deployment that is paused", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: db, namespace: shop}, spec: {paused: true, ` + labelled + "}}\n---\n" + headless, nil, nil},
		{"a ReplicaSet", `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: db, namespace: shop}, spec: {replicas: 1, ` + labelled + "}}\n---\n" + headless, []string{"shop/db - 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of ReplicaSet"}},
		{"a DaemonSet, on one node", `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: db, namespace: shop}, spec: {` + labelled + "}}\n---\n" + headless, []string{"shop/db - 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of DaemonSet"}},
		{"a ReplicationController", `{apiVersion: v1, kind: ReplicationController, metadata: {name: db, namespace: shop}, spec: {replicas: 1, template: {metadata: {labels: {app: db}}, spec: {}}}}` + "\n---\n" + headless, []string{"shop/db - 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of ReplicationController"}},
		{
			"an indexed Job",
			`{apiVersion: batch/v1, kind: Job, metadata: {name: mpi, namespace: shop}, spec: {completions: 3, parallelism: 2, completionMode: Indexed, template: {spec: {subdomain: mpi}}}}` + "\n---\n" +
				`{apiVersion: v1, kind: Service, metadata: {name: mpi, namespace: shop}, spec: {clusterIP: None, selector: {job-name: mpi}}}`,
			[]string{"shop/mpi mpi-0 198.18.0.1 ready ", "shop/mpi mpi-1 198.18.0.2 ready "},
			[]string{"2 Pods of Job shop/mpi"},
		},
		{
			"a Service of one Pod of an indexed Job",
			`{apiVersion: batch/v1, kind: Job, metadata: {name: mpi, namespace: shop}, spec: {completions: 3, parallelism: 2, completionMode: Indexed, template: {spec: {subdomain: mpi}}}}` + "\n---\n" +
				`{apiVersion: v1, kind: Service, metadata: {name: mpi, namespace: shop}, spec: {clusterIP: None, selector: {batch.kubernetes.io/job-name: mpi, batch.kubernetes.io/job-completion-index: "1"}}}`,
			[]string{"shop/mpi mpi-1 198.18.0.2 ready "},
			[]string{"2 Pods of Job shop/mpi"},
		},
		{"a Job that says it has no index", `{apiVersion: batch/v1, kind: Job, metadata: {name: db, namespace: shop}, spec: {completionMode: NonIndexed, template: {metadata: {labels: {app: db}}, spec: {subdomain: db}}}}` + "\n---\n" + headless, []string{"shop/db - 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of Job"}},
		{"a Job that does not begin", `{apiVersion: batch/v1, kind: Job, metadata: {name: db, namespace: shop}, spec: {suspend: true, template: {metadata: {labels: {app: db}}}}}` + "\n---\n" + headless, nil, nil},
		{"a Job of no index", `{apiVersion: batch/v1, kind: Job, metadata: {name: db, namespace: shop}, spec: {parallelism: 3, completions: 2, template: {metadata: {labels: {app: db}}}}}` + "\n---\n" + headless, []string{"shop/db - 198.18.0.1 ready sql:5432/TCP", "shop/db - 198.18.0.2 ready sql:5432/TCP"}, []string{"2 Pods of Job"}},
		{"a Pod", `{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {hostname: first, subdomain: db, hostnameOverride: other}}` + "\n---\n" + headless, []string{"shop/db first 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod that no workload makes"}},
		{
			"a targetPort that is the name of a container's port, which one of two has",
			set("replicas: 1") + "\n---\n" + strings.Replace(headless, "port: 5432", "port: 5432, targetPort: pg", 1) + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {containers: [{name: c, image: x, ports: [{name: pg, containerPort: 6000, protocol: UDP}, {name: pg, containerPort: 7000}]}]}}`,
			[]string{"shop/db - 198.18.0.2 ready sql:7000/TCP", "shop/db db-0 198.18.0.1 ready "},
			[]string{"1 Pod of", "1 Pod that"},
		},
		{
			"a targetPort of a container that starts first and stays",
			`{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {initContainers: [{name: i, ports: [{name: pg, containerPort: 1}]}, {name: c, restartPolicy: Always, ports: [{name: pg, containerPort: 2}]}]}}` + "\n---\n" +
				strings.Replace(headless, "port: 5432", "port: 5432, targetPort: pg", 1),
			[]string{"shop/db - 198.18.0.1 ready sql:2/TCP"},
			[]string{"1 Pod that"},
		},
		{
			"two ports of one number, of which each of two Pods has one",
			`{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {containers: [{name: c, ports: [{name: pg, containerPort: 1}]}]}}` + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: two, namespace: shop, labels: {app: db}}, spec: {containers: [{name: c, ports: [{name: my, containerPort: 1}]}]}}` + "\n---\n" +
				strings.Replace(headless, "port: 5432}", "port: 5432, targetPort: pg}, {name: my, port: 3306, targetPort: my}", 1),
			[]string{"shop/db - 198.18.0.1 ready sql:1/TCP", "shop/db - 198.18.0.2 ready my:1/TCP"},
			[]string{"2 Pods that"},
		},
		{"a Service of both families", set("replicas: 1") + "\n---\n" + strings.Replace(headless, "clusterIP: None", "clusterIP: None, ipFamilyPolicy: PreferDualStack", 1), []string{"shop/db db-0 198.18.0.1 ready sql:5432/TCP", "shop/db db-0 2001:db8:12::1 ready sql:5432/TCP"}, []string{"1 Pod of"}},
		{"a Service of IPv6", set("replicas: 1") + "\n---\n" + strings.Replace(headless, "clusterIP: None", "clusterIP: None, ipFamilies: [IPv6]", 1), []string{"shop/db db-0 2001:db8:12::1 ready sql:5432/TCP"}, []string{"1 Pod of"}},
		{"a Service with a slice", set("replicas: 1") + "\n---\n" + headless + "\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: x, namespace: shop, labels: {kubernetes.io/service-name: db}}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}]}", []string{"shop/db - 10.0.0.1 ready "}, []string{"1 Pod of"}},

		{"a StatefulSet that a cluster has seen", strings.Replace(set("replicas: 1"), "name: db,", "name: db, uid: u,", 1) + "\n---\n" + headless, nil, nil},
		{"a StatefulSet with a status", strings.TrimSuffix(set("replicas: 1"), "}") + ", status: {replicas: 1}}\n---\n" + headless, nil, nil},
		{"a StatefulSet with an empty status", strings.TrimSuffix(set("replicas: 1"), "}") + ", status: {replicas: 0}}\n---\n" + headless, []string{"shop/db db-0 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of"}},
		{
			"Pods of a dump without slices", headless + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db}, uid: u}, spec: {hostname: db-0, subdomain: db}, status: {phase: Running, podIP: 10.1.0.5, conditions: [{type: Ready, status: "True"}]}}` + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-1, namespace: shop, labels: {app: db}}, spec: {hostname: db-1, subdomain: db}, status: {phase: Running, podIP: 10.1.0.6}}` + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-2, namespace: shop, labels: {app: db}, uid: w}, spec: {hostname: db-2, subdomain: db}}` + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-3, namespace: shop, labels: {app: db}}, spec: {hostname: db-3, subdomain: db}, status: {phase: Succeeded, podIP: 10.1.0.7}}` + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-4, namespace: shop, labels: {app: db}}, spec: {hostname: db-4, subdomain: db}, status: {phase: Failed, podIP: 10.1.0.8}}`,
			[]string{"shop/db db-0 10.1.0.5 ready sql:5432/TCP", "shop/db db-1 10.1.0.6 not ready sql:5432/TCP"},
			[]string{"EndpointSlices of 1 Service, which the files lack, are made of the Pods in them"},
		},
		{
			"a Pod of a dump without slices, and one that is foreseen",
			`{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}, uid: u}, status: {podIP: 10.1.0.5, conditions: [{type: Ready, status: "True"}]}}` + "\n---\n" + headless + "\n---\n" + set("replicas: 1"),
			[]string{"shop/db - 10.1.0.5 ready sql:5432/TCP", "shop/db db-0 198.18.0.1 ready sql:5432/TCP"},
			[]string{"1 Pod of StatefulSet", "EndpointSlices of 1 Service"},
		},
		{
			"Pods of a dump that are published before they are ready, and one that is leaving", strings.Replace(headless, "clusterIP: None", "clusterIP: None, publishNotReadyAddresses: true", 1) + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db}, uid: u}, spec: {hostname: db-0, subdomain: db}, status: {podIPs: [{ip: 10.1.0.5}, {ip: '2001:db8::1'}]}}`,
			[]string{"shop/db db-0 10.1.0.5 ready sql:5432/TCP"},
			[]string{"EndpointSlices of 1 Service"},
		},
		{
			"a Pod of a dump that is leaving", headless + "\n---\n" +
				`{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db}, uid: u, deletionTimestamp: "2026-01-01T00:00:00Z"}, spec: {hostname: db-0, subdomain: db}, status: {podIP: 10.1.0.5, conditions: [{type: Ready, status: "True"}]}}`,
			[]string{"shop/db db-0 10.1.0.5 leaving sql:5432/TCP"},
			[]string{"EndpointSlices of 1 Service"},
		},

		{"a selector that does not match the template", strings.Replace(set("replicas: 1"), "matchLabels: {app: db}", "matchLabels: {app: dc}", 1) + "\n---\n" + headless, nil, []string{"no Pod of StatefulSet shop/db: the API server would refuse it, for its selector does not match"}},
		{"a selector of everything", strings.Replace(set("replicas: 1"), "matchLabels: {app: db}", "", 1) + "\n---\n" + headless, nil, []string{"no Pod of StatefulSet shop/db: the API server would refuse it"}},
		{"a StatefulSet without a selector", strings.Replace(set("replicas: 1"), "selector: {matchLabels: {app: db}}, ", "", 1) + "\n---\n" + headless, nil, []string{"no Pod of StatefulSet shop/db: the API server would refuse it"}},
		{"a DaemonSet whose selector does not match", `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: db, namespace: shop}, spec: {` + strings.Replace(labelled, "matchLabels: {app: db}", "matchLabels: {app: dc}", 1) + "}}\n---\n" + headless, nil, []string{"no Pod of DaemonSet shop/db"}},
		{"a StatefulSet whose name just fits the label of its revision", strings.Replace(set("replicas: 1"), "name: db,", "name: "+long[:52]+",", 1) + "\n---\n" + headless, []string{"shop/db " + long[:52] + "-0 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of"}},
		{"a StatefulSet of a long name", strings.Replace(set("replicas: 3"), "name: db,", "name: "+long[:53]+",", 1) + "\n---\n" + headless, nil, []string{"no Pod " + long[:53] + "-0 of StatefulSet shop/" + long[:53] + ": the API server would refuse it, for its label controller-revision-hash would have more than 63 characters"}},
		{"a hostname as long as a label", `{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {hostname: ` + long[:63] + `, subdomain: db}}` + "\n---\n" + headless, []string{"shop/db " + long[:63] + " 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod that"}},
		{"a hostname longer than a label", `{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {hostname: ` + long[:64] + `, subdomain: db}}` + "\n---\n" + headless, nil, []string{"no Pod one of Pod shop/one: the API server would refuse it, for its hostname would have 64 characters, and a label has up to 63"}},
		{"a hostname that is no label", `{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {hostname: a_b, subdomain: db}}` + "\n---\n" + headless, nil, []string{"no Pod one of Pod shop/one: the API server would refuse it, for its hostname a_b is no label"}},
		{"an FQDN for a hostname", strings.Replace(set("replicas: 1"), "spec: {containers", "spec: {setHostnameAsFQDN: true, containers", 1) + "\n---\n" + headless, []string{"shop/db db-0 198.18.0.1 ready sql:5432/TCP"}, []string{"1 Pod of"}},
		{
			"an FQDN for a hostname that is too long for the kernel",
			`{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {hostname: ` + long[:39] + `, subdomain: db, setHostnameAsFQDN: true}}` + "\n---\n" + headless,
			nil,
			[]string{"no Pod one of Pod shop/one: it would never start, for setHostnameAsFQDN calls it "},
		},
		{
			"an FQDN of a Pod's name that is too long for the kernel", `{apiVersion: v1, kind: Pod, metadata: {name: ` + long[:39] + `, namespace: shop}, spec: {subdomain: db, setHostnameAsFQDN: true}}`,
			nil,
			[]string{"no Pod " + long[:39] + " of Pod shop/" + long[:39] + ": it would never start"},
		},
		{
			"an FQDN for a hostname that just fits",
			`{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {hostname: ` + long[:38] + `, subdomain: db, setHostnameAsFQDN: true}}` + "\n---\n" + headless,
			[]string{"shop/db " + long[:38] + " 198.18.0.1 ready sql:5432/TCP"},
			[]string{"1 Pod that"},
		},
		{
			"a long hostname without a subdomain, which has no FQDN",
			`{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: db}}, spec: {hostname: ` + long[:60] + `, setHostnameAsFQDN: true}}` + "\n---\n" + headless,
			[]string{"shop/db - 198.18.0.1 ready sql:5432/TCP"},
			[]string{"1 Pod that"},
		},
		{"more Pods than there are addresses", set("replicas: 1000000000"), nil, []string{"no Pod db-65534 of StatefulSet shop/db, and none behind it: no more than 65534 are foreseen", "65534 Pods of StatefulSet shop/db"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Of(objects(t, c.manifests))
			if got, want := endpoints(f.Objects), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if len(f.Notes) != len(c.notes) || !slices.EqualFunc(f.Notes, c.notes, strings.HasPrefix) {
				t.Errorf("got the notes %q, want %q", f.Notes, c.notes)
			}
		})
	}
}

// TestAddressesOfServices: a Service gets what the API server gives it, where something is foreseen at all.
func TestAddressesOfServices(t *testing.T) {
	service := func(spec string) string {
		return "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80}], " + spec + "}}"
	}
	for _, c := range []struct{ name, manifests, want string }{
		{"one family", set("replicas: 1") + "\n---\n" + service("type: NodePort"), "198.19.0.1"},
		{"the first of IPv6", set("replicas: 1") + "\n---\n" + service("ipFamilies: [IPv6]"), "2001:db8:13::1"},
		{"both families", set("replicas: 1") + "\n---\n" + service("ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6]"), "2001:db8:13::1 198.19.0.1"},
		{"one family, as it says", set("replicas: 1") + "\n---\n" + service("ipFamilyPolicy: SingleStack"), "198.19.0.1"},
		{"an IPv4-mapped address of its own, and one more", set("replicas: 1") + "\n---\n" + service("clusterIP: '::ffff:10.96.0.7', ipFamilyPolicy: PreferDualStack"), "::ffff:10.96.0.7 2001:db8:13::1"},
		{"an address of its own", set("replicas: 1") + "\n---\n" + service("clusterIP: 10.96.0.7"), "10.96.0.7"},
		{"an address of its own, and one more", set("replicas: 1") + "\n---\n" + service("clusterIP: 10.96.0.7, ipFamilyPolicy: PreferDualStack"), "10.96.0.7 2001:db8:13::1"},
		{"more addresses than families", set("replicas: 1") + "\n---\n" + service("clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7, 10.96.0.8]"), "10.96.0.7 10.96.0.8"},
		{"a headless one", set("replicas: 1") + "\n---\n" + service("clusterIP: None"), "None"},
		{"an ExternalName", set("replicas: 1") + "\n---\n" + service("type: ExternalName, externalName: example.org"), ""},
		{"no workload", service("selector: {app: db}"), ""},
		{"one that a cluster has seen", set("replicas: 1") + "\n---\n" + strings.Replace(service("type: ClusterIP"), "name: web,", "name: web, uid: u,", 1), ""},
	} {
		given := objects(t, c.manifests)
		before := fmt.Sprint(given)
		f := Of(given)
		for _, obj := range f.Objects {
			if svc, ok := obj.(*corev1.Service); ok && c.want != "" && svc.Spec.Ports[0].Protocol != corev1.ProtocolTCP {
				t.Errorf("%s: got the ports %v, want one of TCP", c.name, svc.Spec.Ports)
			}
			if svc, ok := obj.(*corev1.Service); ok && strings.Join(svc.Spec.ClusterIPs, " ") != c.want {
				t.Errorf("%s: got the addresses %q, want %q", c.name, svc.Spec.ClusterIPs, c.want)
			}
		}
		if fmt.Sprint(given) != before {
			t.Errorf("%s: the objects that were given are modified", c.name)
		}
	}
}

// TestSlicesAreThoseOfTheControlPlane: their labels, and how many endpoints one has.
func TestSlicesAreThoseOfTheControlPlane(t *testing.T) {
	f := Of(objects(t, set("replicas: 250")+"\n---\n"+strings.Replace(headless, "name: db,", "name: db, labels: {team: a},", 1)))
	var sizes []int
	for _, obj := range f.Objects {
		if es, ok := obj.(*discoveryv1.EndpointSlice); ok {
			sizes = append(sizes, len(es.Endpoints))
			for _, e := range es.Endpoints {
				if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.Name != *e.Hostname {
					t.Errorf("got the targetRef %v, want Pod %s", e.TargetRef, *e.Hostname)
				}
			}
			want := map[string]string{"team": "a", discoveryv1.LabelServiceName: "db", corev1.IsHeadlessService: "", discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"}
			if !maps.Equal(es.Labels, want) {
				t.Errorf("got the labels %v, want %v", es.Labels, want)
			}
		}
		if pod, ok := obj.(*corev1.Pod); ok && (metav1.GetControllerOf(pod).Name != "db" || pod.Status.PodIPs[1].IP == "") {
			t.Errorf("got %+v, want a Pod of db with two addresses", pod)
		}
	}
	if !slices.Equal(sizes, []int{100, 100, 50}) {
		t.Errorf("got slices of %v endpoints, want 100, 100 and 50", sizes)
	}
}

// TestPodsAlone: a Pod that no workload makes has no owner, which would be itself.
func TestPodsAlone(t *testing.T) {
	f := Of(objects(t, `{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop}}`))
	if pod, ok := f.Objects[0].(*corev1.Pod); !ok || len(pod.OwnerReferences) > 0 {
		t.Errorf("got %+v, want a Pod without an owner", f.Objects[0])
	}
}

// TestObjectsOfTheCluster: what can be in no namespace is not put into default.
func TestObjectsOfTheCluster(t *testing.T) {
	for _, kind := range []string{"Namespace", "Node", "PersistentVolume"} {
		f := Of(objects(t, "{apiVersion: v1, kind: "+kind+", metadata: {name: one}}"))
		if o, ok := f.Objects[0].(metav1.Object); !ok || o.GetNamespace() != "" {
			t.Errorf("%s: got %+v, want no namespace", kind, f.Objects[0])
		}
	}
}

// TestRefusals: a workload that makes no Pods is known, with the reason.
func TestRefusals(t *testing.T) {
	for _, manifests := range []string{
		strings.Replace(set("replicas: 1"), "matchLabels: {app: db}", "matchLabels: {app: dc}", 1),
		strings.Replace(set("replicas: 1"), "name: db,", "name: "+strings.Repeat("d", 60)+",", 1),
	} {
		f := Of(objects(t, manifests))
		if why := f.Refused[f.Objects[0]]; !strings.Contains(why, "the API server would refuse it") {
			t.Errorf("got the reason %q, want that the API server would refuse it", why)
		}
	}
}
