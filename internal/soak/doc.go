// Package soak has a test: faults of all kinds are injected into a server, and each of its answers is judged. `make soak` runs it.
package soak
