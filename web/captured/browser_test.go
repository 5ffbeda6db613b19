package captured_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser starts a headless Chromium that knows nothing of the network.
func browser(t *testing.T) context.Context {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed (Debian's package chromium): the page is not tested in a browser")
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-gpu", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), flags...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Log("close the browser:", err)
		}
		cancel()
	})
	return ctx
}

// tracker is a host that a message wants to reach.
func tracker(t *testing.T) (url string, asked *atomic.Int32) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int32)
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return "http://" + ln.Addr().String(), asked
}

// TestBrowser reads captured mail as a person does: mail shows itself as it
// comes, HTML looks like itself, and neither its scripts nor its images from
// elsewhere do anything.
func TestBrowser(t *testing.T) {
	ctx := browser(t)
	d := newDesk(t)
	evil, asked := tracker(t)
	text := strings.ReplaceAll(rich, "http://192.0.2.1", evil)
	text = strings.Replace(text, "<style>", "<style>@import url("+evil+"/a.css); body { background: url("+evil+"/b.png) } ", 1)
	d.capture("alice@localhost", "bob@example.org", text)
	d.capture("alice@localhost", "carol@example.org", "Subject: <b>plain</b>\n\n<script>document.title='owned'</script>\n")

	run := func(what string, actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(ctx, actions...); err != nil {
			var page string
			chromedp.Run(ctx, chromedp.Text("body", &page, chromedp.ByQuery))
			t.Fatalf("%s: %v\n%s", what, err, page)
		}
	}
	// until waits for an expression in the page to be true.
	until := func(what, js string) {
		t.Helper()
		run(what, chromedp.Poll(js, nil, chromedp.WithPollingTimeout(30*time.Second)))
	}
	items := func(n int) string { return fmt.Sprintf(`document.querySelectorAll('#messages li').length === %d`, n) }
	press := func(selector, text string) {
		t.Helper()
		run("press "+text, chromedp.Click(fmt.Sprintf(`//*[@id="%s"]//button[contains(., "%s")]`, selector, text), chromedp.BySearch))
	}

	run("open", chromedp.Navigate(d.url+"/captured/"))
	until("both messages are listed", items(2))
	press("inboxes", "bob@example.org")
	until("one inbox has one message", items(1))
	press("messages", "rich")
	until("the HTML is shown", `!document.getElementById('html').hidden && document.getElementById('subject').textContent === 'rich'`)
	var attributes map[string]string
	var title string
	run("look at the frame", chromedp.Attributes("#html", &attributes, chromedp.ByQuery), chromedp.Title(&title))
	if attributes["sandbox"] == "" || strings.Contains(attributes["sandbox"], "allow-scripts") || strings.Contains(attributes["sandbox"], "allow-same-origin") {
		t.Errorf("the frame's sandbox is %q", attributes["sandbox"])
	}
	// The message by itself, which a person can open, too: the policy holds there.
	var heading, colour string
	var images []bool
	run("open the HTML itself", chromedp.Navigate(d.url+attributes["src"]),
		chromedp.Text("p", &heading, chromedp.ByQuery),
		chromedp.Evaluate(`getComputedStyle(document.querySelector('p')).color`, &colour),
		chromedp.Poll(`[...document.images].every(i => i.complete)`, nil),
		chromedp.Evaluate(`[...document.images].map(i => i.naturalWidth > 0)`, &images),
		chromedp.Title(&title))
	if heading != "café" || colour != "rgb(255, 0, 0)" || title == "owned" || fmt.Sprint(images) != "[true false]" {
		t.Errorf("HTML shows %q in %s, title %q, images %v; want café in red, and its own image only", heading, colour, title, images)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the message reached out %d times", n)
	}

	run("back", chromedp.Navigate(d.url+"/captured/"))
	until("both messages are listed again", items(2))
	press("messages", "plain")
	until("text is text", `document.getElementById('text').textContent.includes('<script>') && document.title === 'Captured mail'`)
	press("tabs", "Headers")
	until("the header is shown", `document.getElementById('header').textContent.includes('Return-Path')`)
	press("tabs", "Source")
	until("the source is shown", `document.getElementById('text').textContent.includes('Delivered-To: carol@example.org')`)
	d.capture("alice@localhost", "dave@example.org", "Subject: later\n\nneedle\n")
	until("a new message shows itself", items(3))
	run("search", chromedp.SendKeys("#q", "needle\r", chromedp.ByQuery))
	until("the search finds one", items(1))
	press("messages", "later")
	until("it is open", `document.getElementById('subject').textContent === 'later'`)
	run("delete it", chromedp.Click("#delete", chromedp.ByQuery))
	until("it is gone", items(0))
	if got := d.list(""); got != "<b>plain</b>,rich" {
		t.Errorf("left: %s", got)
	}
}
