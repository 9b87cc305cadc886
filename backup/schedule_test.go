package backup

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"opsbelt/internal/exit"
)

func TestSchedule(t *testing.T) {
	odd := []string{"/opt/my tools/opsbelt", "backup", "run", `it's 100% $HOME "x" \`}
	plain := []string{"/usr/bin/opsbelt", "backup", "run", "forum"}
	for name, tt := range map[string]struct {
		s                   Schedule
		cron, calendar, win string
	}{
		"default": {Schedule{Command: plain}, "0 3 * * * /usr/bin/opsbelt backup run forum", "*-*-* 03:00:00", "/SC DAILY /ST 03:00"},
		"hour":    {Schedule{Command: plain, Every: "hour", At: "0:17"}, "17 * * * * ", "*-*-* *:17:00", "/SC HOURLY /ST 00:17"},
		"week":    {Schedule{Command: plain, Every: "week", At: "23:05", Day: time.Friday}, "5 23 * * 5 ", "Fri *-*-* 23:05:00", "/SC WEEKLY /D FRI /ST 23:05"},
		"month":   {Schedule{Command: plain, Every: "month", At: "04:00"}, "0 4 1 * * ", "*-*-01 04:00:00", "/SC MONTHLY /D 1 /ST 04:00"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.s.Name = "forum"
			cron, err := tt.s.Cron()
			if err != nil || !strings.HasPrefix(cron, tt.cron) {
				t.Errorf("cron %q, %v", cron, err)
			}
			service, timer, err := tt.s.Systemd()
			if err != nil || !strings.Contains(timer, "\nOnCalendar="+tt.calendar+"\n") || !strings.Contains(service, "\nExecStart=/usr/bin/opsbelt backup run forum\n") {
				t.Errorf("timer %s, service %s, %v", timer, service, err)
			}
			win, err := tt.s.Schtasks()
			if err != nil || !strings.Contains(win, tt.win) {
				t.Errorf("schtasks %q, %v", win, err)
			}
		})
	}

	t.Run("quoting", func(t *testing.T) {
		s := Schedule{Name: "a%b\nc", Command: odd}
		cron, err := s.Cron()
		if err != nil {
			t.Fatal(err)
		}
		// What cron hands to the shell: \% becomes %.
		line := strings.ReplaceAll(strings.TrimPrefix(cron, "0 3 * * * "), `\%`, "%")
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf '<%s>' "+line).Output()
		if want := "<" + strings.Join(odd, "><") + ">"; err != nil || string(out) != want {
			t.Errorf("the shell sees %q, want %q (%v)", out, want, err)
		}
		service, _, err := s.Systemd()
		want := "\nExecStart=\"/opt/my tools/opsbelt\" backup run \"it's 100%% $$HOME \\\"x\\\" \\\\\"\n"
		if err != nil || !strings.Contains(service, want) || !strings.Contains(service, "Description=opsbelt backup a%%b c\n") {
			t.Errorf("service %s, want %q, %v", service, want, err)
		}
		if _, err := s.Schtasks(); exit.CodeOf(err) != exit.Usage {
			t.Errorf("schtasks: %v", err)
		}
		s.Command = []string{`C:\Program Files\opsbelt.exe`, "backup"}
		if win, err := s.Schtasks(); err != nil || !strings.Contains(win, `/TR "\"C:\Program Files\opsbelt.exe\" backup"`) {
			t.Errorf("schtasks %q, %v", win, err)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		err := Schedule{Every: "decade", At: "3 o'clock", Day: 9}.Validate()
		wantCode(t, err, exit.Usage, "decade", "3 o'clock", "no command", "no day 9")
	})
}
