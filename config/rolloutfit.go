package config

import (
	"fmt"
	"time"

	"mtasts-server/mtasts"
)

// The numbers that are advised, which those that are written must fit (docs/rollout.md).
const (
	advisedWindows   = 14
	advisedReporters = 2
	mostDays         = 366 // reports of more are not looked at
)

// misfit says which numbers do not fit each other, or nothing; "" where all is well.
func (g *Gates) misfit() (key, why string) {
	windows, reporters := advisedWindows, advisedReporters
	if g.Windows != nil {
		windows = *g.Windows
	}
	if g.Reporters != nil {
		reporters = *g.Reporters
	}
	switch {
	case windows < 1:
		return "windows", "windows: one at least, or nothing is evidence"
	case g.ActiveWindows != nil && *g.ActiveWindows > windows:
		return "active_windows", fmt.Sprintf("active_windows: %d of %d windows", *g.ActiveWindows, windows)
	case g.CurrentReporters != nil && *g.CurrentReporters > reporters:
		return "current_reporters", fmt.Sprintf("current_reporters: %d of %d reporters", *g.CurrentReporters, reporters)
	case g.Silence != nil && *g.Silence == 0:
		return "silence", "silence: nothing would ever go on"
	case g.CheckAge != nil && *g.CheckAge == 0:
		return "check_age", "check_age: no look is young enough"
	}
	return g.misfitLadder()
}

func (g *Gates) misfitLadder() (key, why string) {
	if g.Ladder != nil && len(g.Ladder) == 0 {
		return "ladder", "ladder: no max_age is given"
	}
	for i, r := range g.Ladder {
		switch {
		case r.MaxAge < time.Second || r.MaxAge > mtasts.MaxMaxAge*time.Second:
			return "ladder", fmt.Sprintf("ladder: a max_age of %s is out of range", r.MaxAge)
		case i > 0 && r.MaxAge <= g.Ladder[i-1].MaxAge:
			return "ladder", fmt.Sprintf("ladder: a max_age of %s after %s, want a greater one", r.MaxAge, g.Ladder[i-1].MaxAge)
		case i > 0 && (r.Clean < 1 || r.Clean > mostDays):
			return "ladder", fmt.Sprintf("ladder: %d clean days, want 1 to %d", r.Clean, mostDays)
		}
	}
	return "", ""
}
