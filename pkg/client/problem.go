package client

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is a refusal by the API: problem details (RFC 9457). Of an event that
// was refused for what it holds, Errors names the places.
type Problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"` // of HTTP
	Detail    string       `json:"detail"`
	Instance  string       `json:"instance"`
	Errors    []FieldError `json:"errors"`
	RequestID string       `json:"requestId"` // finds the request in the API's logs

	// RetryAfter is how long the API asked to be left alone; 0 if it did not.
	RetryAfter time.Duration `json:"-"`
}

// FieldError is one fault of an event.
type FieldError struct {
	Pointer string `json:"pointer"` // JSON Pointer (RFC 6901) into the event, such as /data/deal
	Detail  string `json:"detail"`
}

// Error describes the problem.
func (p *Problem) Error() string {
	text := "client: " + strconv.Itoa(p.Status) + " " + p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// inEvent has the pointers start at the i-th event of the request rather than at
// its array, of which the publisher knows nothing.
func (p *Problem) inEvent(i int) {
	place := "/" + strconv.Itoa(i)
	strip := func(text string) string {
		if rest, ok := strings.CutPrefix(text, place); ok && (rest == "" || strings.ContainsAny(rest[:1], "/:")) {
			return rest
		}
		return text
	}
	p.Detail = strip(p.Detail) // names the place where there is one fault only
	for i := range p.Errors {
		p.Errors[i].Pointer = strip(p.Errors[i].Pointer)
	}
}

// temporary tells answers after which the same request may succeed: the API, or
// a proxy before it, is busy, restarting or unwell.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// divisible tells answers that refuse a request as a whole for what one event of
// it may be to blame for.
func divisible(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge
}

// problemOf reads the problem that an answer is, or makes one of its status: a
// proxy may have written it.
func problemOf(resp *http.Response, body []byte) *Problem {
	p := &Problem{}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != "application/problem+json" || json.Unmarshal(body, p) != nil {
		p = &Problem{Type: "about:blank", Title: http.StatusText(resp.StatusCode)}
	}
	p.Status = resp.StatusCode
	p.RetryAfter = retryAfter(resp.Header)
	return p
}

// retryAfter reads the header in either of its forms.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
