package password_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"posthouse/web/password"
)

// TestBrowser sets a password as a person does, in a browser that runs no
// scripts: what the page's policy forbids must not stop its own form.
func TestBrowser(t *testing.T) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed (Debian's package chromium): the page is not tested in a browser")
	}
	s := start(t, nil)
	var style atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/style.css" {
			style.Add(1)
		}
		password.New(password.Config{Hostname: "mail.example.test", Directory: s.dir, Plain: true, Log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, r)
	}))
	defer srv.Close()
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("blink-settings", "scriptEnabled=false"))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), flags...)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	defer func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Log("close the browser:", err)
		}
	}()
	var before, after string
	err = chromedp.Run(ctx,
		chromedp.Navigate(srv.URL+password.Path+s.link()),
		chromedp.Text("main", &before, chromedp.ByQuery),
		chromedp.SendKeys("input[name=password]", "typed by hand", chromedp.ByQuery),
		chromedp.SendKeys("input[name=again]", "typed by hand", chromedp.ByQuery),
		chromedp.Click("button", chromedp.ByQuery),
		chromedp.WaitNotPresent("form", chromedp.ByQuery),
		chromedp.Text("main", &after, chromedp.ByQuery),
	)
	if err != nil || !strings.Contains(before, "Choose the password of alice@example.test") || !strings.Contains(after, "is set") {
		t.Fatalf("%v\nbefore: %s\nafter: %s", err, before, after)
	}
	if style.Load() == 0 {
		t.Error("the style sheet was not asked for")
	}
	if _, err := s.dir.Authenticate(t.Context(), "alice@example.test", "typed by hand", remote); err != nil {
		t.Error(err)
	}
}
