package explain

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// isReady reports whether a Pod is.
func isReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && conditionOf(pod, corev1.PodReady).Status == corev1.ConditionTrue
}

// isEligible reports whether the control plane lists a Pod in the EndpointSlices of the Services that select it.
func isEligible(pod *corev1.Pod) bool {
	return pod.Status.PodIP != "" && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
}

// isUp reports whether all containers of a Pod run, and none of them is restarted again and again: whether only its readiness is
// missing.
func isUp(pod *corev1.Pod) bool {
	statuses := pod.Status.ContainerStatuses
	return len(statuses) > 0 && !slices.ContainsFunc(statuses, func(s corev1.ContainerStatus) bool { return s.State.Running == nil })
}

// conditionOf returns a condition of a Pod; the zero condition is one that it does not have.
func conditionOf(pod *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// whyNotReady says why a Pod is not ready, as a predicate: what follows its name.
func whyNotReady(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "is being deleted"
	}
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return "has ended, in phase " + string(pod.Status.Phase)
	}
	if c := conditionOf(pod, corev1.PodScheduled); c.Status == corev1.ConditionFalse {
		return "is on no node yet: " + c.Message
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" {
			return fmt.Sprintf("has a container \"%s\" that does not run: %s", s.Name, w.Reason)
		}
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Terminated == nil && !s.Ready {
			return fmt.Sprintf("waits for its init container \"%s\"", s.Name)
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.Ready {
			continue
		}
		if t := s.State.Terminated; t != nil {
			return fmt.Sprintf("has a container \"%s\" that has ended with status %d", s.Name, t.ExitCode)
		}
		for i := range pod.Spec.Containers {
			if container := &pod.Spec.Containers[i]; container.Name == s.Name && container.ReadinessProbe != nil {
				return fmt.Sprintf("does not pass the readiness probe of its container \"%s\" (%s)", s.Name, probe(container.ReadinessProbe))
			}
		}
		return fmt.Sprintf("has a container \"%s\" that is not ready", s.Name)
	}
	for _, gate := range pod.Spec.ReadinessGates {
		if conditionOf(pod, gate.ConditionType).Status != corev1.ConditionTrue {
			return fmt.Sprintf("does not pass its readiness gate \"%s\"", gate.ConditionType)
		}
	}
	return notReady
}

// notReady is what whyNotReady returns if it knows nothing else.
const notReady = "is not ready"

// probe says what a probe does.
func probe(p *corev1.Probe) string {
	switch {
	case p.HTTPGet != nil:
		return fmt.Sprintf("HTTP GET %s on port %s", p.HTTPGet.Path, p.HTTPGet.Port.String())
	case p.TCPSocket != nil:
		return "TCP port " + p.TCPSocket.Port.String()
	case p.GRPC != nil:
		return fmt.Sprintf("gRPC on port %d", p.GRPC.Port)
	case p.Exec != nil:
		command := []rune(strings.Join(p.Exec.Command, " "))
		if len(command) > 60 {
			command = append(command[:59], '…')
		}
		return "command: " + string(command)
	}
	return "of a kind unknown here"
}

// lacks says what a Pod lacks to have a name of its own in a Service: the control plane gives one to pods whose subdomain is the
// Service's name and that have a hostname. id is that of the cause. Both are "" if nothing is missing.
func lacks(pod *corev1.Pod, service string) (id, predicate string) {
	switch {
	case pod.Spec.Subdomain == "" && pod.Spec.Hostname == "":
		return "missing-subdomain", "has neither hostname nor subdomain"
	case pod.Spec.Subdomain == "":
		return "missing-subdomain", "has no subdomain"
	case pod.Spec.Subdomain != service:
		return "wrong-subdomain", fmt.Sprintf("has the subdomain %s, not %s", pod.Spec.Subdomain, service)
	case pod.Spec.Hostname == "":
		return "missing-hostname", "has no hostname"
	}
	return "", ""
}
