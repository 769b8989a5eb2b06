//go:build small

package main

// wayOut says what to do about a plugin that this build is without.
const wayOut = ": it is small; one that is built without the tag small has more plugins"
