// Package meta speaks with Meta: it calls the Graph API, and verifies that a
// webhook is Meta's.
//
// What Meta answers is read leniently: ids may be numbers or strings, errors lack
// fields or have them as another type. An error is an [*Error], whose [Class] says
// what to do; it comes from Meta's code, since HTTP statuses vary. A call without
// an answer is [ErrNotSent] or [ErrOutcomeUnknown]: Meta knows no idempotency keys,
// so that a message of unknown outcome must not simply be sent again.
//
// Package inbound reads what Meta posts to a webhook.
package meta

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer      = 1 << 20 // bytes
	maxHeader      = 64 << 10
	maxConnections = 64               // at a time; further calls wait for one
	idleTimeout    = 30 * time.Second // less than a server keeps them, so that few calls meet a closing one
)

// Client calls the Graph API. It is safe for concurrent use.
type Client struct {
	base    *url.URL // with the version
	secret  string   // of the app; empty: calls go without a proof
	timeout time.Duration
	http    *http.Client
}

// NewClient returns a client as cfg says; the error is cfg's.
func NewClient(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	base, err := Origin(cmp.Or(cfg.GraphURL, defaultURL))
	if err != nil {
		return nil, err
	}
	c := &Client{
		base:    base.JoinPath(cfg.Version()),
		secret:  cfg.Secret(),
		timeout: cmp.Or(cfg.Timeout, defaultTimeout),
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = maxConnections
	transport.MaxIdleConnsPerHost = maxConnections
	transport.IdleConnTimeout = idleTimeout
	transport.MaxResponseHeaderBytes = maxHeader
	// A call has its connection alone: one that breaks leaves the outcome of one
	// call open, where HTTP/2 would have it be that of all that are under way.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Path is what a call is about: segments such as an id and the name of what is
// wanted of it, without the version.
type Path []string

// segmentPattern lets through ids and names: nothing that could lead elsewhere.
var segmentPattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,511}$`)

// Response is an answer without an error.
type Response struct {
	Status int
	Body   json.RawMessage
	Usage  Usage
}

// Decode reads the body into a value. An answer of another form is
// [ErrOutcomeUnknown]; the error shows nothing of it.
func (r *Response) Decode(into any) error {
	err := json.Unmarshal(r.Body, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("meta: read answer: %w: %q is no %s", ErrOutcomeUnknown, wrong.Field, wrong.Type)
	}
	if err != nil {
		return fmt.Errorf("meta: read answer: %w: %w", ErrOutcomeUnknown, err)
	}
	return nil
}

// Success says whether the body is true, in any of the ways Meta has to say so.
func (r *Response) Success() bool { return truth(r.Body, 2) }

// Get reads. The errors are those of [Client.Post].
func (c *Client) Get(ctx context.Context, token string, path Path, params url.Values) (*Response, error) {
	return c.call(ctx, http.MethodGet, token, path, params, nil)
}

// Post changes or sends. Without a body, the parameters are sent as a form, so
// that they may be secret.
//
// The error is an [*Error] where Meta refused; [ErrNotSent] or [ErrOutcomeUnknown],
// wrapping the cause, where there is no answer that can be read; or [ErrPath] or
// [ErrToken]. None holds the token, nor a parameter that is secret.
func (c *Client) Post(ctx context.Context, token string, path Path, params url.Values, body any) (*Response, error) {
	return c.call(ctx, http.MethodPost, token, path, params, body)
}

// Delete deletes. The errors are those of [Client.Post].
func (c *Client) Delete(ctx context.Context, token string, path Path, params url.Values) (*Response, error) {
	return c.call(ctx, http.MethodDelete, token, path, params, nil)
}

// secretParams are the parameters that are hidden as the token is. Meta quotes what it
// does not like.
var secretParams = []string{"client_secret", "code", "code_verifier", "fb_exchange_token", "input_token"}

func (c *Client) call(ctx context.Context, method, token string, path Path, params url.Values, body any) (*Response, error) {
	req, err := c.request(ctx, method, token, path, params, body)
	if err != nil {
		return nil, fmt.Errorf("meta: %s: %w", method, err)
	}
	got, err := c.ask(req)
	if got == nil {
		return nil, err
	}
	secrets := []string{token, c.proof(token), c.secret}
	for _, name := range secretParams {
		secrets = append(secrets, params.Get(name))
	}
	usage := usageOf(got.header)
	if failed := errorOf(got.status, got.body, token == "", hider(secrets...)); failed != nil {
		failed.Usage = usage
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	return &Response{Status: got.status, Body: got.body, Usage: usage}, nil
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request and reads the answer. Where that one could not be read whole, or
// is no JSON, it comes with the error and what there is of the body.
func (c *Client) ask(req *http.Request) (*answer, error) {
	ctx, cancel := context.WithTimeout(req.Context(), c.timeout)
	defer cancel()
	trace := new(trace)
	res, err := c.http.Do(req.WithContext(trace.in(ctx)))
	if err != nil {
		return nil, trace.failure(req.Method, err)
	}
	defer res.Body.Close()
	raw, err := read(res.Body)
	if err == nil && !json.Valid(raw) {
		err = errNoJSON
	}
	if err != nil {
		err = fmt.Errorf("meta: %s: read answer: %w: %w", req.Method, ErrOutcomeUnknown, err)
	}
	return &answer{res.StatusCode, res.Header, raw}, err
}

// request makes the request of a call.
func (c *Client) request(ctx context.Context, method, token string, path Path, params url.Values, body any) (*http.Request, error) {
	if len(path) == 0 || slices.ContainsFunc(path, func(s string) bool { return !segmentPattern.MatchString(s) }) {
		return nil, ErrPath
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, ErrToken
	}
	query := make(url.Values, len(params)+1)
	maps.Copy(query, params)
	if proof := c.proof(token); proof != "" {
		query.Set("appsecret_proof", proof)
	}
	target := c.base.JoinPath(path...)
	var content io.Reader
	var contentType string
	switch {
	case body != nil:
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode body: %w", err)
		}
		content, contentType = bytes.NewReader(raw), "application/json"
		target.RawQuery = query.Encode()
	case method == http.MethodPost:
		content, contentType = strings.NewReader(query.Encode()), "application/x-www-form-urlencoded"
	default:
		target.RawQuery = query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "PrimeZap/1.0")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token) // not in the URL, which proxies log
	}
	return req, nil
}

// proof is the appsecret_proof of a token: empty without an app secret, and for an
// app's own token, "id|secret", which needs none.
func (c *Client) proof(token string) string {
	if c.secret == "" || token == "" || strings.Contains(token, "|") {
		return ""
	}
	return Proof(c.secret, token)
}

// HTTP is for a library that makes its own requests of the Graph API: it follows no
// redirect and sends nothing twice. Its errors are [ErrNotSent] and [ErrOutcomeUnknown]
// where there is no answer that can be read; errors of Meta's are for [ReadError].
func (c *Client) HTTP() *http.Client {
	return &http.Client{
		Transport:     transport(c.roundTrip),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// URL is where a call goes, without its parameters.
func (c *Client) URL(path ...string) string { return c.base.JoinPath(path...).String() }

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }

func (c *Client) roundTrip(req *http.Request) (*http.Response, error) {
	got, err := c.ask(req)
	success := got != nil && got.status >= 200 && got.status <= 299
	if got == nil || err != nil && success {
		return nil, err
	}
	if success && errorOf(got.status, got.body, true, hider()) != nil {
		got.status = http.StatusBadRequest // an error all the same: libraries look at the status
	}
	return &http.Response{
		Status:        strconv.Itoa(got.status) + " " + http.StatusText(got.status),
		StatusCode:    got.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        got.header,
		Body:          io.NopCloser(bytes.NewReader(got.body)),
		ContentLength: int64(len(got.body)),
		Request:       req,
	}, nil
}

var (
	errTooLong = errors.New("longer than 1 MiB")
	errNoJSON  = errors.New("no JSON")
)

// read reads an answer's body, or what there is of it.
func read(body io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	switch {
	case err != nil:
		return raw, err
	case len(raw) > maxAnswer:
		return nil, errTooLong
	}
	return raw, nil
}
