package limits

import (
	"fmt"
	"net/http"
	"time"

	"golang.org/x/text/language"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/rateheader"
	"github.com/primezap/primezap/pkg/ratelimit"
)

// Headers tell a client how much of a connection's windows is left.
func Headers(windows []ratelimit.State) http.Header { return rateheader.Header(headers(windows)...) }

// Problem says that a connection has sent enough: which window refuses, how much
// remains of it and when it begins anew. acceptLanguage is the request's header. There
// is no Retry-After where no wait would do.
func Problem(r *ratelimit.Refusal, acceptLanguage string) *problem.Problem {
	text := wordings[0]
	// Long ones are no browser's; the parser would take its time.
	if len(acceptLanguage) <= maxAcceptLanguage {
		if tags, _, err := language.ParseAcceptLanguage(acceptLanguage); err == nil {
			_, i, _ := languages.Match(tags...)
			text = wordings[i]
		}
	}
	var wait time.Duration
	var resetsAt *time.Time // null where no window has begun
	detail := fmt.Sprintf(text.never, r.Requested, r.Limit, text.window[r.Window])
	if !r.ResetsAt.IsZero() {
		resetsAt = new(r.ResetsAt.UTC())
	}
	if !r.Never {
		wait = r.ResetsIn
		detail = fmt.Sprintf(text.full, r.Remaining(), r.Limit, text.window[r.Window], r.Requested, resetsAt.Format(time.RFC3339))
	}
	p := problem.TooManyRequests(wait, detail).WithType(problem.TypeRateLimit).WithCause(r).
		WithHeader("Content-Language", text.tag.String()).
		WithExtension("windowType", r.Window).WithExtension("limit", r.Limit).WithExtension("remaining", r.Remaining()).
		WithExtension("requested", r.Requested).WithExtension("resetsAt", resetsAt)
	p.Title = text.title
	for name, values := range Headers(r.Windows) {
		p = p.WithHeader(name, values[0])
	}
	return p
}

const maxAcceptLanguage = 1000 // bytes

// wording is the text of the problem in one language.
type wording struct {
	tag         language.Tag
	title       string
	full, never string // formats
	window      map[ratelimit.Window]string
}

// wordings begin with the one for those whose languages are not among them.
var wordings = []wording{
	{
		tag:    language.English,
		title:  problem.New(http.StatusTooManyRequests, "", "").WithType(problem.TypeRateLimit).Title,
		full:   "%d of the connection's %d messages %s remain and %d would be needed; more can be sent from %s",
		never:  "%d messages at a time can never be sent: the connection may send %d %s",
		window: map[ratelimit.Window]string{ratelimit.PerMinute: "a minute", ratelimit.PerHour: "an hour", ratelimit.PerDay: "a day"},
	},
	{
		tag:    language.BrazilianPortuguese,
		title:  "Limite de mensagens atingido",
		full:   "restam %d das %d mensagens %s da conexão e seriam necessárias %d; será possível enviar mais a partir de %s",
		never:  "nunca será possível enviar %d mensagens de uma vez: a conexão pode enviar %d %s",
		window: map[ratelimit.Window]string{ratelimit.PerMinute: "por minuto", ratelimit.PerHour: "por hora", ratelimit.PerDay: "por dia"},
	},
}

var languages = func() language.Matcher {
	tags := make([]language.Tag, len(wordings))
	for i, w := range wordings {
		tags[i] = w.tag
	}
	return language.NewMatcher(tags)
}()
