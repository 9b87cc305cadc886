package errorpages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"opsbelt/internal/exit"
	"opsbelt/internal/run"
)

// CheckResult tells what a target's own syntax check said.
type CheckResult struct {
	Target  string `json:"target"`
	Program string `json:"program,omitempty"`
	OK      bool   `json:"ok"`
	// Skipped tells why there was no check.
	Skipped string `json:"skipped,omitempty"`
}

// checker runs one target's check: dir holds its files, tmp is room for a
// configuration around them.
type checker struct {
	ctx     context.Context //nolint:containedctx // lives for one check
	b       *builder
	dir     string
	tmp     string
	program string
}

// find looks a server up, also where PATH of a plain user has no sbin.
func (c *checker) find(names ...string) (string, error) {
	p, err := run.Find(names...)
	if err == nil {
		c.program = p
		return p, nil
	}
	for _, name := range names {
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
			p := filepath.Join(dir, name)
			if info, err := os.Stat(p); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
				c.program = p
				return p, nil
			}
		}
	}
	return "", err
}

func (c *checker) write(name, text string) (string, error) {
	p := filepath.Join(c.tmp, name)
	return p, os.WriteFile(p, []byte(text), 0o644)
}

func (c *checker) run(program string, args ...string) error {
	_, err := run.Cmd{Path: program, Args: args, Dir: c.tmp, Env: append(run.Environ(), "HOME="+c.tmp, "XDG_DATA_HOME="+c.tmp, "XDG_CONFIG_HOME="+c.tmp)}.Run(c.ctx)
	return err
}

