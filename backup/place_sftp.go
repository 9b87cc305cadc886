package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"opsbelt/internal/atomicfile"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/units"
)

// dialTimeout bounds connecting and logging in.
const dialTimeout = 30 * time.Second

// sftpPlace is a directory of an SSH server.
type sftpPlace struct {
	name string
	dir  string
	tag  string
	conn *ssh.Client
	c    *sftp.Client
	stop func() bool // ends the watch over the context
}

func openSFTP(ctx context.Context, u *url.URL, name, job string, create bool) (_ *sftpPlace, err error) {
	conn, err := dialSSH(ctx, u)
	if err != nil {
		return nil, err
	}
	p := &sftpPlace{name: name, tag: jobTag(job), conn: conn}
	// The library's calls take no context; closing the connection ends them.
	p.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if err != nil {
			_ = p.close()
		}
	}()
	if p.c, err = sftp.NewClient(conn, sftp.UseConcurrentWrites(true)); err != nil {
		return nil, fmt.Errorf("the server offers no SFTP: %w", err)
	}
	p.dir = path.Clean(u.Path)
	if rest, ok := strings.CutPrefix(p.dir, "/~/"); ok {
		if p.dir, err = p.c.RealPath("."); err != nil {
			return nil, err
		}
		p.dir = path.Join(p.dir, rest)
	}
	fi, err := p.c.Stat(p.dir)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err = p.c.MkdirAll(p.dir); err == nil {
			err = p.c.Chmod(p.dir, dirPerm)
		}
		if err == nil {
			fi, err = p.c.Stat(p.dir)
		}
	}
	if err != nil {
		return nil, denied(fmt.Errorf("directory %s: %w", p.dir, err))
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", p.dir)
	}
	if fi.Mode().Perm()&0o022 != 0 {
		return nil, exit.Hintf(exit.Errorf(exit.Denied, "directory %s there can be written by others (mode %04o)", p.dir, fi.Mode().Perm()),
			"run there: chmod go-w %s", p.dir)
	}
	return p, nil
}

func dialSSH(ctx context.Context, u *url.URL) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no connection within %s", dialTimeout))
	defer cancel()
	port := u.Port()
	if port == "" {
		port = "22"
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	cfg, cleanup, err := sshConfig(ctx, u, addr)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, exit.With(exit.TempFail, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	conn, chans, reqs, err := ssh.NewClientConn(nc, addr, cfg)
	if err != nil {
		_ = nc.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, explainSSH(err, addr)
	}
	return ssh.NewClient(conn, chans, reqs), nil
}

// explainSSH tells the failures apart that a user can do something about.
func explainSSH(err error, addr string) error {
	if ke := new(knownhosts.KeyError); errors.As(err, &ke) {
		if len(ke.Want) == 0 {
			return exit.Hintf(exit.Errorf(exit.Denied, "the host key of %s is not known", addr),
				"log in once with ssh as the same user and compare the key, or name a file with known_hosts=FILE")
		}
		return exit.Hintf(exit.Errorf(exit.Denied, "the host key of %s is not the known one: somebody may be in between", addr),
			"if the server got a new key, replace the line in %s", ke.Want[0].Filename)
	}
	if strings.Contains(err.Error(), "unable to authenticate") { // the library has no type for it
		return exit.With(exit.Denied, err)
	}
	return err
}

func sshConfig(ctx context.Context, u *url.URL, addr string) (*ssh.ClientConfig, func(), error) {
	cleanup := func() {}
	q := u.Query()
	cfg := &ssh.ClientConfig{User: u.User.Username(), Timeout: dialTimeout}
	home, _ := os.UserHomeDir() // cron may not set HOME
	if me, err := user.Current(); err == nil {
		if cfg.User == "" {
			cfg.User = me.Username
		}
		if home == "" {
			home = me.HomeDir
		}
	}

	var err error
	if cfg.HostKeyCallback, err = knownHosts(q.Get("known_hosts"), home); err != nil {
		return nil, cleanup, err
	}
	cfg.HostKeyAlgorithms = knownAlgorithms(cfg.HostKeyCallback, addr)

	if f := q.Get("password_file"); f != "" {
		pw, err := secret.FromFile(expandHome(f))
		if err != nil {
			return nil, cleanup, err
		}
		answer := func(_, _ string, questions []string, _ []bool) ([]string, error) {
			out := make([]string, len(questions))
			for i := range out {
				out[i] = pw.Reveal()
			}
			return out, nil
		}
		cfg.Auth = append(cfg.Auth, ssh.Password(pw.Reveal()), ssh.KeyboardInteractive(answer))
	}
	var signers []ssh.Signer
	if f := q.Get("key"); f != "" {
		s, err := readSSHKey(expandHome(f))
		if err != nil {
			return nil, cleanup, err
		}
		signers = append(signers, s)
	} else if len(cfg.Auth) == 0 {
		if sock := os.Getenv("SSH_AUTH_SOCK"); sock != "" {
			if c, err := (&net.Dialer{}).DialContext(ctx, "unix", sock); err == nil {
				cleanup = func() { _ = c.Close() }
				if s, err := agent.NewClient(c).Signers(); err == nil {
					signers = append(signers, s...)
				}
			}
		}
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			if s, err := readSSHKey(filepath.Join(home, ".ssh", name)); err == nil {
				signers = append(signers, s)
			}
		}
	}
	if len(signers) > 0 {
		cfg.Auth = append(cfg.Auth, ssh.PublicKeys(signers...))
	}
	if len(cfg.Auth) == 0 {
		return nil, cleanup, exit.Hintf(exit.Errorf(exit.Denied, "no SSH key and no password for %s", addr),
			"name a key with key=FILE, or a password with password_file=FILE")
	}
	return cfg, cleanup, nil
}

