package metatest

import "errors"

// Quirks are how Meta's answers may differ from what is usual. Its zero value is the
// usual.
type Quirks struct {
	BareToken   bool `json:"bareToken,omitempty"`   // /oauth/access_token answers neither token_type nor expires_in
	NumericIDs  bool `json:"numericIds,omitempty"`  // ids of digits are numbers, in all answers
	TextNumbers bool `json:"textNumbers,omitempty"` // /debug_token: times are texts
	NoTargets   bool `json:"noTargets,omitempty"`   // /debug_token: granular_scopes do not say for which pages
	TextSuccess bool `json:"textSuccess,omitempty"` // success is the text "true"

	PageSize   int    `json:"pageSize,omitempty"`   // /me/accounts: the most of a page, whatever limit says; 0: 100
	EmptyPages int    `json:"emptyPages,omitempty"` // /me/accounts: so many empty ones, each with a next, come after each page that has one
	Next       string `json:"next,omitempty"`       // /me/accounts: the URL that paging.next is instead
}

func (q Quirks) check() error {
	if q.PageSize < 0 || q.EmptyPages < 0 {
		return errors.New("pageSize and emptyPages must not be negative")
	}
	return nil
}

// SetQuirks changes how answers look from now on.
func (s *Server) SetQuirks(q Quirks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quirks = q
}

// success is the answer where there is nothing to say. The caller holds mu.
func (s *Server) success() M {
	if s.quirks.TextSuccess {
		return M{"success": "true"}
	}
	return M{"success": true}
}
