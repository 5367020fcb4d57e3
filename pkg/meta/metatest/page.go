package metatest

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/primezap/primezap/pkg/messaging"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var (
	pageTemplate = template.Must(template.New("page").Parse(pageText))
	// Nothing but the one style, by its hash.
	pagePolicy = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	}()
)

// pageData is what the page shows.
type pageData struct {
	Lang     string
	T        map[string]string
	Style    template.CSS
	World    World
	Callback string
	Counts   Counts
	Dropped  int
	Faults   []Fault
	Kinds    map[string][]string
	Calls    []pageCall
	Sent     []Sent
}

type pageCall struct{ Call, Means string }

// page serves GET /.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	lang := "en"
	asked := r.URL.Query().Get("lang")
	if asked == "" {
		asked, _, _ = strings.Cut(r.Header.Get("Accept-Language"), ",")
	}
	if strings.HasPrefix(strings.ToLower(asked), "pt") {
		lang = "pt-BR"
	}
	s.hooks.mu.Lock()
	callback := s.hooks.url
	s.hooks.mu.Unlock()
	sent := s.Sent()
	data := pageData{
		Lang: lang, T: pageWords[lang], Style: template.CSS(pageStyle), World: s.World(), Callback: callback,
		Counts: s.Count(1), Dropped: s.Dropped(), Faults: s.Faults(), Sent: sent[max(0, len(sent)-10):],
		Kinds: map[string][]string{
			"whatsapp": Kinds(messaging.WhatsApp), "facebook": Kinds(messaging.Facebook), "instagram": Kinds(messaging.Instagram),
		},
	}
	for _, call := range pageCalls {
		data.Calls = append(data.Calls, pageCall{call[0], call[map[string]int{"en": 1, "pt-BR": 2}[lang]]})
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, data); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("page: %w", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language")
	_, _ = w.Write(out.Bytes()) // the reader may be gone
}

