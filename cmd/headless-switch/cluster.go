package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/manifests"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// requestTimeout is how long one request to the API server may take: somebody waits.
const requestTimeout = 30 * time.Second

// serving is what serves the DNS of a cluster now.
type serving struct {
	service    *corev1.Service
	deployment *appsv1.Deployment
	container  *corev1.Container // of the Deployment, the one that runs CoreDNS
	config     *corev1.ConfigMap // that has the Corefile
	volume     string            // that the ConfigMap is
	key        string            // of the Corefile
	corefile   string
}

// read reads what serves now.
func (o *options) read(ctx context.Context, stdin io.Reader) (*serving, error) {
	objects, notes, err := o.objects(ctx, stdin)
	if err != nil {
		return nil, err
	}
	s, err := o.find(objects)
	if err != nil && len(notes) > 0 {
		err = fmt.Errorf("%w; %s", err, strings.Join(notes, "; "))
	}
	if err != nil || o.corefile == "" {
		return s, err
	}
	content, err := os.ReadFile(o.corefile)
	if err != nil {
		return nil, fmt.Errorf("-corefile: %w", err)
	}
	s.corefile = string(content)
	return s, nil
}

// find finds what serves among objects.
func (o *options) find(objects []runtime.Object) (*serving, error) {
	s := &serving{}
	configs := make(map[string]*corev1.ConfigMap)
	for _, obj := range objects {
		if m, ok := obj.(metav1.Object); !ok || m.GetNamespace() != o.namespace {
			continue
		}
		switch obj := obj.(type) {
		case *corev1.Service:
			if obj.Name == o.serviceName {
				s.service = obj
			}
		case *appsv1.Deployment:
			if obj.Name == o.deploymentName {
				s.deployment = obj
			}
		case *corev1.ConfigMap:
			configs[obj.Name] = obj
		}
	}
	switch {
	case s.service == nil:
		return nil, fmt.Errorf("found no Service %s/%s; -namespace and -service say which it is", o.namespace, o.serviceName)
	case len(s.service.Spec.Selector) == 0:
		return nil, fmt.Errorf("the Service %s/%s selects no pods, so it cannot be led to others", o.namespace, o.serviceName)
	case s.deployment == nil:
		return nil, fmt.Errorf("found no Deployment %s/%s; -deployment says which it is", o.namespace, o.deploymentName)
	}
	if err := s.findCorefile(configs); err != nil {
		return nil, fmt.Errorf("the Deployment %s/%s: %w", o.namespace, o.deploymentName, err)
	}
	s.corefile = s.config.Data[s.key]
	return s, nil
}

// findCorefile finds the file that CoreDNS is started with in the ConfigMaps that its container mounts.
func (s *serving) findCorefile(configs map[string]*corev1.ConfigMap) error {
	pod := &s.deployment.Spec.Template.Spec
	for i := range pod.Containers {
		c := &pod.Containers[i]
		file := argument(c.Args, "conf")
		for _, mount := range c.VolumeMounts {
			if file == "" || mount.MountPath != path.Dir(file) {
				continue
			}
			for _, volume := range pod.Volumes {
				if volume.Name != mount.Name || volume.ConfigMap == nil {
					continue
				}
				s.container, s.volume, s.key = c, volume.Name, path.Base(file)
				for _, item := range volume.ConfigMap.Items {
					if item.Path == s.key {
						s.key = item.Key
						break
					}
				}
				if s.config = configs[volume.ConfigMap.Name]; s.config == nil {
					return fmt.Errorf("found no ConfigMap %s, which has its Corefile", volume.ConfigMap.Name)
				}
				if s.config.Data[s.key] == "" {
					return fmt.Errorf("the ConfigMap %s has no %s", s.config.Name, s.key)
				}
				return nil
			}
		}
	}
	return errors.New("expected a container with the argument -conf, and a ConfigMap mounted where that points to")
}

// argument returns the value of an argument, given as "-NAME VALUE" or "-NAME=VALUE", or "".
func argument(args []string, name string) string {
	for i, arg := range args {
		word, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case word != name || !strings.HasPrefix(arg, "-"):
		case ok:
			return value
		case i+1 < len(args):
			return args[i+1]
		}
	}
	return ""
}

// objects returns the objects to look among, and what was left out of files because of what is in it.
func (o *options) objects(ctx context.Context, stdin io.Reader) (objects []runtime.Object, notes []string, err error) {
	if o.manifests == "" {
		objects, err = o.list(ctx)
		return objects, nil, err
	}
	files, err := manifests.Load(stdin, o.manifests)
	if err != nil {
		return nil, nil, fmt.Errorf("-manifests: expected objects as kubectl get -o yaml prints them: %w", err)
	}
	return files.Objects, files.Notes(), nil
}

// list asks the API server for the objects.
func (o *options) list(ctx context.Context) (objects []runtime.Object, err error) {
	client, err := listing.New(o.kubeconfig, o.kubecontext, "headless-switch", requestTimeout)
	if err != nil {
		return nil, fmt.Errorf("expected a cluster, by -kubeconfig or as kubectl finds it, or -manifests: %w", err)
	}
	take := func(obj runtime.Object) error {
		objects = append(objects, obj)
		return nil
	}
	var errs error
	for _, list := range []struct {
		resource string
		options  metav1.ListOptions
	}{
		{kube.Services, listing.Named(o.serviceName)},
		{listing.Deployments, listing.Named(o.deploymentName)},
		{listing.ConfigMaps, metav1.ListOptions{}},
	} {
		err := client.Each(ctx, list.resource, o.namespace, list.options, take)
		errs = errors.Join(errs, err)
		if err != nil && !apierrors.IsForbidden(err) { // all rights that are missing are worth a line, an outage is worth one
			break
		}
	}
	return objects, errs
}
