package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/primezap/primezap/services/api"
)

const jwtSecret = "the secret that tokens of tests are signed with"

// withTokens makes a server take tokens.
func withTokens(c *api.Config) { c.JWT.Secret = jwtSecret }

// token makes one of a tenant's user, valid for an hour.
func (f *fixture) token(tenant uuid.UUID, user string) string {
	f.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(jwtSecret)}, nil)
	f.check(err)
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"sub": user, "org_id": tenant, "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	f.check(err)
	return token
}

func TestTokens_ActForTheirTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens)
	other := uuid.Must(uuid.NewV7())
	theirs := f.newHook("")
	f.key = f.token(other, "joana")
	mine := f.newHook("")
	if got := into[list[hook]](f.do("GET", hooksPath, "").is(http.StatusOK)); len(got.Data) != 1 || got.Data[0].ID != mine.ID {
		t.Errorf("a user lists %+v, want their tenant's webhook", got.Data)
	}
	f.do("GET", hooksPath+"/"+theirs.ID.String(), "").refuses(http.StatusNotFound)
	f.do("GET", hooksPath, "", "X-Tenant-Id", f.tenant.String()).refuses(http.StatusForbidden)
	f.do("GET", hooksPath, "", "X-Tenant-Id", other.String()).is(http.StatusOK)
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{},"tenantId":"`+f.tenant.String()+`"}`).refuses(http.StatusForbidden)
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{}}`).is(http.StatusAccepted)
	if events := f.stored(); len(events) != 1 || events[0].Tenant != other {
		t.Errorf("stored %+v, want one event of tenant %s", events, other)
	}
}

func TestTokens_NotConfigured(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.do("GET", hooksPath, "", "Authorization", "Bearer "+f.token(f.tenant, "maria")).refuses(http.StatusUnauthorized)
}
