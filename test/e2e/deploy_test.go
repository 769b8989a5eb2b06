package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/test/cluster"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// watched is what headless does in the cluster: it lists and watches.
var watched = []string{
	"list /namespaces", "watch /namespaces", "list /services", "watch /services",
	"list discovery.k8s.io/endpointslices", "watch discovery.k8s.io/endpointslices",
}

// watchedToo is what it does besides in the kustomizations of deploy/ that turn an option on.
var watchedToo = map[string][]string{
	"nodelocal":                {"list /pods", "watch /pods", "list /nodes", "watch /nodes"}, // of its node
	"components/pods-verified": {"list /pods", "watch /pods"},
	"components/multicluster":  {"list multicluster.x-k8s.io/serviceimports", "watch multicluster.x-k8s.io/serviceimports"},
}

// listedOnce is what dnsdiff does.
var listedOnce = []string{
	"list /namespaces", "list /services", "list /pods", "list discovery.k8s.io/endpointslices",
	"list multicluster.x-k8s.io/serviceimports",
}

// isComponent reports whether a kustomization is a component.
func isComponent(t *testing.T, path string) bool {
	t.Helper()
	return decode[metav1.TypeMeta](t, string(filetest.Read(t, path))).Kind == "Component"
}

// testDeploy has the API server check all kustomizations of deploy/, and grant the rights that they ask for.
func testDeploy(t *testing.T, c *cluster.Cluster) {
	const deploy = "../../deploy"
	err := filepath.WalkDir(deploy, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		folder, err := filepath.Rel(deploy, filepath.Dir(path))
		if err != nil {
			return err
		}
		t.Run(folder, func(t *testing.T) {
			y := newScore(t, "kube-apiserver")
			y.note = "server-side dry run, and rights"
			resources := "resources: [DEPLOY/" + folder + "]\n"
			if isComponent(t, path) {
				resources = "resources: [DEPLOY/base]\ncomponents: [DEPLOY/" + folder + "]\n"
			}
			if folder == "components/service" {
				resources += "patches: [{target: {kind: Service, name: kube-dns}, patch: '- {op: replace, path: /spec/clusterIP, value: " +
					cluster.ClusterDNS + "}'}]\n"
			}
			y.check(dryRun(t, c, objectsOf(t, c, resources)))
			prefix := "namePrefix: " + strings.ReplaceAll(folder, "/", "-") + "-\n"
			if folder == "compare" { // all that dnsdiff may do is to list
				y.check(checkRights(t, c, "dnsdiff", listedOnce, objectsOf(t, c, resources+prefix)))
				return
			}
			y.check(checkRights(t, c, "coredns", slices.Concat(watched, watchedToo[folder]), objectsOf(t, c, resources+prefix)))
		})
		return nil
	})
	fatal.If(t, err)
	t.Run("example beside the Service of kubeadm", func(t *testing.T) {
		y := newScore(t, "kube-apiserver")
		y.note = "server-side dry run"
		services := c.Client.CoreV1().Services(metav1.NamespaceSystem)
		_, err := services.Create(t.Context(), kubeadmService(), metav1.CreateOptions{FieldManager: "kubeadm"})
		y.check(err)
		y.check(dryRun(t, c, objectsOf(t, c, "resources: [DEPLOY/example]\n")))
		y.check(services.Delete(context.WithoutCancel(t.Context()), "kube-dns", metav1.DeleteOptions{}))
	})
}

// kubeadmService returns the Service of the cluster's DNS as kubeadm v1.37 makes it.
func kubeadmService() *corev1.Service {
	port := func(name string, protocol corev1.Protocol, number int32) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Protocol: protocol, Port: number, TargetPort: intstr.FromInt32(number)}
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: "kube-dns",
			Labels: map[string]string{
				"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
			},
			Annotations: map[string]string{"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: cluster.ClusterDNS,
			Selector:  map[string]string{"k8s-app": "kube-dns"},
			Ports: []corev1.ServicePort{
				port("dns", corev1.ProtocolUDP, 53), port("dns-tcp", corev1.ProtocolTCP, 53), port("metrics", corev1.ProtocolTCP, 9153),
			},
		},
	}
}

// objectsOf returns what kustomize makes of a kustomization.
func objectsOf(t *testing.T, c *cluster.Cluster, text string) []string {
	t.Helper()
	return strings.Split(kubectl(t, c, "", "kustomize", kustomization(t, text)), "\n---\n")
}

