//go:build unix && !linux

package localpg

import (
	"errors"
	"testing"
)

func mountSmall(string, int) error   { return errors.New("made with tmpfs, on Linux only") }
func resizeSmall(string, int) error  { return errors.New("made with tmpfs, on Linux only") }
func unmount(t *testing.T, _ string) {}
