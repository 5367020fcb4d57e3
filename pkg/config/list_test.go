package config_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/primezap/primezap/pkg/config"
)

func TestList_UnmarshalText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       config.List
	}{
		{name: "blanks around values are dropped", text: " a ,b, c d ", want: config.List{"a", "b", "c d"}},
		{name: "empty values are dropped", text: ",a,,b,", want: config.List{"a", "b"}},
		{name: "a comma alone is the empty list", text: ","},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := config.List{"left over"}
			if err := got.UnmarshalText([]byte(tc.text)); err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestCIDRs_UnmarshalText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
		err        string
	}{
		{name: "ranges of both families", text: "127.0.0.0/8, ::1/128", want: []string{"127.0.0.0/8", "::1/128"}},
		{name: "an address alone is its own range", text: "10.1.2.3,fd00::1", want: []string{"10.1.2.3/32", "fd00::1/128"}},
		{name: "a comma alone is no range", text: ","},
		{name: "bits behind the length are refused", text: "10.1.2.3/8", err: `"10.1.2.3/8" has bits behind its length: did you mean 10.0.0.0/8?`},
		{name: "a name is refused", text: "::1/128,localhost", err: `"localhost" is neither an address nor a range like 10.0.0.0/8`},
		{name: "an address with a zone is refused", text: "fe80::1%eth0", err: `"fe80::1%eth0" is neither an address nor a range like 10.0.0.0/8`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var got config.CIDRs
			err := got.UnmarshalText([]byte(tc.text))
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Fatalf("error %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, prefix := range got {
				texts = append(texts, prefix.String())
			}
			if !slices.Equal(texts, tc.want) {
				t.Errorf("got %v, want %v", texts, tc.want)
			}
		})
	}
}

func TestCIDRs_Contains(t *testing.T) {
	t.Parallel()
	ranges := config.CIDRs{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for addr, want := range map[string]bool{
		"127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"128.0.0.1": false, "::2": false,
	} {
		if got := ranges.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Contains(%s) = %t, want %t", addr, got, want)
		}
	}
}
