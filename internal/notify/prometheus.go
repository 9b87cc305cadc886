package notify

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
)

// metricPrefix begins the name of each metric.
const metricPrefix = "opsbelt_"

// MetricType is the kind of a metric.
type MetricType string

// The metric types that a program which ends can report.
const (
	Gauge   MetricType = "gauge"
	Counter MetricType = "counter"
)

// Metric is a family of samples. Its name begins with "opsbelt_" and ends
// with the unit, e.g. opsbelt_backup_size_bytes.
type Metric struct {
	Name    string
	Help    string
	Type    MetricType
	Samples []Sample
}

// Sample is one value.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// WriteTextfile writes metrics for the textfile collector of node_exporter,
// atomically, so that it never reads half a file, and readable by all. The
// collector reads files whose names end in .prom.
func WriteTextfile(path string, metrics []Metric) error {
	if filepath.Ext(path) != ".prom" {
		return exit.Errorf(exit.Usage, "metrics file %s: the name must end in .prom, or node_exporter does not read it", path)
	}
	text, err := FormatMetrics(metrics)
	if err != nil {
		return fmt.Errorf("metrics file %s: %w", path, err)
	}
	if err := atomicfile.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("metrics file: %w", err)
	}
	return nil
}

// FormatMetrics writes metrics in Prometheus' text exposition format, version
// 0.0.4. Samples have no time stamps: the textfile collector refuses them.
func FormatMetrics(metrics []Metric) ([]byte, error) {
	var b bytes.Buffer
	var errs []error
	names := map[string]bool{}
	for _, m := range metrics {
		switch {
		case !strings.HasPrefix(m.Name, metricPrefix) || !validName(m.Name, true):
			errs = append(errs, fmt.Errorf("%q is not a metric name that begins with %s", m.Name, metricPrefix))
		case names[m.Name]:
			errs = append(errs, fmt.Errorf("metric %s is given twice", m.Name))
		case m.Type != Gauge && m.Type != Counter:
			errs = append(errs, fmt.Errorf("metric %s: unknown type %q", m.Name, m.Type))
		}
		names[m.Name] = true
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", m.Name, strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(m.Help), m.Name, m.Type)
		seen := map[string]bool{}
		for _, s := range m.Samples {
			labels, err := formatLabels(s.Labels)
			if err != nil {
				errs = append(errs, fmt.Errorf("metric %s: %w", m.Name, err))
			}
			if seen[labels] {
				errs = append(errs, fmt.Errorf("metric %s%s is given twice", m.Name, labels))
			}
			seen[labels] = true
			fmt.Fprintf(&b, "%s%s %s\n", m.Name, labels, formatValue(s.Value))
		}
	}
	return b.Bytes(), errors.Join(errs...)
}

func formatLabels(labels map[string]string) (string, error) {
	if len(labels) == 0 {
		return "", nil
	}
	names := make([]string, 0, len(labels))
	for name := range labels {
		if !validName(name, false) || strings.HasPrefix(name, "__") {
			return "", fmt.Errorf("%q is not the name of a label", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	for i, name := range names {
		names[i] = name + `="` + escape.Replace(strings.ToValidUTF8(labels[name], "\uFFFD")) + `"`
	}
	return "{" + strings.Join(names, ",") + "}", nil
}

// formatValue writes whole numbers without an exponent, for people who read
// the file.
func formatValue(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func validName(s string, colon bool) bool {
	for i, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_', r == ':' && colon, i > 0 && r >= '0' && r <= '9':
		default:
			return false
		}
	}
	return s != ""
}
