package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api"
)

const metaPath = "/webhooks/meta"

// withMeta configures an app of Meta's.
func withMeta(cfg *api.Config) {
	cfg.Meta = meta.Config{AppSecrets: config.List{"first", "second"}, VerifyToken: "let me in"}
}

func challenge(mode, token string) string {
	return metaPath + "?" + url.Values{"hub.mode": {mode}, "hub.verify_token": {token}, "hub.challenge": {"1158201444"}}.Encode()
}

func TestVerifyMetaWebhook(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withMeta)
	a := f.do(http.MethodGet, challenge("subscribe", "let me in"), "").is(http.StatusOK)
	if string(a.body) != "1158201444" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("%s %q, want the bare challenge", a.header.Get("Content-Type"), a.body)
	}
	for _, path := range []string{
		challenge("subscribe", "let me"), challenge("subscribe", ""), challenge("unsubscribe", "let me in"), challenge("", "let me in"), metaPath,
	} {
		f.do(http.MethodGet, path, "").refuses(http.StatusForbidden)
	}
	without := newFixture(t, nil)
	without.do(http.MethodGet, challenge("subscribe", ""), "").refuses(http.StatusForbidden)
}

// hello is a post of one text message on WhatsApp.
func hello(id string) string {
	return fmt.Sprintf(`{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{
		"messaging_product":"whatsapp","metadata":{"display_phone_number":"551140000001","phone_number_id":"800001"},
		"contacts":[{"profile":{"name":"Ana"},"wa_id":"5511900000001"}],
		"messages":[{"from":"5511900000001","id":%q,"timestamp":"1763942300","type":"text","text":{"body":"ol\u00e1"}}]}}]}]}`, id)
}

// tell posts as Meta does, without a key.
func (f *fixture) tell(body io.Reader, contentType, signature string) answer {
	f.Helper()
	return f.send(f.server.URL, http.MethodPost, metaPath, body,
		"Authorization", "", "Content-Type", contentType, meta.SignatureHeader, signature)
}

func (f *fixture) tellSigned(body string) answer {
	f.Helper()
	return f.tell(strings.NewReader(body), "application/json", meta.Sign("first", []byte(body)))
}

func (f *fixture) connectWhatsApp() {
	f.Helper()
	super := f.open(testenv.Superuser)
	_, err := super.Pool().Exec(f.Context(), `INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'n', '800001')`,
		uuid.Must(uuid.NewV7()), f.tenant)
	f.check(err)
}

func (f *fixture) messages() (n int) {
	f.Helper()
	f.check(f.worker.Pool().QueryRow(f.Context(), `SELECT count(*) FROM messages`).Scan(&n))
	return n
}

func TestReceiveMetaWebhook(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withMeta)
	f.connectWhatsApp()

	for n, contentType := range []string{"application/json", "application/json; charset=utf-8", "application/json; charset=UTF-8", ""} {
		body := hello(fmt.Sprint("wamid.", n))
		f.tell(strings.NewReader(body), contentType, meta.Sign([]string{"first", "second"}[n%2], []byte(body))).is(http.StatusOK)
		if got := f.messages(); got != n+1 {
			t.Errorf("%d messages after %d posts", got, n+1)
		}
	}
	raw := strings.ReplaceAll(hello("wamid.utf8"), `\u00e1`, "á") // signed as it stands there
	f.tellSigned(raw).is(http.StatusOK)
	f.tellSigned(raw).is(http.StatusOK) // Meta repeats
	f.tellSigned(`[` + raw + `]`).is(http.StatusOK)
	f.tellSigned(strings.ReplaceAll(hello("wamid.other"), "800001", "800002")).is(http.StatusOK) // nobody's
	for _, strange := range []string{`{}`, `[]`, `null`, `7`, `"text"`, `{"object":"page","entry":7}`} {
		f.tellSigned(strange).is(http.StatusOK)
	}
	if got := f.messages(); got != 5 {
		t.Errorf("%d messages, want 5", got)
	}

	body := hello("wamid.refused")
	for name, signature := range map[string]string{
		"none": "", "of another body": meta.Sign("first", []byte(body+" ")), "with another secret": meta.Sign("third", []byte(body)), "with no secret": meta.Sign("", []byte(body)),
		"cut": meta.Sign("first", []byte(body))[:70], "with another method": strings.Replace(meta.Sign("first", []byte(body)), "sha256", "sha1", 1),
	} {
		if a := f.tell(strings.NewReader(body), "application/json", signature); a.status != http.StatusUnauthorized {
			t.Errorf("a signature %s is answered with %d, want 401", name, a.status)
		}
	}
	f.tell(strings.NewReader("{"), "application/json", "").refuses(http.StatusUnauthorized) // not read before
	f.tellSigned("{").refuses(http.StatusBadRequest)
	if got := f.messages(); got != 5 {
		t.Errorf("%d messages after refusals, want 5", got)
	}
}

func TestReceiveMetaWebhook_Bounds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withMeta)
	f.connectWhatsApp()
	const bound = 3 << 20
	body := []byte(hello("wamid.1"))
	body = append(body, bytes.Repeat([]byte(" "), bound-len(body))...)
	f.tell(bytes.NewReader(body), "application/json", meta.Sign("first", body)).is(http.StatusOK)
	if got := f.messages(); got != 1 {
		t.Errorf("%d messages of a post of 3 MiB, want 1", got)
	}
	body = append(body, ' ')
	f.tell(bytes.NewReader(body), "application/json", meta.Sign("first", body)).refuses(http.StatusRequestEntityTooLarge)
	// It is this operation's alone.
	f.do(http.MethodPost, "/api/custom-webhooks", strings.Repeat(" ", 1<<20+1)).refuses(http.StatusRequestEntityTooLarge)
}

func TestReceiveMetaWebhook_WithoutSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	body := hello("wamid.1")
	f.tell(strings.NewReader(body), "application/json", meta.Sign("", []byte(body))).refuses(http.StatusUnauthorized)
}