// pageCalls are calls that can be made, in English and Portuguese.
var pageCalls = [][3]string{
	{"GET /v25.0/{id}?fields=…", "reads a phone number, a page, an Instagram account, a user", "lê um número, uma página, uma conta do Instagram, um usuário"},
	{"GET /v25.0/me", "reads whose token it is", "lê de quem é o token"},
	{"POST /v25.0/{id}/messages", "sends a message; its statuses come back as signed webhooks", "envia uma mensagem; os status voltam como webhooks assinados"},
	{"GET /v25.0/dialog/oauth?client_id=…&redirect_uri=…", "asks a simulated user what they allow, and redirects back with a code", "pergunta a um usuário simulado o que ele permite e volta com um código"},
	{"GET, POST /v25.0/oauth/access_token", "gives a token for a code, or one of 60 days for a token", "dá um token por um código, ou um de 60 dias por um token"},
	{"GET /v25.0/debug_token?input_token=…", "tells of a token, to who has the app's: {app}|{secret}", "descreve um token, a quem tem o do aplicativo: {app}|{secret}"},
	{"GET /v25.0/me/accounts", "lists a user's pages, with their tokens", "lista as páginas de um usuário, com seus tokens"},
	{"GET, DELETE /v25.0/me/permissions", "lists or takes back what a user allowed", "lista ou retira o que um usuário permitiu"},
	{"GET, POST, DELETE /v25.0/{page-id}/subscribed_apps", "says which webhooks of a page the app gets", "diz quais webhooks de uma página o aplicativo recebe"},
	{"POST /simulate/message", `plays a person: sends a signed webhook to the callback. Target is the message that is meant: {"channel": "whatsapp", "from": "+5511900000001", "name": "Ana", "kind": "reaction", "target": "wamid.…", "value": "👍"}`,
		`faz o papel de uma pessoa: envia um webhook assinado ao callback. Target é a mensagem em questão: {"channel": "whatsapp", "from": "+5511900000001", "name": "Ana", "kind": "reaction", "target": "wamid.…", "value": "👍"}`},
	{"POST /simulate/webhook", "signs any body and sends it", "assina qualquer corpo e o envia"},
	{"POST /simulate/redeliver", `sends the last webhooks once more: {"last": 3}`, `envia de novo os últimos webhooks: {"last": 3}`},
	{"POST /simulate/verify", "asks the callback Meta's question (hub.challenge)", "faz ao callback a pergunta da Meta (hub.challenge)"},
	{"GET /simulate/sent?to=…", "lists what was accepted", "lista o que foi aceito"},
	{"GET /simulate/counts?spanMs=1000", "counts it, and the most within any span of time", "conta o que foi aceito, e o máximo em qualquer intervalo"},
	{"GET /simulate/webhooks", "lists the webhooks that were sent", "lista os webhooks enviados"},
	{"POST, GET, DELETE /simulate/faults", `makes calls go wrong: {"kind": "error", "error": {"code": 131056}, "next": 3}`, `faz chamadas falharem: {"kind": "error", "error": {"code": 131056}, "next": 3}`},
	{"PUT /simulate/statuses", `says what becomes of messages: {"steps": ["sent"], "fail": 131026, "shuffle": true, "repeat": 2}`, `diz o que acontece com as mensagens: {"steps": ["sent"], "fail": 131026, "shuffle": true, "repeat": 2}`},
	{"PUT /simulate/limits", `sets limits: {"numberPerSecond": 80, "pairEveryMs": 6000, "pairBurst": 45}`, `define limites: {"numberPerSecond": 80, "pairEveryMs": 6000, "pairBurst": 45}`},
	{"POST /simulate/tokens/revoke, …/restore", `makes a token invalid: {"token": "…", "subcode": 463}`, `invalida um token: {"token": "…", "subcode": 463}`},
	{"POST /simulate/consent", `plays a user before the consent dialog: {"url": "…/dialog/oauth?…", "user": "…", "decline": ["…"], "without": ["…"], "deny": false, "error": 0}`, `faz o papel de um usuário no diálogo: {"url": "…/dialog/oauth?…", "user": "…", "decline": ["…"], "without": ["…"], "deny": false, "error": 0}`},
	{"GET /simulate/codes", "counts how often each code came to be exchanged", "conta quantas vezes cada código foi trocado"},
	{"GET /simulate/grants, …/subscriptions", "lists what users allow, and which pages tell the app of what", "lista o que os usuários permitem e o que cada página avisa ao aplicativo"},
	{"PUT /simulate/app", `changes the app's settings: {"redirectUris": ["…"], "configurations": {"…": ["…"]}, "deauthorizeUrl": "…", "deletionUrl": "…"}`, `muda as configurações do aplicativo: {"redirectUris": ["…"], "configurations": {"…": ["…"]}, "deauthorizeUrl": "…", "deletionUrl": "…"}`},
	{"PUT /simulate/quirks", `varies answers: {"bareToken": true, "numericIds": true, "textNumbers": true, "noTargets": true, "textSuccess": true, "pageSize": 2, "emptyPages": 1, "next": "…"}`, `varia as respostas: {"bareToken": true, "numericIds": true, "textNumbers": true, "noTargets": true, "textSuccess": true, "pageSize": 2, "emptyPages": 1, "next": "…"}`},
	{"POST /simulate/users/invalidate", `makes all tokens of a user invalid: {"user": "…", "subcode": 460}`, `invalida todos os tokens de um usuário: {"user": "…", "subcode": 460}`},
	{"POST /simulate/users/expiry", `moves the end of a user's tokens, or of the access to their data: {"user": "…", "tokensInSeconds": 3600, "dataAccessInSeconds": 86400}`, `muda o fim dos tokens de um usuário, ou do acesso aos dados dele: {"user": "…", "tokensInSeconds": 3600, "dataAccessInSeconds": 86400}`},
	{"POST /simulate/users/expire-data-access", `ends the access to a user's data: {"user": "…"}`, `encerra o acesso aos dados de um usuário: {"user": "…"}`},
	{"POST /simulate/users/deauthorize, …/delete-data", `sends a signed_request: {"user": "…", "padded": true, "numericId": true}`, `envia um signed_request: {"user": "…", "padded": true, "numericId": true}`},
	{"POST /simulate/users/with-pages", `adds a user with pages: {"user": {"id": "…"}, "mix": {"pages": 30, "instagram": 5, "noToken": 2}}`, `acrescenta um usuário com páginas: {"user": {"id": "…"}, "mix": {"pages": 30, "instagram": 5, "noToken": 2}}`},
	{"POST /simulate/pages/unsubscribe", `takes the app off a page, or off all: {"page": "…"}, {}`, `tira o aplicativo de uma página, ou de todas: {"page": "…"}, {}`},
	{"PUT /simulate/numbers, …/pages, …/accounts, …/users", "adds somebody to the world", "acrescenta alguém ao mundo"},
	{"POST /simulate/people", "adds a person who writes", "acrescenta uma pessoa que escreve"},
	{"PUT /simulate/callback", `changes where webhooks go: {"url": "http://…"}`, `muda o destino dos webhooks: {"url": "http://…"}`},
}

