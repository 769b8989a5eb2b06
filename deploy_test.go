package headless

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/modeltest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// The manifests themselves, as kubectl renders them, are tested in deploy, which is a module of its own.

// deployedRules returns the rules of the base's ClusterRole, and of the components that are named, or ../nodelocal.
func deployedRules(t *testing.T, components ...string) []rbacv1.PolicyRule {
	t.Helper()
	var role rbacv1.ClusterRole
	for document := range strings.SplitSeq(readDocument(t, "deploy/base/rbac.yaml"), "\n---\n") {
		if strings.Contains(document, "\nkind: ClusterRole\n") {
			fatal.If(t, yaml.UnmarshalStrict([]byte(document), &role))
		}
	}
	for _, component := range components {
		var k struct {
			Patches []struct{ Patch string }
		}
		fatal.If(t, yaml.Unmarshal([]byte(readDocument(t, filepath.Join("deploy/components", component, "kustomization.yaml"))), &k))
		var patch []struct {
			Op, Path string
			Value    rbacv1.PolicyRule
		}
		fatal.If(t, yaml.UnmarshalStrict([]byte(k.Patches[0].Patch), &patch))
		role.Rules = append(role.Rules, patch[0].Value)
	}
	return role.Rules
}

// granted returns the resources, with their groups, that rules let somebody list and watch. It fails the test if they grant
// anything else.
func granted(t *testing.T, rules []rbacv1.PolicyRule) []string {
	t.Helper()
	var resources []string
	for _, rule := range rules {
		if !slices.Equal(rule.Verbs, []string{"list", "watch"}) || len(rule.APIGroups) != 1 {
			t.Errorf("got the verbs %q in the groups %q, want list and watch in one", rule.Verbs, rule.APIGroups)
			continue
		}
		for _, resource := range rule.Resources {
			resources = append(resources, strings.TrimSuffix(resource+"."+rule.APIGroups[0], "."))
		}
	}
	slices.Sort(resources)
	return resources
}

// requestedResources returns the resources that a plugin with lines asks an API server for.
func requestedResources(t *testing.T, lines string) map[string]bool {
	t.Helper()
	resources := make(map[string]bool)
	for _, what := range requested(t, lines) {
		resource, _, _ := strings.Cut(what, " ")
		resources[resource] = true
	}
	return resources
}

// TestDeployedRightsAreThoseNeeded tries the stanza of the base's Corefile, and the options that have a component.
func TestDeployedRightsAreThoseNeeded(t *testing.T) {
	t.Parallel()
	stanza := regexp.MustCompile(`(?s)\n    headless \{\n(.*?)\n    \}`).FindStringSubmatch(readDocument(t, "deploy/base/Corefile"))
	if stanza == nil {
		t.Fatal("deploy/base/Corefile: got no stanza")
	}
	base := strings.Replace(stanza[1], "/var/lib/coredns", t.TempDir(), 1)
	for _, tt := range []struct {
		lines      string
		components []string
	}{
		{base, nil},
		{strings.Replace(base, "pods insecure", "pods verified", 1), []string{"pods-verified"}},
		{base + "\nmulticluster cluster.local", []string{"multicluster"}},
		{base + "\nnode k\ntopology hints", []string{"../nodelocal"}},
	} {
		got := requestedResources(t, tt.lines)
		want := make(map[string]bool)
		for _, resource := range granted(t, deployedRules(t, tt.components...)) {
			resource, _, _ = strings.Cut(resource, ".")
			want[resource] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("%q: got requests for %v, and rights to %v", tt.lines, got, want)
		}
	}
}

func TestDocumentsShowTheExampleOfAnOverlay(t *testing.T) {
	blocks := fencedBlocks(readDocument(t, "docs/deploying.md"), "yaml")
	if want := readDocument(t, "deploy/example/kustomization.yaml"); !slices.Contains(blocks, want) {
		t.Errorf("got the blocks %q in docs/deploying.md, want %q among them", blocks, want)
	}
}

