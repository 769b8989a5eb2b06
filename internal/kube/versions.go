package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// versions are the versions of the API in which a resource may be had, and the one in which it is asked
// for. With several, the server says which of them it has. It is asked again when it has lost the one in
// use, as by an upgrade.
type versions struct {
	clients   []rest.Interface // for each version, in order of preference
	used      int              // the index of the one in use
	isSettled bool             // the server has said, or shown, that it has that one
	doubt     error            // why the server has not said which versions it has; nil if it has
}

// newVersions returns those that are given, in order of preference.
func newVersions(rc *rest.Config, transport http.RoundTripper, given []schema.GroupVersion) (*versions, error) {
	v := new(versions)
	for _, version := range given {
		client, err := newRESTClient(rc, transport, version)
		if err != nil {
			return nil, err
		}
		v.clients = append(v.clients, client)
	}
	return v, nil
}

// client returns the client for the version in use.
func (v *versions) client() rest.Interface { return v.clients[v.used] }

// choose takes the best version in which the server says that it has the resource at path, unless it is
// known to have the one in use. Of the last version nothing is asked: there is no other to take. If the
// server does not say, the next request shows whether it has the one in use.
func (v *versions) choose(ctx context.Context, path string) {
	last := len(v.clients) - 1
	if v.isSettled || last == 0 {
		return
	}
	best := 0
	for ; best < last; best++ {
		has, err := serves(ctx, v.clients[best], path)
		if err != nil {
			v.doubt = err
			return
		}
		if has {
			break
		}
	}
	v.used, v.isSettled, v.doubt = best, true, nil
}

// serves reports whether the server has the resource at path in the version that client is for.
func serves(ctx context.Context, client rest.Interface, path string) (bool, error) {
	version := client.APIVersion()
	reply, err := client.Get().AbsPath("/apis", version.Group, version.Version).MaxRetries(0).Do(ctx).Get()
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	list, ok := reply.(*metav1.APIResourceList)
	if !ok {
		return false, fmt.Errorf("expected a list of the resources in %s, not a %T", version, reply)
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == path }), nil
}

// settle notes that the server has given the resource. It returns why the server has not said in which
// versions it has it, or nil if it has, or if this has been returned before.
func (v *versions) settle() (doubt error) {
	doubt, v.isSettled, v.doubt = v.doubt, true, nil
	return doubt
}

// miss notes that the server does not have the resource in the version in use. The next one is in use now.
func (v *versions) miss() {
	v.used, v.isSettled = (v.used+1)%len(v.clients), false
}
