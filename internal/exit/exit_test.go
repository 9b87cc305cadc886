package exit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestCodeOf(t *testing.T) {
	base := errors.New("boom")
	for _, tt := range []struct {
		name string
		err  error
		want Code
	}{
		{"nil", nil, OK},
		{"plain", base, Failed},
		{"with", With(Locked, base), Locked},
		{"wrapped", fmt.Errorf("job x: %w", With(Denied, base)), Denied},
		{"outermost wins", With(Partial, With(Denied, base)), Partial},
		{"hint keeps the code", Hintf(With(Corrupt, base), "look"), Corrupt},
		{"joined", errors.Join(base, With(MailNotSent, base)), MailNotSent},
		{"deadline", fmt.Errorf("dump: %w", context.DeadlineExceeded), TimedOut},
		{"cancelled", context.Canceled, Interrupted},
		{"nil with code", With(Denied, nil), OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := CodeOf(tt.err); got != tt.want {
				t.Errorf("CodeOf(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

func TestHintsOf(t *testing.T) {
	err := Hintf(fmt.Errorf("a: %w", Hintf(errors.New("b"), "inner %d", 1)), "outer")
	if got, want := HintsOf(err), []string{"outer", "inner 1"}; !slices.Equal(got, want) {
		t.Errorf("HintsOf = %q, want %q", got, want)
	}
	if got := HintsOf(errors.Join(Hintf(errors.New("x"), "same"), Hintf(errors.New("y"), "same"))); len(got) != 1 {
		t.Errorf("repeated hint not dropped: %q", got)
	}
}

func TestTableIsAscendingAndComplete(t *testing.T) {
	rows := Table()
	for i := 1; i < len(rows); i++ {
		if rows[i].Code <= rows[i-1].Code {
			t.Errorf("row %d: code %d after %d", i, rows[i].Code, rows[i-1].Code)
		}
	}
	if rows[0].Code != OK || rows[len(rows)-1].Code != Terminated {
		t.Errorf("table runs from %d to %d", rows[0].Code, rows[len(rows)-1].Code)
	}
}
