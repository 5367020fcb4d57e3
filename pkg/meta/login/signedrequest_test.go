package login_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta/login"
)

func signedRequest(secret, payload string, coding *base64.Encoding) string {
	text := coding.EncodeToString([]byte(payload))
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return coding.EncodeToString(h.Sum(nil)) + "." + text
}

func TestParseSignedRequest(t *testing.T) {
	t.Parallel()
	const usual = `{"algorithm":"HMAC-SHA256","issued_at":1763000000,"user_id":"777"}`
	plain, padded := base64.RawURLEncoding, base64.URLEncoding
	good := signedRequest(appSecret, usual, plain)
	changed := signedRequest(appSecret, strings.Replace(usual, "777", "778", 1), plain)
	signature, _, _ := strings.Cut(good, ".")
	_, text, _ := strings.Cut(changed, ".")
	for name, tc := range map[string]struct {
		secrets []string
		value   string
		want    error
	}{
		"is read without padding":                        {[]string{appSecret}, good, nil},
		"is read with padding":                           {[]string{appSecret}, signedRequest(appSecret, usual, padded), nil},
		"may be signed with an older secret":             {[]string{"newer", appSecret}, good, nil},
		"may have a number for the user":                 {[]string{appSecret}, signedRequest(appSecret, strings.Replace(usual, `"777"`, "777", 1), plain), nil},
		"is not taken with another secret":               {[]string{"another"}, good, login.ErrSignature},
		"is not taken without a secret":                  {nil, good, login.ErrSignature},
		"is not taken with an empty secret":              {[]string{""}, signedRequest("", usual, plain), login.ErrSignature},
		"is not taken after a change":                    {[]string{appSecret}, signature + "." + text, login.ErrSignature},
		"is not taken without signature":                 {[]string{appSecret}, "." + text, login.ErrSignature},
		"is not taken with part of the signature":        {[]string{appSecret}, good[4:], login.ErrSignature},
		"is not taken when it is nothing":                {[]string{appSecret}, "", login.ErrSignature},
		"is not taken when it is endless":                {[]string{appSecret}, signedRequest(appSecret, usual+strings.Repeat(" ", 8<<10), plain), login.ErrSignature},
		"is not read with another algorithm":             {[]string{appSecret}, signedRequest(appSecret, strings.Replace(usual, "SHA256", "SHA1", 1), plain), login.ErrSignedRequest},
		"is not read without a user":                     {[]string{appSecret}, signedRequest(appSecret, `{"algorithm":"HMAC-SHA256"}`, plain), login.ErrSignedRequest},
		"is not read when its user leads somewhere else": {[]string{appSecret}, signedRequest(appSecret, strings.Replace(usual, "777", "../me", 1), plain), login.ErrSignedRequest},
		"is not read when it is no JSON":                 {[]string{appSecret}, signedRequest(appSecret, `777`, plain), login.ErrSignedRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := login.ParseSignedRequest(tc.secrets, tc.value)
			if tc.want != nil {
				if !errors.Is(err, tc.want) || got != (login.SignedRequest{}) {
					t.Errorf("read %+v, %v; want %v", got, err, tc.want)
				}
				hides(t, err)
				return
			}
			if want := (login.SignedRequest{UserID: "777", IssuedAt: time.Unix(1763000000, 0).UTC()}); err != nil || got != want {
				t.Errorf("read %+v, %v; want %+v", got, err, want)
			}
		})
	}
}
