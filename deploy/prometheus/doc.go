// Package prometheus has the alerts for headless, and their tests: it is a module of its own, for promtool needs much that a plugin
// does not.
package prometheus
