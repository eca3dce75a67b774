//go:build race

package app

// raceDetector makes everything some ten times slower.
const raceDetector = true
