package webhooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/egress"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/strict"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

// Bounds of what a webhook may be given.
const (
	maxName        = 200 // characters
	maxDescription = 2000
	maxURL         = 2048 // bytes
	maxHeaders     = 20
	maxHeaderValue = 1024
	maxDelays      = 12
	maxDelay       = 24 * 60 * 60 // seconds
	maxRate        = 1000         // attempts a second
)

// mask stands for a header's value in answers. Sent back, it keeps the value.
const mask = "••••"

// defaultDelays is the schedule of a webhook that brings none, in seconds.
var defaultDelays = []int{1, 5, 15}

// header is one of a webhook's own headers, as it is sealed.
type header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// editor changes a row as a request asks, and collects every fault of the request
// on the way.
type editor struct {
	*Service
	row    db.Webhook
	faults []problem.FieldError
	failed error // ours, not the request's
}

// err is nil if the row may be stored.
func (e *editor) err() error {
	if e.failed != nil {
		return e.failed
	}
	if len(e.faults) > 0 {
		return problem.Invalid(e.faults...)
	}
	return nil
}

func (e *editor) fault(detail string, at ...any) {
	e.faults = append(e.faults, problem.FieldError{Pointer: strict.Pointer(problem.Pointer(at...)), Detail: detail})
}

// create fills a new row and returns its secret.
func (e *editor) create(in openapi.WebhookInput) (secret string) {
	if in.Secret == nil {
		in.Secret = new(webhook.NewSecret())
	}
	e.replace(in)
	return *in.Secret
}

// replace gives every field but the secret its value or its default.
func (e *editor) replace(in openapi.WebhookInput) {
	e.name(in.Name)
	e.url(in.URL)
	e.events(in.Events)
	if in.Secret != nil {
		e.secret(*in.Secret)
	}
	e.headers(in.Headers)
	e.active(in.Active == nil || *in.Active)
	e.description(in.Description)
	e.retry(in.Retry)
	e.row.Operational = in.Operational != nil && *in.Operational
	e.filter(in.Filter)
	e.rate(in.Rate)
	e.reach()
}

// merge changes the fields that are given; null gives those that can be absent
// their default.
func (e *editor) merge(in openapi.WebhookPatch) {
	if value := needed(e, "name", in.Name); value != nil {
		e.name(*value)
	}
	if value := needed(e, "url", in.URL); value != nil {
		e.url(*value)
	}
	if value := needed(e, "events", in.Events); value != nil {
		e.events(*value)
	}
	if value := needed(e, "secret", in.Secret); value != nil {
		e.secret(*value)
	}
	if in.Headers.Given {
		e.headers(in.Headers.Or(nil))
	}
	if in.Active.Given {
		e.active(in.Active.Or(true))
	}
	if in.Description.Given {
		e.description(in.Description.Value)
	}
	if in.Retry.Given {
		e.retry(in.Retry.Value)
	}
	if in.Operational.Given {
		e.row.Operational = in.Operational.Or(false)
	}
	if in.Filter.Given {
		e.filter(in.Filter.Or(nil))
	}
	if in.Rate.Given {
		e.rate(in.Rate.Value)
	}
	if in.Events.Given || in.Operational.Given {
		e.reach()
	}
}

// needed is the value of a field that cannot be null, nil if there is none.
func needed[T any](e *editor, name string, field strict.Optional[T]) *T {
	if field.Given && field.Value == nil {
		e.fault("must not be null", name)
	}
	return field.Value
}

func (e *editor) name(name string) {
	switch n := utf8.RuneCountInString(name); {
	case strings.TrimSpace(name) == "" || n > maxName:
		e.fault("must have 1 to 200 characters", "name")
	case strings.ContainsFunc(name, unicode.IsControl):
		e.fault("must not have control characters", "name")
	}
	e.row.Name = name
}

func (e *editor) description(given *string) {
	var text string
	if given != nil {
		text = *given
	}
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' }
	switch {
	case utf8.RuneCountInString(text) > maxDescription:
		e.fault("must have at most 2000 characters", "description")
	case strings.ContainsFunc(text, control):
		e.fault("must not have control characters but tabs and line breaks", "description")
	}
	e.row.Description = text
}

func (e *editor) url(raw string) {
	if len(raw) > maxURL {
		e.fault("must have at most 2048 bytes", "url")
	} else if err := e.Policy.CheckURL(raw); err != nil {
		e.fault(reason(err), "url")
	}
	e.row.Url = raw
}

func (e *editor) events(subscriptions []string) {
	if len(subscriptions) == 0 {
		e.fault("must have at least one event type, prefix such as deal.*, or *", "events")
	}
	seen := make(map[string]bool)
	for i, s := range subscriptions {
		switch {
		case !event.ValidSubscription(s):
			e.fault(event.NoSubscription, "events", i)
		case seen[s]:
			e.fault("is given twice", "events", i)
		}
		seen[s] = true
	}
	e.row.Events = subscriptions
}

// active also lifts an automatic disable when it is true.
// reach refuses a webhook that would never get anything: its subscriptions cover
// operational events alone, and it is not operational.
func (e *editor) reach() {
	gets := func(s string) bool {
		return !event.ValidSubscription(s) || slices.ContainsFunc(event.Names(), func(name string) bool {
			return event.Matches(s, event.Type(name), e.row.Operational)
		})
	}
	if len(e.row.Events) > 0 && !slices.ContainsFunc(e.row.Events, gets) {
		e.fault("cover operational events alone: name them, or set operational to true", "events")
	}
}