func readSSHKey(path string) (ssh.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := secret.CheckPrivate(f); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(data)
	if pm := new(ssh.PassphraseMissingError); errors.As(err, &pm) {
		return nil, exit.Hintf(exit.Errorf(exit.Denied, "key %s is protected by a passphrase", path),
			"load it into an SSH agent, or use a key without one")
	}
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "key %s: %w", path, err)
	}
	return s, nil
}

// knownHosts reads the file that was named, else those that ssh(1) reads.
func knownHosts(file, home string) (ssh.HostKeyCallback, error) {
	files := []string{expandHome(file)}
	if file == "" {
		files = nil
		for _, f := range []string{filepath.Join(home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"} {
			if _, err := os.Stat(f); err == nil {
				files = append(files, f)
			}
		}
	}
	cb, err := knownhosts.New(files...)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	return cb, nil
}

// knownAlgorithms lists the algorithms of the keys that are known for a host,
// so that the server presents one of these rather than another of its keys.
func knownAlgorithms(cb ssh.HostKeyCallback, addr string) (algos []string) {
	err := cb(addr, &net.TCPAddr{IP: net.IPv4zero}, noKey{})
	ke := new(knownhosts.KeyError)
	if !errors.As(err, &ke) {
		return nil
	}
	for _, k := range ke.Want {
		switch t := k.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			algos = append(algos, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algos = append(algos, t)
		}
	}
	return algos
}

// noKey is no host's key; asking for it tells which ones are known.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

func (p *sftpPlace) String() string          { return p.name }
func (p *sftpPlace) path(name string) string { return path.Join(p.dir, name) }

func (p *sftpPlace) close() error {
	p.stop()
	if p.c != nil {
		_ = p.c.Close() // the connection is closed next
	}
	if err := p.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (p *sftpPlace) list(ctx context.Context) ([]fileInfo, error) {
	infos, err := p.c.ReadDirContext(ctx, p.dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", p, err)
	}
	var out []fileInfo
	for _, fi := range infos {
		if fi.Mode().IsRegular() && !atomicfile.IsTemp(fi.Name()) {
			out = append(out, fileInfo{name: fi.Name(), size: fi.Size()})
		}
	}
	return out, nil
}

func (p *sftpPlace) lstat(name string) (fs.FileInfo, error) {
	fi, err := p.c.Lstat(p.path(name))
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, exit.Errorf(exit.Denied, "%s there is not a regular file", p.path(name))
	}
	return fi, nil
}

func (p *sftpPlace) open(_ context.Context, name string) (io.ReadCloser, error) {
	if _, err := p.lstat(name); err != nil {
		return nil, err
	}
	f, err := p.c.Open(p.path(name))
	if err != nil {
		return nil, err
	}
	return readAhead(f), nil
}

// readAhead keeps requests on their way while the answers to earlier ones are
// consumed, which File.Read, one round trip a call, does not.
func readAhead(f *sftp.File) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() {
		_, err := f.WriteTo(pw)
		pw.CloseWithError(errors.Join(err, f.Close()))
	}()
	return pr
}

func (p *sftpPlace) put(ctx context.Context, name string, r io.Reader, size int64) error {
	return p.write(ctx, name, r, size, p.c.Rename)
}

func (p *sftpPlace) replace(ctx context.Context, name string, r io.Reader, size int64) error {
	return p.write(ctx, name, r, size, func(from, to string) error {
		if _, ok := p.c.HasExtension("posix-rename@openssh.com"); ok {
			return p.c.PosixRename(from, to)
		}
		if err := p.c.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return p.c.Rename(from, to)
	})
}

func (p *sftpPlace) write(ctx context.Context, name string, r io.Reader, size int64, rename func(from, to string) error) (err error) {
	if vfs, err := p.c.StatVFS(p.dir); err == nil && vfs.Frsize > 0 {
		if free := int64(min(vfs.Bavail*vfs.Frsize, 1<<62)); free < size {
			return fmt.Errorf("not enough space there: %s needed, %s free", units.Bytes(size), units.Bytes(free))
		}
	}
	temp := p.path(remoteTemp(name, p.tag))
	f, err := p.c.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("create %s: %w", temp, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = p.c.Remove(temp)
		}
	}()
	if err := f.Chmod(filePerm); err != nil {
		return err
	}
	if _, err := f.ReadFromWithConcurrency(ctxReader{ctx, r}, 0); err != nil {
		return err
	}
	if _, ok := p.c.HasExtension("fsync@openssh.com"); ok {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := rename(temp, p.path(name)); err != nil {
		return fmt.Errorf("rename to %s: %w", p.path(name), err)
	}
	return nil
}

func (p *sftpPlace) remove(_ context.Context, name string) error {
	if _, err := p.lstat(name); err != nil {
		return err
	}
	return p.c.Remove(p.path(name))
}

func (p *sftpPlace) clean(ctx context.Context, _ string) (removed []string, err error) {
	infos, err := p.c.ReadDirContext(ctx, p.dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", p, err)
	}
	for _, fi := range infos {
		// The tag is the job's on this machine, whose lock we hold.
		if !fi.Mode().IsRegular() || !strings.HasSuffix(fi.Name(), "."+p.tag+".partial") || !atomicfile.IsTemp(fi.Name()) {
			continue
		}
		if err := p.c.Remove(p.path(fi.Name())); err != nil {
			return removed, fmt.Errorf("remove %s: %w", p.path(fi.Name()), err)
		}
		removed = append(removed, fi.Name())
	}
	return removed, nil
}
