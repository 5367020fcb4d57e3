package metatest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// loginRoutes are those below /simulate that have to do with logins.
func (s *Server) loginRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /simulate/consent", control(func(_ context.Context, in struct {
		URL string
		Choice
	}) (any, error) {
		location, err := s.Consent(in.URL, in.Choice)
		return M{"simulated": true, "location": location}, err
	}))
	mux.HandleFunc("GET /simulate/codes", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, M{"tries": s.CodeTries()}) })
	mux.HandleFunc("GET /simulate/grants", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, M{"data": s.Grants()}) })
	mux.HandleFunc("PUT /simulate/app", control(func(_ context.Context, a App) (any, error) { return a, s.SetApp(a) }))
	mux.HandleFunc("PUT /simulate/quirks", control(func(_ context.Context, q Quirks) (any, error) {
		if err := q.check(); err != nil {
			return nil, err
		}
		s.SetQuirks(q)
		return q, nil
	}))

	type ofUser struct {
		User    string
		Subcode int
	}
	mux.HandleFunc("POST /simulate/users/invalidate", control(func(_ context.Context, in ofUser) (any, error) {
		return M{"tokens": s.InvalidateUser(in.User, in.Subcode)}, nil
	}))
	mux.HandleFunc("POST /simulate/users/expire-data-access", control(func(_ context.Context, in ofUser) (any, error) {
		if !s.ExpireDataAccess(in.User) {
			return nil, errors.New("the user allows the app nothing")
		}
		return M{"expired": true}, nil
	}))
	mux.HandleFunc("POST /simulate/users/expiry", control(func(_ context.Context, in struct {
		User                string
		TokensInSeconds     *int64
		DataAccessInSeconds *int64
	}) (any, error) {
		if in.TokensInSeconds == nil && in.DataAccessInSeconds == nil {
			return nil, errors.New("tokensInSeconds or dataAccessInSeconds must be there")
		}
		answer := M{}
		if until := in.TokensInSeconds; until != nil {
			answer["tokens"] = s.ExpireTokens(in.User, s.after(*until))
		}
		if until := in.DataAccessInSeconds; until != nil && !s.EndDataAccess(in.User, s.after(*until)) {
			return nil, errors.New("the user allows the app nothing")
		}
		return answer, nil
	}))
	mux.HandleFunc("POST /simulate/users/with-pages", control(func(_ context.Context, in struct {
		User User
		Mix  Mix
	}) (any, error) {
		if in.User.ID == "" {
			return nil, errors.New("the user's id must not be empty")
		}
		if err := in.Mix.check(); err != nil {
			return nil, err
		}
		return s.AddUserWithPages(in.User, in.Mix), nil
	}))
	mux.HandleFunc("POST /simulate/users/deauthorize", control(s.told(s.Deauthorize)))
	mux.HandleFunc("POST /simulate/users/delete-data", control(s.told(s.RequestDeletion)))

	mux.HandleFunc("GET /simulate/subscriptions", func(w http.ResponseWriter, _ *http.Request) {
		all := M{}
		for _, p := range s.World().Pages {
			if fields, ok := s.Subscriptions(p.ID); ok {
				all[p.ID] = fields
			}
		}
		show(w, http.StatusOK, M{"data": all})
	})
	mux.HandleFunc("POST /simulate/pages/unsubscribe", control(func(_ context.Context, in struct{ Page string }) (any, error) {
		if in.Page == "" {
			return M{"unsubscribed": append([]string{}, s.UnsubscribeAll()...)}, nil
		}
		if !s.Unsubscribe(in.Page) {
			return M{"unsubscribed": []string{}}, nil
		}
		return M{"unsubscribed": []string{in.Page}}, nil
	}))
}

// after is a time so many seconds from now, a hundred years at most.
func (s *Server) after(seconds int64) time.Time {
	const most = 100 * 366 * 24 * 3600
	return s.now().Add(time.Duration(min(max(seconds, -most), most)) * time.Second)
}

// told tells the app a notice, and answers 502 when the app has not taken it.
func (s *Server) told(tell func(context.Context, Notice) (Answered, error)) func(context.Context, Notice) (any, error) {
	return func(ctx context.Context, n Notice) (any, error) {
		if err := n.check(); err != nil {
			return nil, err
		}
		answered, err := tell(ctx, n)
		switch {
		case errors.Is(err, errNoCallback):
			return M{"simulated": true}, nil
		case err != nil:
			return withStatus{http.StatusBadGateway, M{"simulated": true, "error": err.Error()}}, nil //nolint:nilerr // it is the answer
		case answered.Status != http.StatusOK:
			return withStatus{http.StatusBadGateway, M{"simulated": true, "answered": answered}}, nil
		}
		return M{"simulated": true, "answered": answered}, nil
	}
}

// SetApp changes what the app's dashboard says of logins.
func (s *Server) SetApp(a App) error {
	for name, text := range map[string]string{"deauthorizeUrl": a.DeauthorizeURL, "deletionUrl": a.DeletionURL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%s must be a URL of http or https, or empty", name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app = a
	return nil
}
