// Package browser has tests of the page of the option insight, in a real browser: Chromium, driven from here.
//
// It also takes the tour of the sandbox, if there is bin/cluster. It needs bin/coredns and Chromium: "make browser" builds the one and says where the other is found. Without Chromium the tests
// are skipped, and without axe-core that of accessibility is.
package browser
