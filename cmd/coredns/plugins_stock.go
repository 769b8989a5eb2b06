//go:build !small && !kubernetes

package main

// The plugins that are also left out when headless is called kubernetes: the one whose name it has, and what imports that one.
import (
	_ "github.com/coredns/coredns/plugin/k8s_external"
	_ "github.com/coredns/coredns/plugin/kubernetes"
)
