package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The tests below drive a real Chromium. Without one they fail: scripts/deps
// installs it.

// chromium is one process for all tests; each has a profile of its own in it.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, fmt.Errorf("no Chromium is installed: on Debian, apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium has none as root
	}
	allocator, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("cannot start Chromium: %w", err)
	}
	stopChromium = cancel
	return ctx, nil
})

var stopChromium = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
	os.Exit(code)
}

// browser is one tab with cookies of its own.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu sync.Mutex
	// faults are what the console, the network and the policy complained of.
	faults []string
	// ignore is what a test provokes and expects.
	ignore []string
}

func openBrowser(t *testing.T, base string) *browser {
	t.Helper()
	parent, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	b := &browser{t: t, ctx: ctx, base: base}
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as this context
		t.Fatal(err)
	}
	b.do("open a tab", chromedp.EmulateViewport(1280, 900))
	go b.hear(chromedp.Console(ctx))
	t.Cleanup(func() {
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, fault := range b.faults {
			t.Errorf("the browser complained: %s", fault)
		}
	})
	return b
}

// hear collects errors and warnings: a page of ours causes none.
func (b *browser) hear(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return
		}
		if m.Type != chromedp.ConsoleWarning && m.Type != chromedp.ConsoleError && m.Type != chromedp.ConsoleException {
			continue
		}
		b.mu.Lock()
		if !slices.ContainsFunc(b.ignore, func(expected string) bool { return strings.Contains(m.Text+m.URL, expected) }) {
			b.faults = append(b.faults, fmt.Sprintf("%s %s %s", m.Type, m.Text, m.URL))
		}
		b.mu.Unlock()
	}
}

// expect has faults with this text not count.
func (b *browser) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ignore = append(b.ignore, text)
}

// patience is how long anything in the browser may take.
const patience = 20 * time.Second

func (b *browser) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail(what, err)
	}
}

func (b *browser) fail(what string, err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	page, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	b.t.Fatalf("cannot %s: %v\n%s", what, err, page)
}

// evaluate returns what an expression is, a promise's value for a promise.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail("evaluate "+expression[:min(len(expression), 200)], err)
	}
	return v
}

// until polls an expression until it holds; while a page loads it does not.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			b.fail(what, err)
		}
		<-time.After(30 * time.Millisecond)
	}
}

func (b *browser) goTo(path string) {
	b.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.base + path
	}
	b.do("go to "+path, chromedp.Navigate(path))
}

// fill types into a field, as a person does.
func (b *browser) fill(field, value string) {
	b.t.Helper()
	b.until("find the field "+field, `(() => {
		const field = document.querySelector('[name="`+field+`"]:not([type=hidden])');
		if (!field || !field.checkVisibility()) return false;
		field.focus();
		field.select?.();
		return true;
	})()`)
	if value == "" {
		value = kb.Backspace
	}
	b.do("fill in "+field, chromedp.KeyEvent(value))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do("click "+selector, chromedp.Click(selector, chromedp.NodeVisible))
}

// press clicks the button or link that says this.
func (b *browser) press(label string) {
	b.t.Helper()
	b.click(`//*[self::button or self::a or self::summary][contains(normalize-space(.), "` + label + `")]`)
}

// sees waits until the page says this.
func (b *browser) sees(text string) {
	b.t.Helper()
	literal, _ := json.Marshal(text)
	b.until("see "+text, `document.body.innerText.replace(/\s+/g, " ").includes(`+string(literal)+`)`)
}

func (b *browser) seesNot(text string) {
	b.t.Helper()
	if strings.Contains(strings.Join(strings.Fields(evaluate[string](b, "document.body.innerText")), " "), text) {
		b.t.Errorf("the page says %q", text)
	}
}

// at waits until the address' path is this.
func (b *browser) at(path string) {
	b.t.Helper()
	literal, _ := json.Marshal(path)
	b.until("arrive at "+path, `document.readyState === "complete" && location.pathname === `+string(literal))
}

func (b *browser) signIn(email, password string) {
	b.t.Helper()
	b.goTo("/platform/session")
	b.fill("email", email)
	b.fill("password", password)
	b.press("Sign in")
	b.at("/platform/tenants")
}

// looks sets the width and the system's theme.
func (b *browser) looks(width int64, theme string) {
	b.t.Helper()
	b.do("set the looks", chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	}))
}

func (b *browser) screenshot(file string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.fail("take a screenshot", err)
	}
	if err := os.WriteFile(file, png, 0o644); err != nil { //nolint:gosec // a picture for the docs
		b.t.Fatal(err)
	}
}

var axe = sync.OnceValues(func() (string, error) {
	source, err := os.ReadFile("testdata/axe.min.js")
	return string(source), err
})

// accessible holds the page as it is to axe-core's rules, WCAG 2.2 AA and the
// best practices.
func (b *browser) accessible(where string) {
	b.t.Helper()
	source, err := axe()
	if err != nil {
		b.t.Fatal(err)
	}
	type violation struct {
		ID    string `json:"id"`
		Help  string `json:"help"`
		Nodes []struct {
			HTML           string `json:"html"`
			FailureSummary string `json:"failureSummary"`
		} `json:"nodes"`
	}
	evaluate[bool](b, source+"; true")
	found := evaluate[[]violation](b, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations)`)
	for _, v := range found {
		for _, n := range v.Nodes {
			b.t.Errorf("%s: %s (%s)\n%s\n%s", where, v.Help, v.ID, n.HTML, n.FailureSummary)
		}
	}
	if evaluate[bool](b, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
		b.t.Errorf("%s: the page is wider than the window", where)
	}
}