// dryRun applies objects by a dry run of the API server, which accepts no field that it does not know. It leaves out those of the
// Prometheus operator, which is not there: the tests in deploy/ decode these strictly.
func dryRun(t *testing.T, c *cluster.Cluster, objects []string) error {
	t.Helper()
	objects = slices.DeleteFunc(slices.Clone(objects), func(object string) bool {
		return strings.HasPrefix(decode[metav1.TypeMeta](t, object).APIVersion, "monitoring.coreos.com/")
	})
	for _, object := range objects {
		createNamespace(t, c, decode[metav1.PartialObjectMetadata](t, object).Namespace)
	}
	out, err := c.Kubectl(t.Context(), strings.Join(objects, "\n---\n"), "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
	if n := strings.Count(out, "serverside-applied (server dry run)"); err == nil && n != len(objects) {
		err = fmt.Errorf("a dry run applied %d of %d objects:\n%s", n, len(objects), out)
	}
	return err
}

// createNamespace creates a namespace that is not there, if it has a name. A dry run needs it.
func createNamespace(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	if name == "" {
		return
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.Client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// checkRights creates the accounts and roles of objects. The account that a container runs as must then be allowed to do what it
// needs; and, but for that, no more than anybody is.
func checkRights(t *testing.T, c *cluster.Cluster, container string, needed, objects []string) error {
	t.Helper()
	var rbac []string
	var account *types.NamespacedName
	accounts := make(map[types.NamespacedName]bool)
	for _, object := range objects {
		head := decode[metav1.PartialObjectMetadata](t, object)
		switch head.Kind {
		case "ServiceAccount":
			accounts[types.NamespacedName{Namespace: head.Namespace, Name: head.Name}] = true
			fallthrough
		case "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding":
			rbac = append(rbac, object)
		case "Deployment", "DaemonSet", "Job":
			pod := decode[appsv1.Deployment](t, object).Spec.Template.Spec // the others have it in the same place
			if pod.Containers[0].Name == container {
				account = &types.NamespacedName{Namespace: head.Namespace, Name: pod.ServiceAccountName}
			}
		}
	}
	if account == nil {
		return fmt.Errorf("nothing runs %s", container)
	}
	if !accounts[*account] {
		return fmt.Errorf("%s runs as %v, which is none of %v", container, account, accounts)
	}
	apply(t, c, strings.Join(rbac, "\n---\n"))

	nobody := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: "nobody"}}
	_, err := c.Client.CoreV1().ServiceAccounts(nobody.Namespace).Create(t.Context(), nobody, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	want := make(map[string]bool)
	for _, right := range needed {
		want[right] = true
	}
	for _, namespace := range []string{account.Namespace, metav1.NamespaceDefault} {
		everybody, err := rights(t.Context(), c, types.NamespacedName{Namespace: nobody.Namespace, Name: nobody.Name}, namespace)
		if err != nil {
			return err
		}
		got, err := rights(t.Context(), c, *account, namespace)
		if err != nil {
			return err
		}
		maps.DeleteFunc(got, func(right string, _ bool) bool { return everybody[right] })
		if !maps.Equal(got, want) {
			return fmt.Errorf("in the namespace %s %s may %q, want %q", namespace, container, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
	return nil
}

// rights returns what an account may do in a namespace, as VERB GROUP/RESOURCE or VERB PATH.
func rights(ctx context.Context, c *cluster.Cluster, account types.NamespacedName, namespace string) (map[string]bool, error) {
	token, err := c.Token(ctx, account)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	review, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	if review.Status.Incomplete {
		return nil, fmt.Errorf("the API server does not know all rights of %v: %s", account, review.Status.EvaluationError)
	}
	may := make(map[string]bool)
	for _, rule := range review.Status.ResourceRules {
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					may[strings.TrimSpace(fmt.Sprintf("%s %s/%s %s", verb, group, resource, strings.Join(rule.ResourceNames, " ")))] = true
				}
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		for _, verb := range rule.Verbs {
			for _, path := range rule.NonResourceURLs {
				may[verb+" "+path] = true
			}
		}
	}
	return may, nil
}

// decode returns what object has of a T.
func decode[T any](t *testing.T, object string) T {
	t.Helper()
	var v T
	if err := yaml.Unmarshal([]byte(object), &v); err != nil {
		t.Fatalf("%v:\n%s", err, object)
	}
	return v
}
