package metatest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxControl bounds what a request below /simulate may bring: a webhook of Meta's
// largest size.
const maxControl = 3 << 20

// Bounds of lists.
const (
	defaultList = 100
	maxList     = 10_000
)

// routes are the Graph API's, and those of nothing at Meta.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if dialogForm.MatchString(r.URL.Path) {
			s.dialog(w, r)
			return
		}
		s.graph(w, r)
	})
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("/simulate/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Errorf("there is no %s %s; GET / lists what there is", r.Method, r.URL.Path))
	})

	s.loginRoutes(mux)
	mux.HandleFunc("POST /simulate/message", control(s.simulateMessage))
	mux.HandleFunc("POST /simulate/webhook", s.simulateWebhook)
	mux.HandleFunc("POST /simulate/redeliver", control(func(_ context.Context, in struct{ Last int }) (any, error) {
		if in.Last < 1 {
			return nil, errors.New("last must be how many webhooks to send once more")
		}
		return M{"redelivered": s.Redeliver(in.Last)}, nil
	}))
	mux.HandleFunc("POST /simulate/verify", func(w http.ResponseWriter, r *http.Request) {
		if err := s.VerifyCallback(r.Context()); err != nil {
			refuse(w, http.StatusBadGateway, err)
			return
		}
		show(w, http.StatusOK, M{"verified": true})
	})

	mux.HandleFunc("GET /simulate/sent", s.listSent)
	mux.HandleFunc("GET /simulate/webhooks", func(w http.ResponseWriter, r *http.Request) {
		data := []M{}
		for _, sent := range s.hooks.last(limitOf(r.URL.Query())) {
			data = append(data, shown(sent))
		}
		show(w, http.StatusOK, M{"data": data})
	})
	mux.HandleFunc("GET /simulate/counts", func(w http.ResponseWriter, r *http.Request) {
		span := time.Second
		if text := r.URL.Query().Get("spanMs"); text != "" {
			ms, err := strconv.Atoi(text)
			if err != nil || ms < 1 {
				refuse(w, http.StatusUnprocessableEntity, errors.New("spanMs must be a number of milliseconds"))
				return
			}
			span = time.Duration(ms) * time.Millisecond
		}
		show(w, http.StatusOK, s.Count(span))
	})
	mux.HandleFunc("GET /simulate/world", func(w http.ResponseWriter, _ *http.Request) {
		world := s.World()
		show(w, http.StatusOK, M{
			"numbers": world.Numbers, "pages": world.Pages, "accounts": world.Accounts, "users": world.Users, "people": world.People,
		})
	})

	mux.HandleFunc("GET /simulate/faults", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, M{"data": s.Faults()}) })
	mux.HandleFunc("POST /simulate/faults", control(func(_ context.Context, f Fault) (any, error) {
		id, err := s.Inject(f)
		return M{"id": id}, err
	}))
	mux.HandleFunc("DELETE /simulate/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /simulate/statuses", control(func(_ context.Context, st Statuses) (any, error) { return st, s.changeStatuses(st) }))
	mux.HandleFunc("PUT /simulate/limits", control(func(_ context.Context, l Limits) (any, error) {
		if l.NumberPerSecond < 0 || l.WABAPerMinute < 0 || l.AppPerMinute < 0 || l.UserPerMinute < 0 || l.PagePerMinute < 0 || l.PairBurst < 0 || l.PairEvery < 0 {
			return nil, errors.New("limits must not be negative")
		}
		s.SetLimits(l)
		return l, nil
	}))
	mux.HandleFunc("PUT /simulate/callback", control(func(_ context.Context, in struct{ URL string }) (any, error) {
		if u, err := url.Parse(in.URL); in.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return nil, errors.New("url must be one of http or https, or empty")
		}
		s.SetCallback(in.URL)
		return M{"url": in.URL}, nil
	}))
	mux.HandleFunc("POST /simulate/tokens/revoke", control(func(_ context.Context, in struct {
		Token   string
		Subcode int
	}) (any, error) {
		s.RevokeToken(in.Token, in.Subcode)
		return M{"revoked": true}, nil
	}))
	mux.HandleFunc("POST /simulate/tokens/restore", control(func(_ context.Context, in struct{ Token string }) (any, error) {
		s.RestoreToken(in.Token)
		return M{"restored": true}, nil
	}))

	mux.HandleFunc("PUT /simulate/numbers", control(func(_ context.Context, n Number) (any, error) {
		return n, need(n.ID, n.WABA, n.Phone, n.Token, s.AddNumber, n)
	}))
	mux.HandleFunc("PUT /simulate/pages", control(func(_ context.Context, p Page) (any, error) { return p, need(p.ID, "-", "-", "-", s.AddPage, p) }))
	mux.HandleFunc("PUT /simulate/accounts", control(func(_ context.Context, a Account) (any, error) {
		return a, need(a.ID, a.Page, "-", "-", s.AddAccount, a)
	}))
	mux.HandleFunc("PUT /simulate/users", control(func(_ context.Context, u User) (any, error) { return u, need(u.ID, "-", "-", "-", s.AddUser, u) }))
	mux.HandleFunc("POST /simulate/people", control(func(_ context.Context, p Person) (any, error) { s.AddPerson(p); return p, nil }))
	return mux
}