// pageWords are the words of the page.
var pageWords = map[string]map[string]string{
	"en": {
		"title": "Simulated Meta", "banner": "SIMULATED: this is not Meta",
		"lead":  "This program answers as the Graph API does. Nothing here reaches WhatsApp, Messenger or Instagram, nobody gets a message, and the tokens below are worth nothing anywhere else.",
		"other": "Português", "otherLang": "pt-BR", "world": "Who is there", "numbers": "Phone numbers (WhatsApp)", "pages": "Pages (Messenger)",
		"accounts": "Instagram accounts", "users": "Users", "people": "People who write", "id": "Id", "name": "Name", "phone": "Phone", "token": "Token",
		"page": "Page", "userId": "User id", "unreachable": "cannot be reached: sends fail with 131026", "callback": "Webhooks go to", "nowhere": "nowhere: no callback is set",
		"calls": "Calls", "call": "Call", "means": "What it does", "jsonNote": "Requests below /simulate that have a body need Content-Type: application/json.",
		"kinds": "Kinds of messages that can be played", "try": "Try it", "state": "So far", "accepted": "Accepted", "dropped": "Webhooks dropped", "faults": "Faults in force",
		"last": "The last that were accepted", "to": "To", "type": "Type", "at": "At", "none": "none",
	},
	"pt-BR": {
		"title": "Meta simulada", "banner": "SIMULADO: esta não é a Meta",
		"lead":  "Este programa responde como a Graph API. Nada daqui chega ao WhatsApp, ao Messenger ou ao Instagram, ninguém recebe mensagem, e os tokens abaixo não valem nada em outro lugar.",
		"other": "English", "otherLang": "en", "world": "Quem existe", "numbers": "Números (WhatsApp)", "pages": "Páginas (Messenger)",
		"accounts": "Contas do Instagram", "users": "Usuários", "people": "Pessoas que escrevem", "id": "Id", "name": "Nome", "phone": "Telefone", "token": "Token",
		"page": "Página", "userId": "Id de usuário", "unreachable": "inalcançável: envios falham com 131026", "callback": "Os webhooks vão para", "nowhere": "lugar nenhum: não há callback",
		"calls": "Chamadas", "call": "Chamada", "means": "O que faz", "jsonNote": "Requisições em /simulate com corpo precisam de Content-Type: application/json.",
		"kinds": "Tipos de mensagem que podem ser simulados", "try": "Experimente", "state": "Até agora", "accepted": "Aceitas", "dropped": "Webhooks descartados", "faults": "Falhas em vigor",
		"last": "As últimas aceitas", "to": "Para", "type": "Tipo", "at": "Em", "none": "nenhuma",
	},
}
