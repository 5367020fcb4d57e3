// Package endpoint is a customer's webhook as delivering needs it: opened, with
// its keys ready.
package endpoint

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/worker/attempt"
)

// Endpoint is one webhook at one generation. It does not change.
type Endpoint struct {
	ID         uuid.UUID
	Tenant     uuid.UUID
	Generation int64
	URL        string
	Events     []string
	Headers    []attempt.Header
	Schedule   attempt.Schedule
	Rate       int // attempts a second, of all workers: its lane alone serves it; 0: no bound

	signer     *webhook.Signer // signs with the previous secret beside the new one
	graceEnds  time.Time
	afterGrace *webhook.Signer
}

// New returns an endpoint that signs with signer alone and is retried on the
// default schedule.
func New(id, tenant uuid.UUID, url string, signer *webhook.Signer) *Endpoint {
	return &Endpoint{ID: id, Tenant: tenant, URL: url, Schedule: attempt.DefaultSchedule, signer: signer, afterGrace: signer}
}

// Sealed is a webhook as it is stored.
type Sealed struct {
	ID                  uuid.UUID
	Tenant              uuid.UUID
	Generation          int64
	URL                 string
	Events              []string
	Secret              []byte
	PreviousSecret      []byte
	PreviousSecretUntil *time.Time
	Headers             []byte
	RetryDelays         []int32 // seconds
	RatePerSecond       *int32
}

// Opener opens sealed webhooks.
type Opener struct{ vault *vault.Vault }

// NewOpener opens with v's keys.
func NewOpener(v *vault.Vault) Opener { return Opener{v} }

// Open unseals s. It fails where the keyset lacks the key, or where what is
// sealed is not this webhook's.
func (o Opener) Open(s Sealed) (*Endpoint, error) {
	e := &Endpoint{ID: s.ID, Tenant: s.Tenant, Generation: s.Generation, URL: s.URL, Events: s.Events}
	if s.RatePerSecond != nil {
		e.Rate = int(*s.RatePerSecond)
	}
	for _, seconds := range s.RetryDelays {
		e.Schedule = append(e.Schedule, time.Duration(seconds)*time.Second)
	}
	secret, err := o.unseal(s, "secret", s.Secret)
	if err != nil {
		return nil, err
	}
	if e.afterGrace, err = webhook.NewSigner(string(secret)); err != nil {
		return nil, fmt.Errorf("webhook %s: %w", s.ID, err)
	}
	e.signer = e.afterGrace
	if s.PreviousSecretUntil != nil && len(s.PreviousSecret) > 0 {
		previous, err := o.unseal(s, "secret", s.PreviousSecret)
		if err != nil {
			return nil, err
		}
		if e.signer, err = webhook.NewSigner(string(secret), string(previous)); err != nil {
			return nil, fmt.Errorf("webhook %s: %w", s.ID, err)
		}
		e.graceEnds = *s.PreviousSecretUntil
	}
	if len(s.Headers) > 0 {
		headers, err := o.unseal(s, "headers", s.Headers)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(headers, &e.Headers); err != nil {
			return nil, fmt.Errorf("webhook %s: headers: %w", s.ID, err)
		}
	}
	return e, nil
}

func (o Opener) unseal(s Sealed, purpose string, sealed []byte) ([]byte, error) {
	plain, err := o.vault.Unseal(sealed, vault.Binding{Tenant: s.Tenant, Table: "webhooks", Row: s.ID.String(), Purpose: purpose})
	if err != nil {
		return nil, fmt.Errorf("webhook %s: open %s: %w", s.ID, purpose, err)
	}
	return plain, nil
}

// Signer is the one to sign with at now.
func (e *Endpoint) Signer(now time.Time) *webhook.Signer {
	if now.Before(e.graceEnds) {
		return e.signer
	}
	return e.afterGrace
}