// check builds the set once more with a temporary directory as its place, and
// gives it to each target's syntax check.
func (b *builder) check(ctx context.Context) ([]CheckResult, error) {
	tmp, err := os.MkdirTemp("", "opsbelt-errorpages-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // a temporary directory
	// Some servers read their configuration as another user.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	o := b.Options
	o.Out, o.Prefix, o.Logger = filepath.Join(tmp, "out"), "", nil
	o.Check, o.Strict, o.Drift, o.DryRun = false, false, false, false
	if _, err := Run(ctx, o); err != nil {
		return nil, err
	}
	var results []CheckResult
	var errs []error
	for _, t := range b.targets {
		r := CheckResult{Target: t.name}
		if t.check == nil {
			r.Skipped = "the target has no syntax check"
			results = append(results, r)
			continue
		}
		c := &checker{ctx: ctx, b: b, dir: o.Out, tmp: filepath.Join(tmp, t.name)}
		if len(b.targets) > 1 {
			c.dir = filepath.Join(o.Out, t.name)
		}
		if err := os.Mkdir(c.tmp, 0o755); err != nil {
			return nil, err
		}
		err := t.check(c)
		r.Program = c.program
		switch {
		case exit.CodeOf(err) == exit.MissingTool:
			r.Skipped = err.Error()
		case err != nil:
			errs = append(errs, exit.With(exit.Corrupt, fmt.Errorf("check the configuration for %s: %w", t.name, err)))
		default:
			r.OK = true
		}
		results = append(results, r)
	}
	return results, errors.Join(errs...)
}

// apacheModuleDir finds httpd's modules.
func apacheModuleDir() (string, error) {
	for _, d := range []string{"/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2", "/usr/local/libexec/apache24"} {
		if _, err := os.Stat(filepath.Join(d, "mod_alias.so")); err == nil {
			return d, nil
		}
	}
	return "", exit.Errorf(exit.MissingTool, "the modules of Apache httpd were not found")
}

func checkApache(c *checker) error {
	httpd, err := c.find("apache2", "httpd")
	if err != nil {
		return err
	}
	mods, err := apacheModuleDir()
	if err != nil {
		return err
	}
	var s strings.Builder
	fmt.Fprintf(&s, "ServerRoot %s\nServerName localhost\nListen 127.0.0.1:1\nPidFile %s\nErrorLog %s\n", apacheQuote(c.tmp), apacheQuote(filepath.Join(c.tmp, "pid")), apacheQuote(filepath.Join(c.tmp, "log")))
	for _, m := range []string{"mpm_event", "authz_core", "alias", "headers", "mime", "negotiation", "setenvif", "include", "unique_id", "proxy", "proxy_http", "proxy_ajp", "jk"} {
		file := filepath.Join(mods, "mod_"+m+".so")
		if _, err := os.Stat(file); err != nil {
			if m == "jk" && len(c.b.mounts) > 0 {
				return exit.Errorf(exit.MissingTool, "mod_jk is not installed")
			}
			continue
		}
		fmt.Fprintf(&s, "LoadModule %s_module %s\n", m, apacheQuote(file))
	}
	s.WriteString("TypesConfig /dev/null\n")
	workers := map[string]bool{}
	for _, m := range c.b.mounts {
		if !m.isURL() {
			workers[m.backend] = true
		}
	}
	if len(workers) > 0 {
		var w strings.Builder
		fmt.Fprintf(&w, "worker.list=%s\n", strings.Join(sortedKeys(workers), ","))
		for _, name := range sortedKeys(workers) {
			fmt.Fprintf(&w, "worker.%s.type=ajp13\n", name)
		}
		file, err := c.write("workers.properties", w.String())
		if err != nil {
			return err
		}
		fmt.Fprintf(&s, "JkWorkersFile %s\nJkShmFile %s\nJkLogFile %s\n", apacheQuote(file), apacheQuote(filepath.Join(c.tmp, "shm")), apacheQuote(filepath.Join(c.tmp, "jk.log")))
	}
	fmt.Fprintf(&s, "<VirtualHost *:1>\n  Include %s\n</VirtualHost>\n", apacheQuote(filepath.Join(c.dir, "errorpages.conf")))
	conf, err := c.write("httpd.conf", s.String())
	if err != nil {
		return err
	}
	return c.run(httpd, "-t", "-f", conf)
}

func checkPHP(c *checker) error {
	php, err := c.find("php")
	if err != nil {
		return err
	}
	if err := c.run(php, "-n", "-l", filepath.Join(c.dir, "pages", "errorhandler.php")); err != nil {
		return err
	}
	if err := checkApache(c); err != nil && exit.CodeOf(err) != exit.MissingTool {
		return err
	}
	return nil
}

func checkNginx(c *checker) error {
	nginx, err := c.find("nginx")
	if err != nil {
		return err
	}
	conf, err := c.write("nginx.conf", fmt.Sprintf(`error_log %[1]q;
pid %[2]q;
events {}
http {
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
  access_log off;
  include %[3]q;
  server {
    listen 127.0.0.1:1;
    include %[4]q;
  }
}
`, filepath.Join(c.tmp, "log"), filepath.Join(c.tmp, "pid"), filepath.Join(c.dir, "http.conf"), filepath.Join(c.dir, "server.conf")))
	if err != nil {
		return err
	}
	return c.run(nginx, "-t", "-q", "-p", c.tmp, "-c", conf, "-e", filepath.Join(c.tmp, "log"))
}

func checkHAProxy(c *checker) error {
	haproxy, err := c.find("haproxy")
	if err != nil {
		return err
	}
	front, err := os.ReadFile(filepath.Join(c.dir, "frontend.cfg"))
	if err != nil {
		return err
	}
	conf, err := c.write("haproxy.cfg", "defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\nfrontend f\n  bind 127.0.0.1:1\n"+string(front)+"  default_backend b\nbackend b\n  server s 127.0.0.1:2\n")
	if err != nil {
		return err
	}
	return c.run(haproxy, "-c", "-q", "-f", filepath.Join(c.dir, "errorpages.cfg"), "-f", conf)
}

func checkCaddy(c *checker) error {
	caddy, err := c.find("caddy")
	if err != nil {
		return err
	}
	conf, err := c.write("Caddyfile", fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nimport %s\nhttp://127.0.0.1:1 {\n\timport errorpages\n\thandle /opsbelt-check/* {\n\t\treverse_proxy 127.0.0.1:2 {\n\t\t\timport errorpages_upstream\n\t\t}\n\t}\n}\n", `"`+filepath.Join(c.dir, "errorpages.caddy")+`"`))
	if err != nil {
		return err
	}
	return c.run(caddy, "validate", "--config", conf, "--adapter", "caddyfile")
}

func checkLighttpd(c *checker) error {
	lighttpd, err := c.find("lighttpd")
	if err != nil {
		return err
	}
	conf, err := c.write("lighttpd.conf", fmt.Sprintf("server.port = 1\nserver.bind = \"127.0.0.1\"\nserver.document-root = %s\nmimetype.assign = ( \".html\" => \"text/html; charset=utf-8\" )\ninclude %s\n", lighttpdQuote(c.tmp), lighttpdQuote(filepath.Join(c.dir, "errorpages.conf"))))
	if err != nil {
		return err
	}
	return c.run(lighttpd, "-tt", "-f", conf)
}

func checkVarnish(c *checker) error {
	varnishd, err := c.find("varnishd")
	if err != nil {
		return err
	}
	conf, err := c.write("check.vcl", fmt.Sprintf("vcl 4.1;\nbackend default {\n  .host = \"127.0.0.1\";\n  .port = \"2\";\n}\ninclude \"%s\";\n", filepath.Join(c.dir, "errorpages.vcl")))
	if err != nil {
		return err
	}
	return c.run(varnishd, "-C", "-f", conf, "-n", filepath.Join(c.tmp, "varnish"))
}
