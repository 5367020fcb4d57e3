package main

import (
	"slices"
	"testing"
	"time"
)

func TestReadFlags(t *testing.T) {
	t.Parallel()
	t.Run("every webhook has a host of its own, up to 64", func(t *testing.T) {
		t.Parallel()
		for webhooks, hosts := range map[string]int{"10": 10, "130": 64} {
			s, err := readFlags([]string{"-webhooks", webhooks, "-tenants", "10"})
			if err != nil {
				t.Fatal(err)
			}
			if s.Hosts != hosts {
				t.Errorf("%s webhooks have %d hosts, want %d", webhooks, s.Hosts, hosts)
			}
		}
	})
	t.Run("a slow sink is met with more connections", func(t *testing.T) {
		t.Parallel()
		s, err := readFlags([]string{"-slow", "400ms"})
		if err != nil {
			t.Fatal(err)
		}
		if s.Slow != 400*time.Millisecond || !slices.Equal(s.RawConns, []int{2048, 4096}) {
			t.Errorf("settings %+v", s)
		}
	})
	for name, args := range map[string][]string{
		"no slices are refused":                      {"-slices", "0"},
		"more events than a request takes":           {"-batch", "501"},
		"a bound below a batch, which would be met ": {"-outstanding", "99"},
		"a load above all there is":                  {"-load", "1.1"},
		"a profile of nobody":                        {"-profile", "worker,postgres"},
		"connections that are no number":             {"-raw", "16,many"},
		"webhooks that share a type":                 {"-webhooks", "14"},
		"fewer than no attempts":                     {"-statistics", "-1"},
		"inbound messages without a rate":            {"-inbound", "-rate", "0"},
		"more inbound messages than the sink counts": {"-inbound", "-for", "1h"},
		"a profile of what inbound does not start":   {"-inbound", "-profile", "worker"},
		"an argument that is no role":                {"-quick", "drove"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			t.Parallel()
			if s, err := readFlags(args); err == nil {
				t.Errorf("%v were taken: %+v", args, s)
			}
		})
	}
}
