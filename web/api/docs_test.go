package api

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The examples of the manual work as they stand there.
func TestDocs(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed; scripts/need installs it")
	}
	text, err := os.ReadFile("../../docs/api.md")
	must(t, err)
	h := open(t, nil)
	n := 0
	for _, block := range strings.Split(string(text), "```sh\n")[1:] {
		script, _, _ := strings.Cut(block, "```")
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Env = append(os.Environ(), "URL="+h.url, "KEY="+h.key)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, script)
		}
		n++
	}
	if n < 6 {
		t.Errorf("only %d examples were run", n)
	}
	if got := len(h.inbox("bob@example.test")); got != 4 {
		t.Errorf("bob has %d messages", got)
	}
}
