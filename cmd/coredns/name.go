//go:build !kubernetes

package main

// name is the directive of headless.
const name = "headless"
