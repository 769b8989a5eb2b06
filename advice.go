package headless

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// access says where it stands how to reach an API server, and as whom.
type access struct {
	address, credentials string
	subject              string // whom the credentials are of
}

// access returns the one that cfg asks for, see clientConfig.
func (cfg *config) access() access {
	switch {
	case cfg.kubeconfig != "":
		file := "kubeconfig " + cfg.kubeconfig
		if cfg.context != "" {
			file += ", context " + cfg.context
		}
		return access{file, file, "its user"}
	case cfg.endpoint != "":
		return access{"the option endpoint", "the option tls", "its user"}
	}
	return access{"KUBERNETES_SERVICE_HOST", "/var/run/secrets/kubernetes.io/serviceaccount", "the ServiceAccount"}
}

// advice returns what to do about err, with which a request failed, or "".
func (l *listWatch) advice(err error) string {
	gv, what := l.client.APIVersion(), l.path
	if gv.Group != "" {
		what += " in " + gv.Group
	}
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	var network net.Error
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("%s needs list and watch on %s", l.access.subject, what)
	case apierrors.IsUnauthorized(err):
		return "check the credentials in " + l.access.credentials
	case apierrors.IsNotFound(err) && l.path == importsResource:
		return fmt.Sprintf("it does not serve %s in %s: is the CustomResourceDefinition there?", l.path, gv)
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("it does not serve %s in %s: is it an API server? check its address in %s", l.path, gv, l.access.address)
	case errors.As(err, &certificate):
		return fmt.Sprintf("check the CA certificate in %s, and the address in %s", l.access.credentials, l.access.address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "does the API server run? check its address in " + l.access.address
	case errors.As(err, &name):
		return fmt.Sprintf("check the address in %s: its name must not be one that this server resolves", l.access.address)
	case errors.As(err, &network) && network.Timeout():
		return "check routes, firewalls and network policies, and the address in " + l.access.address
	}
	return ""
}
