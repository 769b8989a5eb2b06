package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
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

// watched are the resources that headless lists and watches.
var watched = []string{"/namespaces", "/services", "discovery.k8s.io/endpointslices"}

// watchedToo are those that it needs besides in the kustomizations of deploy/ that turn an option on.
var watchedToo = map[string]string{
	"components/pods-verified": "/pods",
	"components/multicluster":  "multicluster.x-k8s.io/serviceimports",
	"example":                  "/pods",
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
			if strings.HasPrefix(folder, "components/") {
				resources = "resources: [DEPLOY/base]\ncomponents: [DEPLOY/" + folder + "]\n"
			}
			y.check(dryRun(t, c, objectsOf(t, c, resources)))
			y.check(checkRights(t, c, folder, objectsOf(t, c, resources+"namePrefix: "+strings.ReplaceAll(folder, "/", "-")+"-\n")))
		})
		return nil
	})
	fatal.If(t, err)
	t.Run("base beside the Service of kubeadm", func(t *testing.T) {
		y := newScore(t, "kube-apiserver")
		y.note = "server-side dry run"
		services := c.Client.CoreV1().Services(metav1.NamespaceSystem)
		_, err := services.Create(t.Context(), kubeadmService(), metav1.CreateOptions{FieldManager: "kubeadm"})
		y.check(err)
		y.check(dryRun(t, c, objectsOf(t, c, "resources: [DEPLOY/base]\n")))
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

// dryRun applies objects by a dry run of the API server, which accepts no field that it does not know.
func dryRun(t *testing.T, c *cluster.Cluster, objects []string) error {
	t.Helper()
	objects = slices.Clone(objects)
	for i, object := range objects {
		head := decode[metav1.PartialObjectMetadata](t, object)
		createNamespace(t, c, head.Namespace)
		if head.Kind != "Service" {
			continue
		}
		if ip, err := netip.ParseAddr(decode[corev1.Service](t, object).Spec.ClusterIP); err == nil && !netip.MustParsePrefix("10.96.0.0/16").Contains(ip) {
			t.Logf("%s is an address of another cluster; here it is %s", ip, cluster.ClusterDNS)
			objects[i] = strings.ReplaceAll(object, ip.String(), cluster.ClusterDNS)
		}
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

// checkRights creates the accounts and roles of objects. The account that CoreDNS runs as must then be allowed to list and watch
// what it needs; and, but for that, no more than anybody is.
func checkRights(t *testing.T, c *cluster.Cluster, folder string, objects []string) error {
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
		case "Deployment", "DaemonSet":
			pod := decode[appsv1.Deployment](t, object).Spec.Template.Spec // a DaemonSet has it in the same place
			if slices.Contains(pod.Containers[0].Args, "-conf") {
				account = &types.NamespacedName{Namespace: head.Namespace, Name: pod.ServiceAccountName}
			}
		}
	}
	if account == nil {
		return fmt.Errorf("nothing runs CoreDNS")
	}
	if !accounts[*account] {
		return fmt.Errorf("CoreDNS runs as %v, which is none of %v", account, accounts)
	}
	apply(t, c, strings.Join(rbac, "\n---\n"))

	nobody := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: "nobody"}}
	_, err := c.Client.CoreV1().ServiceAccounts(nobody.Namespace).Create(t.Context(), nobody, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	want := make(map[string]bool)
	resources := watched
	if more := watchedToo[folder]; more != "" {
		resources = append(slices.Clone(watched), more)
	}
	for _, resource := range resources {
		want["list "+resource], want["watch "+resource] = true, true
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
			return fmt.Errorf("in the namespace %s CoreDNS may %q, want %q", namespace, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
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
