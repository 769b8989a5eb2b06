//go:build race

package insight

const race = true
