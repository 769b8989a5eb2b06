//go:build race

package bubble

// Race says that the race detector is on. Then code is ten times slower and allocates more.
const Race = true
