package backup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// Schedule says when a command is to run, and turns into the lines that make
// a system run it then.
type Schedule struct {
	Name    string   // of the job
	Command []string // program, by its full path, and arguments
	Every   string   // "hour", "day", "week" (on Day) or "month" (on its first day); empty means day
	At      string   // "HH:MM"; empty means 03:00; of the hour only the minutes count
	Day     time.Weekday
	User    string // who runs it in systemd's service; empty means root
}

// Validate reports everything that is wrong with s.
func (s Schedule) Validate() error {
	var errs []error
	switch s.Every {
	case "", "hour", "day", "week", "month":
	default:
		errs = append(errs, fmt.Errorf("every %q: there are hour, day, week and month", s.Every))
	}
	if _, err := s.clock(); err != nil {
		errs = append(errs, fmt.Errorf("at %q: not a time like 03:30", s.At))
	}
	if len(s.Command) == 0 {
		errs = append(errs, errors.New("no command given to schedule"))
	}
	if s.Day < time.Sunday || s.Day > time.Saturday {
		errs = append(errs, fmt.Errorf("there is no day %d in a week", s.Day))
	}
	return exit.With(exit.Usage, errors.Join(errs...))
}

func (s Schedule) clock() (time.Time, error) {
	if s.At == "" {
		return time.Date(0, 1, 1, 3, 0, 0, 0, time.UTC), nil
	}
	return time.Parse("15:04", s.At)
}

// Cron is a line for crontab(5). In a command, % ends a line unless it is
// escaped.
func (s Schedule) Cron() (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	t, _ := s.clock() // validated
	var when string
	switch s.Every {
	case "hour":
		when = fmt.Sprintf("%d * * * *", t.Minute())
	case "week":
		when = fmt.Sprintf("%d %d * * %d", t.Minute(), t.Hour(), s.Day)
	case "month":
		when = fmt.Sprintf("%d %d 1 * *", t.Minute(), t.Hour())
	default:
		when = fmt.Sprintf("%d %d * * *", t.Minute(), t.Hour())
	}
	words := make([]string, len(s.Command))
	for i, w := range s.Command {
		if strings.ContainsAny(w, "\n\r") {
			return "", exit.Errorf(exit.Usage, "a crontab line cannot hold %q", w)
		}
		words[i] = strings.ReplaceAll(run.Quote(w), "%", `\%`)
	}
	return when + " " + strings.Join(words, " ") + "\n", nil
}

// Systemd is a service and the timer that starts it (systemd.service(5),
// systemd.timer(5)). A run that was missed while the machine was off is made
// up for.
func (s Schedule) Systemd() (service, timer string, err error) {
	if err := s.Validate(); err != nil {
		return "", "", err
	}
	t, _ := s.clock() // validated
	hm := t.Format("15:04")
	when := "*-*-* " + hm + ":00"
	switch s.Every {
	case "hour":
		when = fmt.Sprintf("*-*-* *:%02d:00", t.Minute())
	case "week":
		when = s.Day.String()[:3] + " " + when
	case "month":
		when = "*-*-01 " + hm + ":00"
	}
	words := make([]string, len(s.Command))
	for i, w := range s.Command {
		words[i] = systemdQuote(w)
	}
	// The name goes into a line of its own; specifiers begin with %.
	title := strings.NewReplacer("%", "%%", "\n", " ", "\r", " ").Replace(s.Name)
	service = "[Unit]\nDescription=opsbelt backup " + title + "\n" +
		"Wants=network-online.target\nAfter=network-online.target\n\n" +
		"[Service]\nType=oneshot\nExecStart=" + strings.Join(words, " ") + "\n"
	if s.User != "" {
		service += "User=" + s.User + "\n"
	}
	service += "UMask=0077\nNice=10\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\n"
	timer = "[Unit]\nDescription=opsbelt backup " + title + "\n\n" +
		"[Timer]\nOnCalendar=" + when + "\nPersistent=true\n\n" +
		"[Install]\nWantedBy=timers.target\n"
	return service, timer, nil
}

// systemdQuote quotes one word of a command line (systemd.service(5), "Command
// lines": C-style escapes inside double quotes, %% and $$ for themselves).
func systemdQuote(w string) string {
	w = strings.NewReplacer("%", "%%", "$", "$$", `\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(w)
	if w == "" || strings.ContainsAny(w, " '\"\\;") {
		return `"` + w + `"`
	}
	return w
}

// UnitName is the name of the job's units, without .service or .timer.
func (s Schedule) UnitName() string { return "opsbelt-backup-" + CleanName(s.Name) }

// Schtasks is a command line that makes a task of the Windows task scheduler.
func (s Schedule) Schtasks() (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	t, _ := s.clock() // validated
	words := make([]string, len(s.Command))
	for i, w := range s.Command {
		if strings.ContainsAny(w, "\"\n\r") {
			return "", exit.Errorf(exit.Usage, "a task's command cannot hold %q", w)
		}
		words[i] = w
		if w == "" || strings.ContainsAny(w, " \t&|<>^()") {
			words[i] = `\"` + w + `\"`
		}
	}
	when := "/SC DAILY"
	switch s.Every {
	case "hour":
		when = "/SC HOURLY"
	case "week":
		when = "/SC WEEKLY /D " + strings.ToUpper(s.Day.String()[:3])
	case "month":
		when = "/SC MONTHLY /D 1"
	}
	return fmt.Sprintf("schtasks /Create /TN \"opsbelt\\backup %s\" %s /ST %s /TR \"%s\"\r\n",
		CleanName(s.Name), when, t.Format("15:04"), strings.Join(words, " ")), nil
}