// need adds what has the four texts that it cannot be without.
func need[T any](a, b, c, d string, add func(T), one T) error {
	if a == "" || b == "" || c == "" || d == "" {
		return errors.New("id, a number's token, phone and wabaId, and an account's pageId must not be empty")
	}
	add(one)
	return nil
}

func (s *Server) changeStatuses(st Statuses) error {
	for _, step := range st.Steps {
		switch step {
		case "sent", "delivered", "read", "played", "echo":
		default:
			return fmt.Errorf("steps: %q is none of sent, delivered, read, played, echo", step)
		}
	}
	if st.Repeat < 0 || st.Repeat > maxRepeat || st.Delay < 0 || len(st.Steps) > maxRepeat {
		return fmt.Errorf("repeat must be 0 to %d, delayMs not negative", maxRepeat)
	}
	s.SetStatuses(st)
	return nil
}

// simulateMessage plays an event. It answers 502 when the callback has not taken it.
func (s *Server) simulateMessage(ctx context.Context, e Event) (any, error) {
	played, err := s.Play(ctx, e)
	if err != nil {
		return nil, err
	}
	return withStatus{played.Webhook.answered(), M{"simulated": true, "ids": played.IDs, "webhook": shown(played.Webhook)}}, nil
}

// simulateWebhook signs a body as it is and sends it.
func (s *Server) simulateWebhook(w http.ResponseWriter, r *http.Request) {
	body, ok := readControl(w, r)
	if !ok {
		return
	}
	sent := s.Deliver(r.Context(), body)
	show(w, sent.answered(), M{"simulated": true, "webhook": shown(sent)})
}

// shown is a webhook whose body may be no JSON.
func shown(sent Webhook) M {
	var body any = sent.Body
	if !json.Valid(sent.Body) {
		body = string(sent.Body)
	}
	return M{
		"body": body, "signature": sent.Signature, "attempts": sent.Attempts, "at": sent.At,
		"status": sent.Status, "says": sent.Says, "retrying": sent.Retrying,
	}
}

// listSent answers what was accepted: the last so many, the oldest first.
func (s *Server) listSent(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	sent := s.Sent(query["to"]...)
	if account := query.Get("account"); account != "" {
		kept := sent[:0]
		for _, one := range sent {
			if one.Account == account {
				kept = append(kept, one)
			}
		}
		sent = kept
	}
	total := len(sent)
	sent = sent[max(0, total-limitOf(query)):]
	for i, one := range sent {
		if !json.Valid(one.Body) {
			sent[i].Body = encode(string(one.Body))
		}
	}
	if sent == nil {
		sent = []Sent{}
	}
	show(w, http.StatusOK, M{"simulated": true, "total": total, "data": sent})
}

func limitOf(query url.Values) int {
	n, err := strconv.Atoi(query.Get("limit"))
	if err != nil || n < 1 {
		return defaultList
	}
	return min(n, maxList)
}

// VerifyCallback asks the callback the question that Meta asks when it is entered.
func (s *Server) VerifyCallback(ctx context.Context) error {
	s.hooks.mu.Lock()
	target, err := url.Parse(s.hooks.url)
	s.hooks.mu.Unlock()
	if err != nil || target.Host == "" {
		return errNoCallback
	}
	challenge := rand.Text()
	query := target.Query()
	query.Set("hub.mode", "subscribe")
	query.Set("hub.challenge", challenge)
	query.Set("hub.verify_token", s.cfg.VerifyToken)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return fmt.Errorf("verify the callback: %w", err)
	}
	resp, err := s.hooks.client.Do(req)
	if err != nil {
		return fmt.Errorf("verify the callback: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxSays))
	if err != nil || resp.StatusCode != http.StatusOK || string(answer) != challenge {
		return fmt.Errorf("the callback answers %d, and %d bytes that are not the challenge alone", resp.StatusCode, len(answer))
	}
	return nil
}

// withStatus is an answer with a status of its own.
type withStatus struct {
	status int
	body   any
}

// control serves a request whose body is a T. Errors of do are the caller's mistake.
func control[T any](do func(context.Context, T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := readControl(w, r)
		if !ok {
			return
		}
		var in T
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			refuse(w, http.StatusUnprocessableEntity, fmt.Errorf("the body: %w", err))
			return
		}
		out, err := do(r.Context(), in)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		if given, ok := out.(withStatus); ok {
			show(w, given.status, given.body)
			return
		}
		show(w, http.StatusOK, out)
	}
}

// readControl reads a body that says it is JSON: a page of another site cannot say so
// without asking first, and nobody answers it.
func readControl(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, errors.New("the Content-Type must be application/json"))
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControl))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, err)
		return nil, false
	}
	return body, true
}

func refuse(w http.ResponseWriter, status int, err error) {
	show(w, status, M{"simulated": true, "error": err.Error()})
}

func show(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(encode(body), '\n')) // the caller may be gone
}
