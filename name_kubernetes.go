//go:build kubernetes

package headless

// pluginName is that of the plugin whose place we take, which must not be in the same binary.
const pluginName = "kubernetes"
