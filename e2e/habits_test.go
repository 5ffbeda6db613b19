package e2e

import (
	"testing"
	"time"

	"posthouse/e2e/habits"
)

// TestThunderbirdHabits is a minute of `go run ./e2e/thunderbird-habits --for 1h`.
func TestThunderbirdHabits(t *testing.T) {
	t.Parallel()
	result, err := habits.Run(t.Context(), habits.Options{Binary: binary, Folder: folder(t), For: time.Minute})
	t.Log(result)
	if err != nil {
		t.Fatal(err)
	}
	if err := result.Floor(); err != nil {
		t.Error(err)
	}
}
