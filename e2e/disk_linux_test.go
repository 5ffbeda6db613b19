package e2e

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"posthouse/e2e/harm"
)

// TestFullDisk: TRUST.md row 25.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	result, codes, err := harm.FullDisk(t.Context(), harm.Options{Binary: binary, Folder: folder(t), Rounds: 2})
	if errors.Is(err, syscall.EPERM) {
		t.Skip("mounting is not allowed here:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log(result, "refusals by code:", codes)
	if !result.Clean() || codes[452] == 0 {
		t.Error("mail was lost, doubled or changed, or nobody heard 452")
	}
	for code := range codes {
		if code >= 500 {
			t.Errorf("a full disk was answered %d: the mail would be bounced", code)
		}
	}
}
