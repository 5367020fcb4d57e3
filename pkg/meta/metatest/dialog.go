package metatest

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the dialog
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

//go:embed dialog.html
var dialogText string

var dialogTemplate = template.Must(template.New("dialog").Parse(dialogText))

// dialogForm are paths of the consent dialog.
var dialogForm = regexp.MustCompile(`^(/v\d{1,3}\.\d)?/dialog/oauth$`)

// dialogData is what the dialog shows.
type dialogData struct {
	Lang    string
	Other   string // the URL in the other language
	T       map[string]string
	Style   template.CSS
	App     string
	Problem string
	Detail  string
	Config  bool
	Scopes  []dialogScope
	Users   []dialogUser
	Target  string // the host of the redirect
}

type dialogScope struct {
	Name, Means string
	Fixed       bool // cannot be declined
}

type dialogUser struct {
	ID, Name string
	Checked  bool
	Pages    []dialogPage
	Declined []string // before, and not asked again
}

type dialogPage struct {
	ID, Name, Instagram string
	Silent              bool // the user gets no token of it
}

// dialog serves the consent dialog: GET asks, POST is the user's choice.
func (s *Server) dialog(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	lang := "en"
	locale := query.Get("locale")
	if locale == "" {
		locale, _, _ = strings.Cut(r.Header.Get("Accept-Language"), ",")
	}
	if strings.HasPrefix(strings.ToLower(locale), "pt") {
		lang = "pt-BR"
	}
	s.mu.Lock()
	a, err := s.ask(query)
	world := s.world
	s.mu.Unlock()
	data := dialogData{Lang: lang, T: dialogWords[lang], Style: template.CSS(pageStyle), App: appName}
	query.Set("locale", map[string]string{"en": "pt_BR", "pt-BR": "en_US"}[lang])
	data.Other = "?" + query.Encode()
	failed, ok := errors.AsType[*DialogError](err)
	switch {
	case ok:
		data.Problem, data.Detail = data.T[failed.Reason], failed.Detail
	case r.Method == http.MethodPost:
		location, err := s.chosen(w, r, a)
		if err == nil {
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Referrer-Policy", "same-origin")
			http.Redirect(w, r, location, http.StatusSeeOther)
			return
		}
		data.Problem, data.Detail = data.T["badChoice"], err.Error()
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	default:
		data.Config, data.Target = a.config, a.redirect.Host
		for _, scope := range a.scopes {
			data.Scopes = append(data.Scopes, dialogScope{scope, data.T[scope], a.config || scope == publicProfile})
		}
		s.mu.Lock()
		data.Users = s.dialogUsers(world, a)
		s.mu.Unlock()
	}
	status := http.StatusOK
	if data.Problem != "" {
		status = http.StatusBadRequest
	}
	var out bytes.Buffer
	if err := dialogTemplate.Execute(&out, data); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("dialog: %w", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Content-Security-Policy", dialogPolicy(a.redirect))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // the form's origin is asked for, the redirect must not hear of it
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the reader may be gone
}

// dialogPolicy lets nothing in but the one style, and forms go to the dialog alone
// and from there to where it redirects, which some browsers count as the form's.
func dialogPolicy(redirect *url.URL) string {
	sum := sha256.Sum256([]byte(pageStyle))
	forms := "'none'"
	if redirect != nil {
		forms = "'self' " + redirect.Scheme + "://" + redirect.Host
	}
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action " + forms + "; frame-ancestors 'none'"
}

// dialogUsers are who can be chosen. The caller holds mu.
func (s *Server) dialogUsers(world World, a asked) []dialogUser {
	users := make([]dialogUser, 0, len(world.Users))
	first := true
	for _, u := range world.Users {
		one := dialogUser{ID: u.ID, Name: u.Name, Checked: first && len(u.Pages) > 0}
		first = first && !one.Checked
		for _, id := range u.Pages {
			if p, ok := world.page(id); ok {
				account, _ := world.linked(id)
				one.Pages = append(one.Pages, dialogPage{p.ID, p.Name, account.Username, !u.acts(p.ID)})
			}
		}
		if g := s.grants[u.ID]; g != nil && !a.rerequest && !a.config {
			for _, scope := range a.scopes {
				if allowed, before := g.scopes[scope]; before && !allowed {
					one.Declined = append(one.Declined, scope)
				}
			}
		}
		users = append(users, one)
	}
	return users
}

// chosen reads what was chosen in the dialog's form, and does it.
func (s *Server) chosen(w http.ResponseWriter, r *http.Request, a asked) (location string, err error) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return "", fmt.Errorf("the form is of another site: %w", err)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return "", fmt.Errorf("the form: %w", err)
	}
	form := r.PostForm
	choice := Choice{User: form.Get("user")}
	switch form.Get("do") {
	case "deny":
		choice.Deny = true
	case "fail":
		choice.Error = 901
	case "allow":
		for _, scope := range a.scopes {
			if !a.config && scope != publicProfile && !slices.Contains(form["scope"], scope) {
				choice.Decline = append(choice.Decline, scope)
			}
		}
	default:
		return "", errors.New("no button was pressed")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.world.user(choice.User); ok && form.Get("do") == "allow" {
		for _, page := range u.Pages {
			if !slices.Contains(form["page"], u.ID+"/"+page) {
				choice.Without = append(choice.Without, page)
			}
		}
	}
	return s.decide(a, choice)
}

