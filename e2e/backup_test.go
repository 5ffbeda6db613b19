package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/jackc/pgx/v5/pgxpool"

	"posthouse/e2e/ledger"
	"posthouse/e2e/node"
	"posthouse/mailstore"
)

// uidls lists a maildrop as POP3 clients know it.
func uidls(t *testing.T, n *node.Node, user string) string {
	t.Helper()
	return string(command(t, "curl", "-sS", "--cacert", n.CA, "--user", user+":"+password, fmt.Sprintf("pop3s://localhost:%s/", port(n, "pop3s")), "-X", "UIDL"))
}

// posthouse runs a command that is not about a running node.
func posthouse(t *testing.T, args ...string) (string, error) {
	t.Helper()
	n := &node.Node{Binary: binary}
	n.Data = args[len(args)-1]
	return n.Command(t.Context(), "", args[:len(args)-1]...)
}

// TestBackupUnderLoad backs a server up while mail comes in, loses it, and
// restores it into an empty folder. What was accepted before the backup began is
// there, each once; UIDs, flags and UIDLs are what they were, and mbsync, which
// synced before, has nothing to do.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	tool(t, "mbsync")
	old := start(t, "--data", filepath.Join(folder(t), "data"))
	user, calm := account(t, old, "loaded"), account(t, old, "calm")
	c := login(t, old, calm, password, nil)
	fillServer(t, c)
	for i := syncFolders / 2; i < syncFolders; i++ { // empty ones
		name, _ := folderName(i)
		if err := c.Create(name, nil).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		deliver(t, old.Listen["smtp"], calm, "to be popped")
	}
	base := folder(t)
	if err := os.Mkdir(filepath.Join(base, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	rc := func(n *node.Node) string {
		return write(t, base, "mbsyncrc", []byte(mbsyncConfig(n, calm, base)+"Channel all\nFar :remote:\nNear :local:\nPatterns *\nCreate Both\nSyncState *\n"))
	}
	command(t, "mbsync", "-q", "-c", rc(old), "all")
	far, near, pop := serverState(t, c), maildirState(t, filepath.Join(base, "mail")), uidls(t, old, calm)
	if len(far) != syncFolders/2*perFolder || strings.Count(pop, "\n") != 5 {
		t.Fatalf("%d messages, UIDLs %q: nothing to lose", len(far), pop)
	}

	// Two loads: the first is answered for before the backup begins, the second
	// goes on through it.
	before, during := ledger.New(), ledger.New()
	address := func() string { return old.Listen["smtp"] }
	load := func(l *ledger.Ledger, name string) *ledger.Load {
		load := &ledger.Load{Ledger: l, Name: name, Address: address, Connections: 4, Recipients: []string{user}}
		load.Start(t.Context())
		return load
	}
	first := load(before, "before")
	eventually(t, "100 messages accepted", func() bool { return before.Count() >= 100 })
	first.Finish()
	second := load(during, "during")
	eventually(t, "20 more", func() bool { return during.Count() >= 20 })
	file := filepath.Join(folder(t), "site.backup")
	at := during.Count()
	out, err := old.Command(t.Context(), "", "backup", "create", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s; accepted meanwhile: %d", strings.TrimSpace(out), during.Count()-at)
	eventually(t, "mail goes on", func() bool { return during.Count() > at })
	second.Finish()
	old.Kill()
	<-old.Exited()

	data := filepath.Join(folder(t), "restored")
	if out, err = posthouse(t, "backup", "restore", file, data); err != nil {
		t.Fatal(err)
	}
	t.Log(strings.TrimSpace(out))
	n := start(t, "--data", data)
	compare(t, n, user, before)
	invariants(t, n)
	c = login(t, n, calm, password, nil)
	if again := serverState(t, c); !maps.Equal(again, far) {
		t.Error("UIDs or flags are not what they were")
	}
	if again := uidls(t, n, calm); again != pop {
		t.Errorf("UIDLs: %q, were %q", again, pop)
	}
	command(t, "mbsync", "-q", "-c", rc(n), "all")
	if again := serverState(t, c); !maps.Equal(again, far) {
		t.Error("mbsync changed the server")
	}
	if again := maildirState(t, filepath.Join(base, "mail")); !maps.Equal(again, near) {
		t.Error("mbsync changed the maildir")
	}
	deliver(t, n.Listen["smtp"], calm, "after the restore")
	if box, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil || box.UIDNext <= ahead {
		t.Errorf("UIDNEXT after the restore: %+v %v", box, err)
	}
}

// ahead is how far UIDs begin behind those of the backup.
const ahead = 1 << 20

// compare looks for what the ledger was told, of a backup.
func compare(t *testing.T, n *node.Node, user string, l *ledger.Ledger) {
	t.Helper()
	found := l.Compare()
	if err := found.Read(n.Listen["imap"], user, password); err != nil {
		t.Fatal(err)
	}
	r := found.Report()
	t.Log(r)
	if r.Lost > 0 || r.Duplicates > 0 || r.Mangled > 0 {
		t.Errorf("of what was accepted before the backup: %s", r)
	}
}

func invariants(t *testing.T, n *node.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pool, err := pgxpool.New(ctx, n.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := mailstore.CheckInvariants(ctx, pool); err != nil {
		t.Error(err)
	}
}

// TestBackupRefused: a changed octet and a cut are found, and a restore from
// them leaves no site; nothing is written over.
func TestBackupRefused(t *testing.T) {
	t.Parallel()
	n := server(t)
	account(t, n, "refused")
	dir := folder(t)
	file := filepath.Join(dir, "site.backup")
	if _, err := n.Command(t.Context(), "", "backup", "create", file); err != nil {
		t.Fatal(err)
	}
	if out, err := n.Command(t.Context(), "", "backup", "create", file); err == nil {
		t.Errorf("written over: %s", out)
	}
	if out, err := n.Command(t.Context(), "", "backup", "restore", file); err == nil {
		t.Errorf("restored over a site: %s", out)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)*2/3] ^= 0x10
	for name, content := range map[string][]byte{"flipped": flipped, "cut": good[:len(good)-1], "half": good[:len(good)/2]} {
		bad := write(t, dir, name, content)
		if out, err := posthouse(t, "backup", "verify", bad, dir); err == nil || !strings.Contains(out, "damaged") {
			t.Errorf("%s verified: %s", name, out)
		}
		data := filepath.Join(dir, name+".data")
		if out, err := posthouse(t, "backup", "restore", bad, data); err == nil {
			t.Errorf("%s restored: %s", name, out)
		}
		if left, err := os.ReadDir(data); err == nil && len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
}
