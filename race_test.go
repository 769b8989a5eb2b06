//go:build race

package headless

func init() { raceDetector = true }
