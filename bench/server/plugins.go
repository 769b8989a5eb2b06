//go:build !kubernetes

package server

// The plugins of which there is only one in the variant named kubernetes. That one is not compared: it has the other's name.
import (
	_ "github.com/coredns-headless/headless"
	_ "github.com/coredns/coredns/plugin/kubernetes"
)
