package foresee

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// longestNodename is what the kernel takes for the name of a machine: the kubelet starts no Pod with
// setHostnameAsFQDN whose FQDN is longer.
const longestNodename = 64

// flaw returns why there will never be such a Pod, or "".
func flaw(pod *corev1.Pod) string {
	const refused = "the API server would refuse it, for its "
	for _, key := range slices.Sorted(maps.Keys(pod.Labels)) {
		if len(pod.Labels[key]) > validation.LabelValueMaxLength {
			return fmt.Sprintf("%slabel %s would have more than %d characters", refused, key, validation.LabelValueMaxLength)
		}
	}
	for _, field := range []struct{ what, name string }{{"hostname", pod.Spec.Hostname}, {"subdomain", pod.Spec.Subdomain}} {
		switch name := field.name; {
		case len(name) > validation.DNS1123LabelMaxLength:
			return fmt.Sprintf("%s%s would have %d characters, and a label has up to %d",
				refused, field.what, len(name), validation.DNS1123LabelMaxLength)
		case name != "" && len(validation.IsDNS1123Label(name)) > 0:
			return fmt.Sprintf("%s%s %s is no label", refused, field.what, name)
		}
	}
	if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && pod.Spec.Subdomain != "" {
		hostname := pod.Spec.Hostname
		if hostname == "" {
			hostname = pod.Name
		}
		// The zone is not known here; it is most often this one.
		fqdn := fmt.Sprintf("%s.%s.%s.svc.cluster.local", hostname, pod.Spec.Subdomain, pod.Namespace)
		if len(fqdn) > longestNodename {
			return fmt.Sprintf("it would never start, for setHostnameAsFQDN calls it %s, of more than %d characters", short(fqdn), longestNodename)
		}
	}
	return ""
}

// short returns a name, or how one that is too long begins.
func short(name string) string {
	if len(name) > longestNodename+16 {
		return name[:longestNodename] + "…"
	}
	return name
}
