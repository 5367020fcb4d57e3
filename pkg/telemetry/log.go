// Package telemetry is what operators see of a process: its log, its metrics, and
// the admin server that shows them. Traces are W3C trace context alone: ids made
// and passed on, recorded nowhere.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// LogConfig says what is logged, and how it is written.
type LogConfig struct {
	Level  slog.Level `env:"LOG_LEVEL" envDefault:"info" help:"least level that is logged: debug, info, warn or error"`
	Format LogFormat  `env:"LOG_FORMAT" help:"text or json; unset means text on a terminal and json elsewhere"`
}

// LogFormat is how log records are written. The zero value is LogAuto.
type LogFormat string

// LogAuto is text when the log goes to a terminal, else JSON.
const (
	LogAuto LogFormat = ""
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// UnmarshalText reads the format from a setting.
func (f *LogFormat) UnmarshalText(text []byte) error {
	switch format := LogFormat(text); format {
	case LogAuto, LogText, LogJSON:
		*f = format
		return nil
	default:
		return fmt.Errorf("%q is neither text nor json", text)
	}
}

// NewLogger returns a logger that writes to w: os.Stderr in programs, as stdout
// belongs to their output.
func NewLogger(w io.Writer, cfg LogConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == LogText || cfg.Format == LogAuto && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// isTerminal takes every character device for a terminal: on /dev/null, the other
// one met in practice, nobody sees the difference.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
