//go:build !kubernetes

package headless

import (
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/metadata"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stockCorefiles are the set-ups that the READMEs of kubernetes, autopath and k8s_external show, written anew with the directive's name
// changed. API is a line that leads to the API server of the test, in place of the cluster's own or the README's; UPSTREAM is a
// server on loopback, and BIND keeps ours there too.
var stockCorefiles = map[string]string{
	"kubernetes: a network's reverse zone, and verified pods": `10.0.0.0/17 cluster.local {
		BIND
		headless {
			pods verified
			API
		}
	}`,
	"kubernetes: some namespaces": `cluster.local {
		BIND
		headless cluster.local {
			namespaces test staging
			API
		}
	}`,
	"kubernetes: from outside the cluster": `cluster.local {
		BIND
		headless cluster.local {
			API
		}
	}`,
	"kubernetes: multicluster": `cluster.local clusterset.local {
		BIND
		headless cluster.local clusterset.local {
			multicluster clusterset.local
			API
		}
	}`,
	"kubernetes: stub domains": `cluster.local {
		BIND
		headless cluster.local {
			API
		}
	}
	example.local {
		BIND
		forward . UPSTREAM
	}
	. {
		BIND
		forward . UPSTREAM
	}`,
	"kubernetes: autopath": `cluster.local {
		BIND
		autopath @headless
		headless {
			pods verified
			API
		}
	}`,
	"kubernetes: metadata": `cluster.local {
		BIND
		metadata
		headless {
			pods verified
			API
		}
	}`,
	"kubernetes: zonal names": `cluster.local {
		BIND
		headless {
			zonal
			API
		}
	}`,
	"k8s_external: beside the cluster's zone": `. {
		BIND
		headless cluster.local {
			API
		}
		k8s_external example.org
	}`,
	"k8s_external: with headless Services and an apex of its own": `. {
		BIND
		headless cluster.local {
			API
		}
		k8s_external example.org {
			apex dns1
			ttl 30
			headless
			fallthrough
		}
	}`,
	"k8s_external: with a plugin behind": `. {
		BIND
		headless cluster.local {
			API
		}
		k8s_external example.org {
			fallthrough
		}
		forward . UPSTREAM
	}`,
	"k8s_external: with transfers": `. {
		BIND
		transfer example.org {
			to *
		}
		headless cluster.local {
			API
		}
		k8s_external example.org
	}`,
	"autopath: with the search list of pods": `. {
		BIND
		autopath @headless
		headless cluster.local {
			pods verified
			API
		}
		forward . UPSTREAM
	}`,
}

func TestStockSetUpsStart(t *testing.T) {
	api := kubetest.NewServer(t)
	api.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	upstream := startUpstream(t)
	port := dnsserver.Port
	dnsserver.Port = "0" // for the server blocks, which name none
	defer func() { dnsserver.Port = port }()
	for name, c := range stockCorefiles {
		t.Run(name, func(t *testing.T) {
			startServer(t, strings.NewReplacer("BIND", "bind 127.0.0.1", "API", "endpoint "+api.URL, "UPSTREAM", upstream).Replace(c))
			for _, h := range running.all() {
				if !h.Ready() {
					t.Errorf("not ready, without %q", h.listing.Missing())
				}
			}
		})
	}
}
