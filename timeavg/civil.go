package timeavg

const (
	secondsPerDay = 86400
	nsPerSecond   = 1_000_000_000
)

// daysFromCivil returns the days from 1970-01-01 to a date of the proleptic
// Gregorian calendar. The algorithm counts in eras of 400 years that begin on
// 1 March (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
func daysFromCivil(y, m, d int) int64 {
	if m <= 2 {
		y--
	}
	era := floorDiv(int64(y), 400)
	yoe := int64(y) - era*400
	mp := int64(m+9) % 12
	doy := (153*mp+2)/5 + int64(d) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// civilFromDays is the inverse of daysFromCivil.
func civilFromDays(days int64) (y, m, d int) {
	days += 719468
	era := floorDiv(days, 146097)
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = int(doy - (153*mp+2)/5 + 1)
	m = int(mp + 3)
	if m > 12 {
		m -= 12
	}
	y = int(yoe + era*400)
	if m <= 2 {
		y++
	}
	return y, m, d
}

func isLeap(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

// daysInMonth returns the length of month m (1 to 12) of year y.
func daysInMonth(y, m int) int {
	if m == 2 {
		if isLeap(y) {
			return 29
		}
		return 28
	}
	return 30 + (m+m>>3)&1
}

// weekday returns the day of the week of a day number, Sunday being 0.
func weekday(days int64) int { return int(floorMod(days+4, 7)) }

// isoWeek returns the ISO 8601 year and week of a day number: weeks begin on
// Monday and belong to the year that holds their Thursday.
func isoWeek(days int64) (year, week int) {
	thursday := days - floorMod(days+3, 7) + 3
	year, _, _ = civilFromDays(thursday)
	return year, int(thursday-daysFromCivil(year, 1, 1))/7 + 1
}

// firstMonday returns the day number on which week 1 of an ISO year begins.
func firstMonday(year int) int64 {
	fourth := daysFromCivil(year, 1, 4) // always in week 1
	return fourth - floorMod(fourth+3, 7)
}

// weekOfYear returns the week that strftime's %U (first is Sunday, 0) or %W
// (first is Monday, 1) prints: days before the first such weekday are week 0.
func weekOfYear(yday, wday, first int) int {
	return (yday + 7 - (wday+7-first)%7) / 7
}

// daysFromWeek is the inverse of weekOfYear.
func daysFromWeek(year, week, wday, first int) int64 {
	jan1 := daysFromCivil(year, 1, 1)
	lead := (7 - (weekday(jan1)+7-first)%7) % 7 // days before week 1
	return jan1 + int64(lead) + int64(week-1)*7 + int64((wday+7-first)%7)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }
