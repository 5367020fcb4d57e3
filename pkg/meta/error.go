package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var (
	// ErrNotSent means that the call failed before it was written whole, so that Meta cannot
	// have acted on it.
	ErrNotSent = errors.New("not sent")
	// ErrOutcomeUnknown means that Meta may have acted on the call or not. Besides calls that
	// were broken off, an [*Error] is one that a gateway answered with 5xx.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrToken means that the token has characters that no access token has.
	ErrToken = errors.New("no access token can look like this")
	// ErrPath means that the path is empty, or that a segment of it is no id nor name.
	ErrPath = errors.New("no id nor name in the Graph API can look like this")
)

// Error is Meta's answer to a call that failed. Its texts hold neither the call's
// token nor its proof, are at most 1 KiB long and can be stored; they may hold what
// was sent, such as a phone number, so that Error() leaves them out.
type Error struct {
	Status      int  // of HTTP
	Coded       bool // Meta gave a code: 0 is one
	Code        int
	Subcode     int
	Type        string
	Message     string
	FBTraceID   string
	Transient   bool
	Class       Class
	UserTitle   string
	UserMessage string
	Details     string // of WhatsApp: what Message leaves out
	Usage       Usage
}

// Error is safe to log.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "meta: status %d", e.Status)
	if e.Coded {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Subcode != 0 {
		fmt.Fprintf(&b, "/%d", e.Subcode)
	}
	for _, name := range []string{e.Type, e.FBTraceID} {
		if namePattern.MatchString(name) {
			b.WriteString(", " + name)
		}
	}
	return b.String() + ", " + string(e.Class)
}

// namePattern is what types and trace ids look like.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_+/-]{1,64}$`)

// Throttled says whether Meta takes no more such calls for a while. It may call that
// transient, which it is, though the same call does not succeed soon.
func (e *Error) Throttled() bool {
	return e.Class == RateLimited || e.Class == RateLimitedRecipient ||
		e.Coded && classes[e.Code] == RateLimited || e.Status == http.StatusTooManyRequests
}

// Is says of an answer that did not come from the Graph API that its outcome is
// unknown: who knows what stands behind the gateway.
func (e *Error) Is(target error) bool {
	return target == ErrOutcomeUnknown && !e.Coded && e.Status >= http.StatusInternalServerError
}

// errorBody is how errors come. Every field may be of another type than documented.
type errorBody struct {
	Message     json.RawMessage `json:"message"`
	Type        json.RawMessage `json:"type"`
	Code        json.RawMessage `json:"code"`
	Subcode     json.RawMessage `json:"error_subcode"`
	Transient   Bool            `json:"is_transient"`
	UserTitle   json.RawMessage `json:"error_user_title"`
	UserMessage json.RawMessage `json:"error_user_msg"`
	FBTraceID   json.RawMessage `json:"fbtrace_id"`
	Data        json.RawMessage `json:"error_data"`
}

// errorOf reads the error out of an answer: nil for a success without one. Whatever
// cannot be read of it is left empty. hide removes secrets from a text.
func errorOf(status int, body []byte, anonymous bool, hide func(string) string) *Error {
	var answer struct {
		Error       json.RawMessage `json:"error"`
		Description json.RawMessage `json:"error_description"` // beside an error that is a string
	}
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) > 0 && trimmed[0] == '{' {
		_ = json.Unmarshal(trimmed, &answer) // what is not JSON has no error in it
	}
	found := len(answer.Error) > 0 && !bytes.Equal(answer.Error, []byte("null")) && !bytes.Equal(answer.Error, []byte("false"))
	if !found && status >= 200 && status <= 299 {
		return nil
	}
	e := &Error{Status: status}
	clean := func(raw json.RawMessage) string { return bounded(hide(storable(text(raw)))) }
	var b errorBody
	switch {
	case !found:
	case answer.Error[0] == '{' && json.Unmarshal(answer.Error, &b) == nil:
		e.Message, e.Type, e.FBTraceID = clean(b.Message), clean(b.Type), clean(b.FBTraceID)
		e.UserTitle, e.UserMessage = clean(b.UserTitle), clean(b.UserMessage)
		e.Transient = bool(b.Transient)
		e.Code, e.Coded = integer(b.Code)
		e.Subcode, _ = integer(b.Subcode)
		e.Details = clean(details(b.Data))
	default:
		e.Message, e.Details = clean(answer.Error), clean(answer.Description)
	}
	e.classify(anonymous)
	return e
}

// ReadError reads the error out of an answer to a call without a token; nil where it is a
// success. The texts do not show secrets.
func ReadError(status int, header http.Header, body []byte, secrets ...string) *Error {
	e := errorOf(status, body, true, hider(secrets...))
	if e != nil {
		e.Usage = usageOf(header)
	}
	return e
}

// details are WhatsApp's error_data.details, or whatever else stands in error_data.
func details(data json.RawMessage) json.RawMessage {
	var object struct {
		Details json.RawMessage `json:"details"`
	}
	if len(data) > 0 && data[0] == '{' && json.Unmarshal(data, &object) == nil && len(object.Details) > 0 {
		return object.Details
	}
	return data
}

// tokenPattern is how the access tokens of users, pages and systems begin. Meta
// quotes one that it cannot read.
var tokenPattern = regexp.MustCompile(`\b(EAA|IGAA|IGQ)[A-Za-z0-9_-]{20,}`)

const hidden = "[hidden]"

// hider removes each of secrets from texts, and what looks like a token.
func hider(secrets ...string) func(string) string {
	var pairs []string
	for _, secret := range secrets {
		if secret != "" {
			pairs = append(pairs, secret, hidden, url.QueryEscape(secret), hidden)
		}
	}
	replacer := strings.NewReplacer(pairs...)
	return func(s string) string { return tokenPattern.ReplaceAllString(replacer.Replace(s), hidden) }
}
