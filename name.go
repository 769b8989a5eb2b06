//go:build !kubernetes

package headless

// pluginName is the name of the directive and of the handler. The build tag kubernetes, called
// after the name that it gives us, changes it; metrics and metadata keep theirs.
const pluginName = "headless"
