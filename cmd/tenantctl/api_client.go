package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// answerTimeout is beyond what the API takes for any request.
	answerTimeout = 40 * time.Second
	// maxAnswer is beyond any answer of the API's, in bytes.
	maxAnswer = 32 << 20
	// The pauses between tries while the API is away, and the longest that it may
	// ask for.
	firstPause, longestPause, longestAsked = 250 * time.Millisecond, 10 * time.Second, time.Minute
)

// apiClient makes requests to the API with a token. It goes on trying while the
// API is away, so it is for requests that may be repeated.
type apiClient struct {
	base  *url.URL
	token string
	http  *http.Client
	// patience is how long to try without an answer.
	patience time.Duration
	// say tells a person that the API is away, or back.
	say func(string)
}

// newAPIClient fails with a usageError. The token is sent over TLS, or within this
// machine.
func newAPIClient(address, tokenFile string, patience time.Duration, say func(string)) (*apiClient, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usageError{errors.New("--api must be the API's address, such as https://console.example.com")}
	}
	token, err := readToken(tokenFile)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if base.Scheme == "http" {
		if ip := net.ParseIP(base.Hostname()); base.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, usageError{errors.New("--api must begin with https://: a token is not sent over plain http to another machine")}
		}
		transport.Proxy = nil
		transport.DialContext = (&net.Dialer{Timeout: answerTimeout, Control: loopbackOnly}).DialContext
	}
	return &apiClient{
		base: base, token: token, patience: patience, say: say,
		http: &http.Client{
			Transport: transport, Timeout: answerTimeout,
			// Another address may be another's.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// loopbackOnly holds whatever a name resolves to.
func loopbackOnly(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return errors.New("the address is not this machine's")
	}
	return nil
}

func readToken(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", usageError{fmt.Errorf("cannot read --token-file: %w", err)}
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usageError{errors.New("--token-file must hold one API token and nothing else")}
	}
	return token, nil
}

// call makes a request and decodes the answer; unchanged is a 304. It fails with
// the code the API told, or with CodeDependencyUnavailable when its patience ends.
func (a *apiClient) call(ctx context.Context, method, path string, header map[string]string, body []byte, into any) (h http.Header, unchanged bool, err error) {
	began, pause, away := time.Now(), firstPause, false
	for {
		h, unchanged, err = a.try(ctx, method, path, header, body, into)
		t, transient := errors.AsType[*tryAgain](err)
		if !transient {
			if away && err == nil {
				a.say("The API answers again.")
			}
			return h, unchanged, err
		}
		wait := max(t.after, pause+rand.N(pause/4))
		if time.Since(began)+wait > a.patience {
			return h, false, tenancy.Unavailable(t.cause, fmt.Sprintf("The API has had no answer for %s: %s.", time.Since(began).Round(time.Second), t.why))
		}
		if !away {
			a.say(fmt.Sprintf("The API cannot serve at the moment (%s); trying on.", t.why))
			away = true
		}
		select {
		case <-ctx.Done():
			return h, false, ctx.Err()
		case <-time.After(wait):
		}
		pause = min(2*pause, longestPause)
	}
}

// tryAgain is a failure that may pass by itself.
type tryAgain struct {
	why   string
	after time.Duration
	cause error
}

func (e *tryAgain) Error() string { return e.why }

func (a *apiClient) try(ctx context.Context, method, path string, header map[string]string, body []byte, into any) (http.Header, bool, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Accept", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := a.http.Do(req)
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return nil, false, &tenancy.Error{Code: tenancy.CodeDependencyUnavailable, Message: "The API's certificate is not trusted: " + untrusted.Err.Error(), Err: err}
	}
	if err != nil {
		return nil, false, &tryAgain{why: "it does not answer", cause: err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if err != nil {
		return nil, false, &tryAgain{why: "its answer broke off", cause: err}
	}
	switch {
	case resp.StatusCode == http.StatusNotModified:
		return resp.Header, true, nil
	case resp.StatusCode/100 == 2:
		if err := json.Unmarshal(data, into); err != nil {
			return nil, false, tenancy.Wrap(tenancy.CodeDependencyUnavailable, err, "The answer is not this API's; is --api right?")
		}
		return resp.Header, false, nil
	}
	return nil, false, refusal(resp, data)
}

// refusal is the failure that an answer tells.
func refusal(resp *http.Response, data []byte) error {
	var p struct {
		Code   tenancy.Code
		Detail string
	}
	_ = json.Unmarshal(data, &p) // a proxy's page has neither
	status := resp.StatusCode
	switch {
	case p.Code == tenancy.CodeProvisioningUnavailable:
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent or a date: our own pause
		return &tryAgain{
			why:   strings.TrimSpace(fmt.Sprintf("%d %s", status, p.Code)),
			after: min(time.Duration(max(0, seconds))*time.Second, longestAsked),
		}
	case status/100 == 3:
		return usageError{errors.New("the address given with --api redirects to another one; give that")}
	case p.Code == "" && status == http.StatusUnauthorized:
		p.Code = tenancy.CodeUnauthenticated
	case p.Code == "" && status == http.StatusForbidden:
		p.Code = tenancy.CodeForbidden
	case p.Code == "" && status == http.StatusNotFound:
		p.Code = tenancy.CodeNotFound
	}
	if p.Code == "" {
		p.Code = tenancy.CodeDependencyUnavailable
	}
	if p.Detail == "" {
		p.Detail = fmt.Sprintf("The API answered with %d %s.", status, http.StatusText(status))
	}
	return &tenancy.Error{Code: p.Code, Message: p.Detail}
}
