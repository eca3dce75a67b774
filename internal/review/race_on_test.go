//go:build race

package review_test

// raceDetector makes everything some ten times slower.
const raceDetector = true
