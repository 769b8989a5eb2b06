package kube_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// serviceImport returns a ServiceImport with a ClusterSetIP, or a headless one.
func serviceImport(name, ip string) *mcsv1beta1.ServiceImport {
	si := &mcsv1beta1.ServiceImport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec: mcsv1beta1.ServiceImportSpec{
			Type: mcsv1beta1.Headless, Ports: []mcsv1beta1.ServicePort{{Name: "sql", Port: 5432}},
		},
	}
	if ip != "" {
		si.Spec.Type, si.Spec.IPs = mcsv1beta1.ClusterSetIP, []string{ip}
	}
	return si
}

// importsIn returns the versions in which all ServiceImports were given, in order, each once.
func importsIn(s *kubetest.Server) (versions []string) {
	for _, r := range s.Seen(kube.Imports) {
		if r.MediaType != "" {
			versions = append(versions, strings.TrimPrefix(r.Version, mcsv1beta1.GroupName+"/"))
		}
	}
	return slices.Compact(versions)
}

// TestImportsComeInTheBestVersionThereIs holds which version of the API ServiceImports are asked for in.
func TestImportsComeInTheBestVersionThereIs(t *testing.T) {
	failing := func(status int) func(*kubetest.Server) {
		return func(s *kubetest.Server) {
			s.Intercept(func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc) {
				if kubetest.NewRequest(r).Verb == "discover" {
					http.Error(w, http.StatusText(status), status)
					return
				}
				server(w, r)
			})
		}
	}
	forbidden := func(s *kubetest.Server) { s.Forbid(kubetest.Discovery) }
	const inDoubt = "serviceimports are watched in multicluster.x-k8s.io/%, and the API server does not say whether it has a better version: "
	for _, tt := range []struct {
		name    string
		has     []string
		fault   func(*kubetest.Server)
		version string // "": none
		log     string // % is the version
	}{
		{"the old one", []string{"v1alpha1"}, nil, "v1alpha1", ""},
		{"the new one", []string{"v1beta1"}, nil, "v1beta1", ""},
		{"both", []string{"v1alpha1", "v1beta1"}, nil, "v1beta1", ""},
		{"both, by lists", []string{"v1alpha1", "v1beta1"}, (*kubetest.Server).RefuseStreams, "v1beta1", ""},
		{"a newer one, too", []string{"v1", "v1beta1", "v1alpha1"}, nil, "v1beta1", ""},
		{"none", nil, nil, "", "it does not serve serviceimports in multicluster.x-k8s.io/v1alpha1: is the CustomResourceDefinition there?"},
		{"a version without the resource", []string{"v1alpha1"}, func(s *kubetest.Server) {
			s.Intercept(func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc) {
				if kubetest.NewRequest(r).Verb == "discover" {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(`{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "multicluster.x-k8s.io/v1beta1", "resources": [{"name": "serviceexports"}]}`)) // the client is gone
					return
				}
				server(w, r)
			})
		}, "v1alpha1", ""},
		{"both, discovery forbidden", []string{"v1alpha1", "v1beta1"}, forbidden, "v1beta1", inDoubt + "discovery is forbidden"},
		{"the old one, discovery forbidden", []string{"v1alpha1"}, forbidden, "v1alpha1", inDoubt + "discovery is forbidden"},
		{"the new one, discovery failing", []string{"v1beta1"}, failing(http.StatusInternalServerError), "v1beta1", inDoubt + "an error on the server"},
		{"the old one, discovery failing", []string{"v1alpha1"}, failing(http.StatusInternalServerError), "v1alpha1", inDoubt + "an error on the server"},
		{"the old one, no discovery", []string{"v1alpha1"}, failing(http.StatusNotFound), "v1alpha1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logged := logtest.Capture(t)
			s := kubetest.NewWebServer(t)
			s.Put(serviceImport("db", "10.112.0.7"))
			s.ServeImports(tt.has...)
			if tt.fault != nil {
				tt.fault(s)
			}
			c := started(t, at(s), kube.Imports)
			if tt.version != "" {
				eventuallyHas(t, c, "serviceimports ns/db", "cluster_ip sql:5432 10.112.0.7")
				s.Put(serviceImport("db", "10.112.0.8"), serviceImport("far", ""))
				eventuallyHas(t, c, "serviceimports ns/db", "cluster_ip sql:5432 10.112.0.8")
				eventuallyHas(t, c, "serviceimports ns/far", "headless_without_selector sql:5432")
				if got := importsIn(s); !slices.Equal(got, []string{tt.version}) {
					t.Errorf("given in %q, want %s", got, tt.version)
				}
			}
			want := strings.Replace(tt.log, "%", tt.version, 1)
			kubetest.Eventually(t, "log: "+want, func() bool { return strings.Contains(logged.String(), want) })
			if n := strings.Count(logged.String(), "a better version"); tt.version != "" && want == "" && n > 0 || n > 1 {
				t.Errorf("logged %d times that there may be a better version:\n%s", n, logged)
			}
		})
	}
}

