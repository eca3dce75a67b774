//go:build !race

package review_test

const raceDetector = false