// dialogWords are the words of the dialog, among them those for reasons and
// permissions.
var dialogWords = map[string]map[string]string{
	"en": {
		"title": "Simulated Facebook login", "banner": "SIMULATED: this is not Facebook", "other": "Português", "otherLang": "pt-BR",
		"lead":  "Nobody logs in here, and no account at Meta is touched. Choose whom to play and what to allow.",
		"wants": "wants access to your pages and Instagram accounts.", "user": "Who you are", "scopes": "What you allow", "all": "This login allows all of it or nothing.",
		"pages": "Pages", "noPages": "no pages", "silent": "without a role that gives a token", "declined": "Declined before, and not asked again", "noScopes": "Nothing but your name.",
		"allow": "Continue", "deny": "Cancel", "fail": "Simulate a failure (901)", "goes": "You will be sent to",
		"error": "This login cannot go on", "badChoice": "This choice cannot be made",
		reasonNoApp:     "The parameter app_id is required.",
		reasonApp:       "Invalid App ID: no app has this ID.",
		reasonNoURI:     "The parameter redirect_uri is required.",
		reasonURI:       "URL blocked: this redirect_uri is not among those of the app.",
		reasonType:      "Only response_type=code is simulated.",
		reasonScope:     "Invalid scope: there is no such permission.",
		reasonConfig:    "Invalid config_id: the app has no such configuration.",
		reasonAuthType:  "Invalid auth_type.",
		reasonChallenge: "Invalid code_challenge_method.",

		publicProfile: "your name and picture", emailScope: "your email address", "business_management": "manage your business portfolio",
		"instagram_basic": "read the profile of your Instagram accounts", "instagram_manage_messages": "read and answer messages of your Instagram accounts",
		"pages_manage_metadata": "change settings of your pages, and be told of messages", "pages_messaging": "read and answer messages of your pages",
		"pages_read_engagement": "read what your pages publish", "pages_show_list": "see the list of your pages",
	},
	"pt-BR": {
		"title": "Login simulado do Facebook", "banner": "SIMULADO: isto não é o Facebook", "other": "English", "otherLang": "en",
		"lead":  "Ninguém entra em conta nenhuma aqui, e nada muda na Meta. Escolha quem você é e o que permite.",
		"wants": "quer acesso às suas páginas e contas do Instagram.", "user": "Quem você é", "scopes": "O que você permite", "all": "Este login permite tudo ou nada.",
		"pages": "Páginas", "noPages": "nenhuma página", "silent": "sem função que dê um token", "declined": "Recusado antes e não perguntado de novo", "noScopes": "Nada além do seu nome.",
		"allow": "Continuar", "deny": "Cancelar", "fail": "Simular uma falha (901)", "goes": "Você será levado a",
		"error": "Este login não pode continuar", "badChoice": "Esta escolha não é possível",
		reasonNoApp:     "Falta o parâmetro app_id.",
		reasonApp:       "ID de aplicativo inválido: nenhum aplicativo tem esse ID.",
		reasonNoURI:     "Falta o parâmetro redirect_uri.",
		reasonURI:       "URL bloqueada: este redirect_uri não está entre os do aplicativo.",
		reasonType:      "Só response_type=code é simulado.",
		reasonScope:     "Escopo inválido: essa permissão não existe.",
		reasonConfig:    "config_id inválido: o aplicativo não tem essa configuração.",
		reasonAuthType:  "auth_type inválido.",
		reasonChallenge: "code_challenge_method inválido.",

		publicProfile: "seu nome e sua foto", emailScope: "seu e-mail", "business_management": "gerenciar seu portfólio empresarial",
		"instagram_basic": "ler o perfil das suas contas do Instagram", "instagram_manage_messages": "ler e responder mensagens das suas contas do Instagram",
		"pages_manage_metadata": "mudar configurações das suas páginas e ser avisado de mensagens", "pages_messaging": "ler e responder mensagens das suas páginas",
		"pages_read_engagement": "ler o que suas páginas publicam", "pages_show_list": "ver a lista das suas páginas",
	},
}