// TestUpgradeOfImportsLosesNothing: the version in use goes while it is watched, and the other comes, then or later; and back.
func TestUpgradeOfImportsLosesNothing(t *testing.T) {
	for _, tt := range []struct {
		name    string
		steps   [][]string // the versions that the server has
		want    []string
		forbids bool // discovery
	}{
		{"at once", [][]string{{"v1alpha1"}, {"v1beta1"}}, []string{"v1alpha1", "v1beta1"}, false},
		{"by way of both", [][]string{{"v1alpha1"}, {"v1alpha1", "v1beta1"}, {"v1beta1"}}, []string{"v1alpha1", "v1beta1"}, false},
		{"with a time without any", [][]string{{"v1alpha1"}, {}, {"v1beta1"}}, []string{"v1alpha1", "v1beta1"}, false},
		{"and back", [][]string{{"v1beta1"}, {"v1alpha1"}, {"v1beta1"}}, []string{"v1beta1", "v1alpha1", "v1beta1"}, false},
		{"discovery forbidden", [][]string{{"v1alpha1"}, {"v1beta1"}}, []string{"v1alpha1", "v1beta1"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			if tt.forbids {
				s.Forbid(kubetest.Discovery)
			}
			s.Put(serviceImport("db", "10.112.0.7"))
			s.ServeImports(tt.steps[0]...)
			c := started(t, at(s), kube.Imports)
			eventuallyHas(t, c, "serviceimports ns/db", "cluster_ip sql:5432 10.112.0.7")
			for i, versions := range tt.steps[1:] {
				// With versions, ServiceImports are given again in one of them; without, they are asked for in vain.
				again := func() (n int) {
					for _, r := range s.Seen(kube.Imports) {
						if (r.MediaType != "") == (len(versions) > 0) {
							n++
						}
					}
					return n
				}
				before := again()
				s.ServeImports(versions...)
				kubetest.Eventually(t, "ServiceImports are asked for again", func() bool {
					if c.has("serviceimports ns/db") == "" {
						t.Fatal("the ServiceImport has gone")
					}
					return again() > before
				})
				name := "new" + strconv.Itoa(i)
				s.Put(serviceImport(name, "10.112.0.9"))
				if len(versions) > 0 {
					eventuallyHas(t, c, "serviceimports ns/"+name, "cluster_ip sql:5432 10.112.0.9")
				}
			}
			if got := importsIn(s); !slices.Equal(got, tt.want) {
				t.Errorf("given in %q, want %q", got, tt.want)
			}
			if got := len(s.Seen(kubetest.Discovery)); got < len(tt.want) {
				t.Errorf("discovery was asked %d times, want once for each version", got)
			}
		})
	}
}

// TestImportsWithoutSlicesWaitForNone: where each ServiceImport says that it has no EndpointSlices, these are not waited for.
func TestImportsWithoutSlicesWaitForNone(t *testing.T) {
	t.Parallel()
	with := func(name string, said mcsv1beta1.EndpointSliceObjectsStatus) *mcsv1beta1.ServiceImport {
		return kubetest.Changed(serviceImport(name, ""), func(si *mcsv1beta1.ServiceImport) { si.Status.EndpointSliceObjects = said })
	}
	const absent, present = mcsv1beta1.EndpointSliceObjectsAbsent, mcsv1beta1.EndpointSliceObjectsPresent
	for _, isStreamed := range []bool{true, false} {
		s := kubetest.NewWebServer(t)
		if !isStreamed {
			s.RefuseStreams()
		}
		s.Put(with("a", absent), with("b", absent))
		s.Intercept(func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc) {
			if kubetest.NewRequest(r).Selector != "" { // of imported slices
				http.Error(w, "", http.StatusServiceUnavailable)
				return
			}
			server(w, r)
		})
		c := started(t, at(s), kube.Imports, kube.Imported)
		settled := func(want bool, after string) {
			t.Helper()
			kubetest.Eventually(t, after, func() bool { return c.Listing.IsSettled() == want })
		}
		settled(true, "two without slices")
		s.Put(with("b", ""))
		settled(false, "one says nothing")
		s.Put(with("b", absent), with("c", present))
		settled(false, "one has slices")
		s.Delete(with("c", ""))
		settled(true, "it is deleted")
		s.Put(with("d", present))
		settled(false, "another one has slices")
		s.Compact()
		s.Refuse(http.StatusServiceUnavailable)
		s.Cut()
		s.Delete(with("d", ""))
		s.Compact()
		s.Refuse(0)
		settled(true, "it is not listed any more")
		if c.Listing.IsComplete() {
			t.Error("complete, without the slices")
		}
		s.Put(with("e", ""))
		settled(false, "a third one says nothing")
		s.Intercept(nil)
		settled(true, "the slices are listed")
		s.Put(with("f", present))
		eventuallyHas(t, c, "serviceimports ns/f", "headless_without_selector sql:5432")
		settled(true, "the slices were listed before")
	}
}