func (e *editor) active(active bool) {
	e.row.Active = active
	if active {
		e.row.DisabledAt, e.row.DisabledReason = nil, nil
	}
}

func (e *editor) retry(given *openapi.RetryInput) {
	e.row.AutoRecover = given == nil || given.AutoRecover == nil || *given.AutoRecover
	delays := defaultDelays
	if given != nil && given.DelaysSeconds != nil {
		delays = *given.DelaysSeconds
	}
	if len(delays) > maxDelays {
		e.fault("must have at most 12 delays", "retry", "delaysSeconds")
		return
	}
	e.row.RetryDelays = make([]int32, len(delays))
	for i, delay := range delays {
		if delay < 1 || delay > maxDelay {
			e.fault("must be 1 to 86400 seconds", "retry", "delaysSeconds", i)
			continue
		}
		e.row.RetryDelays[i] = int32(delay)
	}
}

// filter is stored as it is given.
func (e *editor) filter(given json.RawMessage) {
	e.row.Filter = nil
	if isNull(given) {
		return
	}
	if _, fault := compile(given); fault != nil {
		e.faults = append(e.faults, *fault)
		return
	}
	e.row.Filter = given
}

func (e *editor) rate(given *openapi.Rate) {
	e.row.RatePerSecond = nil
	switch {
	case given == nil:
	case given.PerSecond < 1 || given.PerSecond > maxRate:
		e.fault("must be 1 to 1000", "rate", "perSecond")
	default:
		e.row.RatePerSecond = new(int32(given.PerSecond))
	}
}

func (e *editor) secret(secret string) {
	switch err := webhook.CheckSecret(secret); {
	case errors.Is(err, webhook.ErrSecretLength):
		e.fault("must have 16 to 256 characters", "secret")
		return
	case errors.Is(err, webhook.ErrSecretCharacters):
		e.fault("must be printable ASCII", "secret")
		return
	case err != nil:
		e.fault("must go on in padded base64 after whsec_", "secret")
		return
	}
	if e.holds(e.row.Secret, "secret", []byte(secret)) {
		return
	}
	e.row.Secret = e.seal([]byte(secret), "secret")
	e.row.SecretHint = webhook.Hint(secret)
}

// holds says whether a ciphertext opens and has plain in it.
func (e *editor) holds(sealed []byte, purpose string, plain []byte) bool {
	if len(sealed) == 0 {
		return false
	}
	stored, err := e.Vault.Unseal(sealed, e.binding(purpose))
	return err == nil && bytes.Equal(stored, plain)
}

func (e *editor) headers(given map[string]string) {
	if len(given) > maxHeaders {
		e.fault("must have at most 20 headers", "headers")
		return
	}
	var stored []header
	if slices.Contains(slices.Collect(maps.Values(given)), mask) {
		stored = e.storedHeaders()
	}
	var headers []header
	var names []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := given[name]
		same := func(other string) bool { return strings.EqualFold(other, name) }
		switch at := slices.IndexFunc(stored, func(h header) bool { return same(h.Name) }); {
		case slices.ContainsFunc(names, same):
			e.fault("is given twice: the case of a header's name does not matter", "headers", name)
		case value == mask && at < 0:
			e.fault("has no stored value to keep", "headers", name)
		case value == mask:
			value = stored[at].Value
		case len(value) > maxHeaderValue || strings.ContainsFunc(value, notVisible):
			e.fault("must have a value of at most 1024 visible ASCII characters", "headers", name)
		case strings.TrimSpace(value) != value:
			// HTTP/1 drops such spaces on the way, and HTTP/2 refuses the request.
			e.fault("must have a value without spaces at its beginning and end", "headers", name)
		}
		if err := egress.CheckHeader(name, ""); err != nil {
			e.fault(reason(err), "headers", name)
		}
		names = append(names, name)
		headers = append(headers, header{Name: name, Value: value})
	}
	if len(e.faults) > 0 || e.failed != nil {
		return
	}
	if len(headers) == 0 {
		e.row.Headers, e.row.HeaderNames = nil, []string{}
		return
	}
	plain, err := json.Marshal(headers)
	if err != nil {
		e.failed = fmt.Errorf("encode headers: %w", err)
		return
	}
	if !e.holds(e.row.Headers, "headers", plain) {
		e.row.Headers, e.row.HeaderNames = e.seal(plain, "headers"), names
	}
}

func notVisible(r rune) bool { return r < ' ' || r > '~' }

// storedHeaders opens what the row has.
func (e *editor) storedHeaders() []header {
	if len(e.row.Headers) == 0 {
		return nil
	}
	plain, err := e.Vault.Unseal(e.row.Headers, e.binding("headers"))
	if err != nil {
		e.failed = fmt.Errorf("headers of webhook %s: %w", e.row.ID, err)
		return nil
	}
	var stored []header
	if err := json.Unmarshal(plain, &stored); err != nil {
		e.failed = fmt.Errorf("headers of webhook %s: %w", e.row.ID, err)
	}
	return stored
}

func (e *editor) seal(plain []byte, purpose string) []byte {
	sealed, err := e.Vault.Seal(plain, e.binding(purpose))
	if err != nil {
		e.failed = fmt.Errorf("webhook %s: %w", e.row.ID, err)
	}
	return sealed
}

func (e *editor) binding(purpose string) vault.Binding {
	return vault.Binding{Tenant: e.row.TenantID, Table: "webhooks", Row: e.row.ID.String(), Purpose: purpose}
}

// reason is what a policy says to whoever gave the value.
func reason(err error) string {
	if refusal, ok := errors.AsType[*egress.Refusal](err); ok {
		return refusal.Detail
	}
	return "is refused"
}
