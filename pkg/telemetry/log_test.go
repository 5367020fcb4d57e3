package telemetry_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/telemetry"
)

func TestNewLogger(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		cfg  telemetry.LogConfig
		want string // the record after its time
	}{
		{name: "text when asked for", cfg: telemetry.LogConfig{Format: telemetry.LogText}, want: "level=INFO msg=hello n=1\n"},
		{name: "json when asked for", cfg: telemetry.LogConfig{Format: telemetry.LogJSON}, want: `"level":"INFO","msg":"hello","n":1}` + "\n"},
		{name: "json where there is no terminal", want: `"level":"INFO","msg":"hello","n":1}` + "\n"},
		{name: "nothing below the level", cfg: telemetry.LogConfig{Level: slog.LevelWarn}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			telemetry.NewLogger(&out, tc.cfg).Info("hello", "n", 1)
			if got := out.String(); !strings.HasSuffix(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("logged %q, want %q at its end", got, tc.want)
			}
		})
	}
}

func TestNewLogger_Files(t *testing.T) {
	t.Parallel()
	// The null device stands for a terminal: both are character devices.
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, text := telemetry.NewLogger(device, telemetry.LogConfig{}).Handler().(*slog.TextHandler); !text {
		t.Error("a character device does not get text")
	}
	if _, json := telemetry.NewLogger(file, telemetry.LogConfig{}).Handler().(*slog.JSONHandler); !json {
		t.Error("a file does not get JSON")
	}
}

func TestLogConfig_FromEnvironment(t *testing.T) {
	t.Run("level and format are read", func(t *testing.T) {
		t.Setenv("LOG_LEVEL", "debug")
		t.Setenv("LOG_FORMAT", "text")
		var cfg telemetry.LogConfig
		if err := config.Load(&cfg); err != nil || cfg.Level != slog.LevelDebug || cfg.Format != telemetry.LogText {
			t.Errorf("got %+v, %v", cfg, err)
		}
	})
	t.Run("unset they are info and automatic", func(t *testing.T) {
		t.Setenv("LOG_LEVEL", "")
		t.Setenv("LOG_FORMAT", "")
		var cfg telemetry.LogConfig
		if err := config.Load(&cfg); err != nil || cfg.Level != slog.LevelInfo || cfg.Format != telemetry.LogAuto {
			t.Errorf("got %+v, %v", cfg, err)
		}
	})
	t.Run("another format is a fault", func(t *testing.T) {
		t.Setenv("LOG_FORMAT", "xml")
		if err := config.Load(new(telemetry.LogConfig)); err == nil || err.Error() != `LOG_FORMAT: "xml" is neither text nor json` {
			t.Errorf("error %v", err)
		}
	})
}
