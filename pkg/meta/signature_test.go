package meta_test

import (
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/meta"
)

func TestSign(t *testing.T) {
	t.Parallel()
	// RFC 4231, 4.3.
	const want = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	if got := meta.Sign("Jefe", []byte("what do ya want for nothing?")); got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
	if got := meta.Proof("Jefe", "what do ya want for nothing?"); "sha256="+got != want {
		t.Errorf("proof %s", got)
	}
}

func TestVerifySignature(t *testing.T) {
	t.Parallel()
	const secret = "app-secret"
	escaped, raw := []byte(`{"text":"\u00e4\u00f6"}`), []byte(`{"text":"äö"}`)
	good := meta.Sign(secret, raw)
	for _, tc := range []struct {
		name    string
		secrets []string
		header  string
		body    []byte
		valid   bool
	}{
		{"the body as it came", []string{secret}, good, raw, true},
		{"an escaped body as it came", []string{secret}, meta.Sign(secret, escaped), escaped, true},
		{"an empty body", []string{secret}, meta.Sign(secret, nil), nil, true},
		{"the second of the secrets", []string{"other", secret}, good, raw, true},
		{"upper-case digits", []string{secret}, "sha256=" + strings.ToUpper(good[7:]), raw, true},
		{"the same text encoded otherwise is another body", []string{secret}, good, escaped, false},
		{"another secret", []string{"other"}, good, raw, false},
		{"no secret", nil, good, raw, false},
		{"an empty secret signs nothing", []string{""}, meta.Sign("", raw), raw, false},
		{"an empty secret beside another", []string{"", secret}, meta.Sign("", raw), raw, false},
		{"no header", []string{secret}, "", raw, false},
		{"no prefix", []string{secret}, good[7:], raw, false},
		{"another prefix", []string{secret}, "sha1=" + good[7:], raw, false},
		{"a digit too few", []string{secret}, good[:len(good)-1], raw, false},
		{"a byte too few", []string{secret}, good[:len(good)-2], raw, false},
		{"a byte too many", []string{secret}, good + "00", raw, false},
		{"nothing behind the prefix", []string{secret}, "sha256=", raw, false},
		{"no digits", []string{secret}, "sha256=" + strings.Repeat("zz", 32), raw, false},
		{"blanks around it", []string{secret}, " " + good, raw, false},
		{"another last digit", []string{secret}, good[:len(good)-1] + flip(good[len(good)-1]), raw, false},
		{"a changed body", []string{secret}, good, append([]byte(" "), raw...), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := meta.VerifySignature(tc.secrets, tc.header, tc.body); got != tc.valid {
				t.Errorf("VerifySignature = %t, want %t", got, tc.valid)
			}
		})
	}
}

func flip(digit byte) string {
	if digit == '0' {
		return "1"
	}
	return "0"
}
