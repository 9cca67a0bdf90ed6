package secrets

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Config says which vault to use and how patient to be. Only URL is needed.
type Config struct {
	// URL is the vault's address, such as https://name.vault.azure.net.
	URL string
	// CAFile is a PEM file of certificate authorities to trust besides the
	// system's.
	CAFile string
	// Development says that the vault is an emulator although its host is not a
	// loopback address. The package comment has the rule.
	Development bool
	// Credential replaces the credential the package comment describes.
	Credential azcore.TokenCredential
	// TryTimeout bounds one try of one request; default 5 s.
	TryTimeout time.Duration
	// Retries is how often a request is tried again after 408, 429, 5xx or
	// network trouble; default 2, negative for none.
	Retries int32
	// RetryDelay is the wait before the first retry; it grows from there.
	// Default 300 ms. A Retry-After of up to 10 s is waited for instead; a
	// longer one ends the call at once.
	RetryDelay time.Duration
	// Settle bounds Ensure, Set and Drop, which wait for Key Vault to finish
	// what it does asynchronously; default 60 s.
	Settle time.Duration
	// Poll is the first wait between two looks; it grows to ten times that.
	// Default 200 ms.
	Poll time.Duration
}

const (
	defaultTryTimeout = 5 * time.Second
	defaultRetries    = 2
	defaultRetryDelay = 300 * time.Millisecond
	maxRetryDelay     = 10 * time.Second
	defaultSettle     = time.Minute
	defaultPoll       = 200 * time.Millisecond
)

// Vault is a Key Vault. It is safe for concurrent use.
type Vault struct {
	client *azsecrets.Client
	http   *http.Client
	settle time.Duration
	poll   time.Duration
}

// Open returns the vault at cfg.URL. It reads CAFile but does not connect; Ping
// does. The error names what is wrong with the configuration.
func Open(cfg Config) (*Vault, error) {
	address, err := url.Parse(cfg.URL)
	if err != nil || address.Scheme != "https" || address.Hostname() == "" || address.User != nil {
		return nil, fmt.Errorf("cannot use Key Vault URL: it must look like https://name.vault.azure.net")
	}
	trusted, err := newHTTPClient(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	credential, err := cfg.credential(address.Hostname())
	if err != nil {
		return nil, err
	}
	client, err := azsecrets.NewClient(cfg.URL, credential, &azsecrets.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Transport:       trusted,
			PerCallPolicies: []policy.Policy{noPanic{}},
			Retry: policy.RetryOptions{
				MaxRetries:    orDefault(cfg.Retries, defaultRetries),
				TryTimeout:    orDefault(cfg.TryTimeout, defaultTryTimeout),
				RetryDelay:    orDefault(cfg.RetryDelay, defaultRetryDelay),
				MaxRetryDelay: maxRetryDelay,
			},
		},
		DisableChallengeResourceVerification: !inAzure(address.Hostname()),
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open Key Vault: %w", err)
	}
	return &Vault{
		client: client,
		http:   trusted,
		settle: orDefault(cfg.Settle, defaultSettle),
		poll:   orDefault(cfg.Poll, defaultPoll),
	}, nil
}

// noPanic turns a panic of the SDK into an error. It has one for a challenge that names
// no tenant, which something else than Key Vault at its address may send.
type noPanic struct{}

var errPanic = errors.New("the Key Vault client does not understand the answer")

// Do implements policy.Policy.
func (noPanic) Do(req *policy.Request) (answer *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return req.Next()
}

// Close lets go of idle connections. The vault stays usable.
func (v *Vault) Close() { v.http.CloseIdleConnections() }

// probe is a name no secret has; asking for it costs Key Vault nothing.
const probe = "tenantry-readiness-probe"

// Ping reports whether the vault answers and lets us read: nil, or the error Get
// would give. ctx should carry a deadline; without one it may take as long as
// every retry of a request.
func (v *Vault) Ping(ctx context.Context) error {
	if _, err := v.Get(ctx, probe); err != nil && tenancy.CodeOf(err) != tenancy.CodeNotFound {
		return err
	}
	return nil
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
