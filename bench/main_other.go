//go:build !linux

// Command bench needs Linux: it pins processes to cores and reads their CPU clocks.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: needs Linux, for it pins processes to cores and reads their CPU clocks")
	os.Exit(1)
}
