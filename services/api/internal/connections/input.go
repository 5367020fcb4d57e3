package connections

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/strict"
	"github.com/primezap/primezap/services/api/internal/limits"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
)

const (
	maxName  = 200  // characters
	maxToken = 4096 // bytes
)

// idPattern is what ids of Meta's look like.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// windows are limits of a connection's own.
type windows map[ratelimit.Window]int64

// reader reads a request, and collects every fault of it on the way.
type reader struct {
	faults []problem.FieldError
}

// err is nil if the request can be followed.
func (r *reader) err() error {
	if len(r.faults) > 0 {
		return problem.Invalid(r.faults...)
	}
	return nil
}

func (r *reader) fault(detail string, at ...any) {
	r.faults = append(r.faults, problem.FieldError{Pointer: problem.Pointer(at...), Detail: detail})
}

// verify says whether Meta is to be asked.
func (r *reader) verify(given *string) bool {
	ask := param.Boolean("verify", given, &r.faults)
	return ask == nil || *ask
}

// create reads a new connection; its limits are nil where it brings none.
func (r *reader) create(in openapi.ConnectionInput) (connection.Account, windows) {
	a := connection.Account{
		Channel: messaging.Channel(in.Channel), Name: in.Name, ExternalID: in.ExternalID, PageID: in.PageID, Token: in.Credentials.AccessToken,
	}
	if !slices.Contains(channels, a.Channel) {
		r.fault("must be "+param.Choices(channels), "channel")
	}
	r.name(a.Name)
	r.id(a.ExternalID, "externalId")
	if a.PageID != nil {
		r.id(*a.PageID, "pageId")
		if a.Channel != messaging.Instagram {
			r.fault("is for Instagram accounts alone", "pageId")
		}
	}
	r.token(a.Token)
	if in.Limits == nil {
		return a, nil
	}
	return a, r.limits(*in.Limits)
}

// patch is a change of a connection. What is nil stays.
type patch struct {
	name   *string
	status *connection.Status
	token  *string
	limits windows // empty: none of its own
}

func (r *reader) patch(in openapi.ConnectionPatch) patch {
	p := patch{name: needed(r, "name", in.Name)}
	if p.name != nil {
		r.name(*p.name)
	}
	if in.Status.Given { // active unless somebody says otherwise
		p.status = new(connection.Status(in.Status.Or(openapi.ConnectionStatus(connection.Active))))
		if *p.status != connection.Active && *p.status != connection.Paused {
			r.fault("must be active or paused", "status")
		}
	}
	if credentials := needed(r, "credentials", in.Credentials); credentials != nil {
		p.token = &credentials.AccessToken
		r.token(*p.token)
	}
	if in.Limits.Given {
		p.limits = r.limits(in.Limits.Or(openapi.RateLimitInput{}))
	}
	return p
}

// needed is the value of a field that cannot be null, nil if there is none.
func needed[T any](r *reader, name string, field strict.Optional[T]) *T {
	if field.Given && field.Value == nil {
		r.fault("must not be null", name)
	}
	return field.Value
}

func (r *reader) name(name string) {
	switch n := utf8.RuneCountInString(name); {
	case strings.TrimSpace(name) == "" || n > maxName:
		r.fault("must have 1 to 200 characters", "name")
	case strings.ContainsFunc(name, unicode.IsControl):
		r.fault("must not have control characters", "name")
	}
}

func (r *reader) id(id, field string) {
	if !idPattern.MatchString(id) {
		r.fault("must have 1 to 64 letters, digits, underscores or hyphens", field)
	}
}

func (r *reader) token(token string) {
	strange := func(c rune) bool { return c <= ' ' || c > '~' }
	switch {
	case token == "" || len(token) > maxToken:
		r.fault("must have 1 to 4096 characters", "credentials", "accessToken")
	case strings.ContainsFunc(token, strange):
		r.fault("must have visible ASCII characters alone", "credentials", "accessToken")
	}
}

func (r *reader) limits(in openapi.RateLimitInput) windows {
	own, faults := limits.Parse(in)
	for _, fault := range faults {
		r.faults = append(r.faults, problem.FieldError{Pointer: problem.Pointer("limits") + fault.Pointer, Detail: fault.Detail})
	}
	return own
}
