//go:build race

package reports_test

// raceDetector makes everything some ten times slower.
const raceDetector = true