// benchmark returns a figure of BENCHMARKS.md: the number in a column of a row below a heading, both counted from 1.
func benchmark(t *testing.T, heading, row string, column int) float64 {
	t.Helper()
	_, section, ok := strings.Cut(readDocument(t, "BENCHMARKS.md"), "\n## "+heading)
	if !ok {
		t.Fatalf("BENCHMARKS.md: got no section %q", heading)
	}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || strings.TrimSpace(cells[1]) != row {
			continue
		}
		figure, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(cells[column]), " TC"), 64)
		fatal.If(t, err)
		return figure
	}
	t.Fatalf("BENCHMARKS.md: got no row %q below %q", row, heading)
	return 0
}

// TestDeployedResourcesAreEnough holds the requests to what was measured, with the headroom that the manifest states.
func TestDeployedResourcesAreEnough(t *testing.T) {
	c := deployment(t).Spec.Template.Spec.Containers[0]
	memory, limit := c.Resources.Requests.Memory(), c.Resources.Limits.Memory()

	// Of the rows for 100,000 endpoints the one with the most memory. A snapshot that is read at start is not in it.
	peak := benchmark(t, "Start", "10,000 Services, 100,000 endpoints, plain list, headless", 5) * 1e6
	if got, want := memory.AsApproximateFloat64(), 1.5*peak; got < want {
		t.Errorf("got a request for %.0f MB, want at least %.0f", got/1e6, want/1e6)
	}
	if limit.Value() < 2*memory.Value() {
		t.Errorf("got the limit %v for the request %v, want twice as much", limit, memory)
	}
	i := slices.IndexFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == "GOMEMLIMIT" })
	if i < 0 {
		t.Fatal("got no GOMEMLIMIT")
	}
	soft := resource.MustParse(strings.TrimSuffix(c.Env[i].Value, "B"))
	if got := soft.AsApproximateFloat64() / limit.AsApproximateFloat64(); got < 0.88 || got > 0.92 {
		t.Errorf("got GOMEMLIMIT at %.2f of the limit, want nine tenths", got)
	}

	const queries = 1000 // a second, of whatever kind, on a busy machine
	cost := 0.0
	for _, row := range []string{"one pod of 1,000 (A, UDP)", "Service of 100 (A, UDP)", "Service of 5,000 (A, UDP)", "ClusterIP (A)", "NXDOMAIN", "a name outside (A)"} {
		cost = max(cost, benchmark(t, "Queries: server CPU", row, 5))
	}
	if got, want := c.Resources.Requests.Cpu().AsApproximateFloat64()*1e6, queries*cost; got < want {
		t.Errorf("got a request for %.0f µs of CPU a second, want at least %.0f", got, want)
	}
	if !c.Resources.Limits.Cpu().IsZero() {
		t.Errorf("got a limit of %v CPU, want none", c.Resources.Limits.Cpu())
	}
}

// TestDeployedVolumeHoldsTheSnapshot writes the snapshot of 1,000 Services with 10,000 endpoints, and reckons with ten times as
// many. The volume has to hold ten times as much as these need, for the kubelet evicts a pod that exceeds it, and all of it twice,
// for a file is written before another is removed.
func TestDeployedVolumeHoldsTheSnapshot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "snapshot")
	big := watcher(t, "endpoint http://127.0.0.1:1", "snapshot "+path)
	modeltest.BigCluster(big.index, 1000, true)
	for resource := range big.clock {
		big.listing.Listed(resource)
	}
	big.keeper.Stop() // which writes it
	volumes := deployment(t).Spec.Template.Spec.Volumes
	i := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.EmptyDir != nil })
	if i < 0 {
		t.Fatalf("got no emptyDir among %v", volumes)
	}
	if size, want := volumes[i].EmptyDir.SizeLimit, int64(10*2*10*len(filetest.Read(t, path))); size.Value() < want {
		t.Errorf("got a volume of %v, want at least %d octets", size, want)
	}
}

// deployment returns the base's Deployment.
func deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	d := new(appsv1.Deployment)
	fatal.If(t, yaml.UnmarshalStrict([]byte(readDocument(t, "deploy/base/deployment.yaml")), d))
	return d
}
