package kube

import "fmt"

// access says, for messages, where the address of an API server stands, where our credentials do, and
// who we are to it.
type access struct {
	address, credentials string
	subject              string // whom the credentials are of
}

// access returns what messages call the address, the credentials and the user that clientConfig chooses.
func (o *Options) access() access {
	switch {
	case o.Kubeconfig != "":
		file := "kubeconfig " + o.Kubeconfig
		if o.Context != "" {
			file += ", context " + o.Context
		}
		return access{file, file, "its user"}
	case o.Endpoint != "":
		return access{"the option endpoint", "the option tls", "its user"}
	}
	return access{
		"KUBERNETES_SERVICE_HOST", "/var/run/secrets/kubernetes.io/serviceaccount",
		"the ServiceAccount",
	}
}

// advice returns what to do about why, for which a request failed, or "".
func (l *listWatch) advice(why ending) string {
	gv, path := l.versions.client().APIVersion(), watched[l.resource].path
	switch why {
	case forbidden:
		what := path
		if gv.Group != "" {
			what += " in " + gv.Group
		}
		return fmt.Sprintf("%s needs list and watch on %s", l.access.subject, what)
	case unauthorized:
		return "check the credentials in " + l.access.credentials
	case absent:
		if l.resource == Imports {
			return fmt.Sprintf("it does not serve %s in %s: is the CustomResourceDefinition there?", path, gv)
		}
		return fmt.Sprintf("it does not serve %s in %s: is it an API server? check its address in %s", path, gv, l.access.address)
	case untrusted:
		return fmt.Sprintf("check the CA certificate in %s, and the address in %s",
			l.access.credentials, l.access.address)
	case distrusted:
		return "check the client certificate in " + l.access.credentials
	case refused:
		return "does the API server run? check its address in " + l.access.address
	case unresolved:
		return fmt.Sprintf("check the address in %s: its name must not be one that this server resolves", l.access.address)
	case timedOut:
		return "check routes, firewalls and network policies, and the address in " + l.access.address
	}
	return ""
}
