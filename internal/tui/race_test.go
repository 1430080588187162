//go:build race

package tui

const raced = true // times mean nothing under the race detector
