package worker_test

import (
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/services/worker"
)

func TestConfig_Validate(t *testing.T) { // not parallel: it reads the environment
	for _, name := range []string{"DATABASE_URL", "NATS_URL", "VAULT_KEYSET"} {
		t.Setenv(name, "set")
	}
	const setting = "WORKER_MESSAGE_DAYS"
	for _, tc := range []struct{ days, want string }{
		{"", ""}, {"0", ""}, {"8", ""}, {"365", ""}, {"7", setting}, {"-1", setting}, {"1000000", setting},
	} {
		if tc.days != "" {
			t.Setenv(setting, tc.days)
		}
		var cfg worker.Config
		err := config.Load(&cfg)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%q days: %v, want %q", tc.days, err, tc.want)
		}
		if tc.days == "" && cfg.MessageDays != 90 {
			t.Errorf("messages are kept for %d days where nothing is set", cfg.MessageDays)
		}
	}
}
