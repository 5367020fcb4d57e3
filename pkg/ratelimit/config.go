package ratelimit

import (
	"errors"
	"fmt"
)

// Config has the limits of connections that have none of their own.
type Config struct {
	PerMinute int64 `env:"RATE_LIMIT_PER_MINUTE" envDefault:"60" help:"messages that a connection may send in a minute, where it has no limit of its own"`
	PerHour   int64 `env:"RATE_LIMIT_PER_HOUR" envDefault:"1000" help:"the same in an hour"`
	PerDay    int64 `env:"RATE_LIMIT_PER_DAY" envDefault:"10000" help:"the same in a day"`
}

// MaxLimit is the largest limit of a window.
const MaxLimit = 1_000_000_000

// Validate reports settings that cannot be meant.
func (c *Config) Validate() error {
	var errs []error
	for _, setting := range []struct {
		name  string
		value int64
	}{
		{"RATE_LIMIT_PER_MINUTE", c.PerMinute}, {"RATE_LIMIT_PER_HOUR", c.PerHour}, {"RATE_LIMIT_PER_DAY", c.PerDay},
	} {
		if setting.value < 0 || setting.value > MaxLimit {
			errs = append(errs, fmt.Errorf("%s must be 0 to %d", setting.name, MaxLimit))
		}
	}
	return errors.Join(errs...)
}
