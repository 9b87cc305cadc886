package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
)

// ageExt ends the name of an encrypted file.
const ageExt = ".age"

// ageMagic begins an encrypted file (age-encryption.org/v1).
const ageMagic = "age-encryption.org/v1\n"

// Encryption says for whom a backup is encrypted, and how it can be read
// again. The zero value means no encryption.
type Encryption struct {
	// Recipients are public keys: age's (age1…) or SSH's (ssh-ed25519 …,
	// ssh-rsa …). Each of their owners can decrypt.
	Recipients []string
	// Passphrase encrypts instead of Recipients, and decrypts.
	Passphrase secret.Value
	// IdentityFiles hold private keys, for reading: age's own files or SSH
	// keys without a passphrase.
	IdentityFiles []string
}

// Enabled reports whether backups are to be encrypted.
func (e Encryption) Enabled() bool { return len(e.Recipients) > 0 || !e.Passphrase.IsZero() }

// Validate reports what is wrong with e.
func (e Encryption) Validate() error {
	_, err := e.recipients()
	if !e.Passphrase.IsZero() && len(e.Recipients) > 0 {
		err = errors.Join(err, errors.New("encryption: recipients and a passphrase exclude each other"))
	}
	return exit.With(exit.Usage, err)
}

func (e Encryption) recipients() (out []age.Recipient, err error) {
	for _, s := range e.Recipients {
		s = strings.TrimSpace(s)
		var r age.Recipient
		var perr error
		switch {
		case strings.HasPrefix(s, "ssh-"):
			r, perr = agessh.ParseRecipient(s)
		case strings.HasPrefix(s, "age1"):
			var rs []age.Recipient
			if rs, perr = age.ParseRecipients(strings.NewReader(s)); perr == nil {
				r = rs[0]
			}
		case strings.HasPrefix(strings.ToUpper(s), "AGE-SECRET-KEY-"):
			perr = errors.New("this is a private key; give the public one, age1…")
			s = "AGE-SECRET-KEY-…"
		default:
			perr = errors.New("neither an age nor an SSH public key")
		}
		if perr != nil {
			err = errors.Join(err, fmt.Errorf("recipient %q: %w", s, perr))
			continue
		}
		out = append(out, r)
	}
	return out, err
}

// ReadRecipients reads public keys from a file, one a line, with comments
// after #.
func ReadRecipients(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("recipients file: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return nil, exit.Errorf(exit.Usage, "recipients file %s holds no public key", path)
	}
	return out, nil
}

// encrypt returns a writer that encrypts to w; Close ends the stream.
func (e Encryption) encrypt(w io.Writer) (io.WriteCloser, error) {
	rs, err := e.recipients()
	if err != nil {
		return nil, err
	}
	if !e.Passphrase.IsZero() {
		r, err := age.NewScryptRecipient(e.Passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("encryption: %w", err)
		}
		rs = append(rs, r)
	}
	wc, err := age.Encrypt(w, rs...)
	if err != nil {
		return nil, fmt.Errorf("encryption: %w", err)
	}
	return wc, nil
}

// errNoIdentity says that nothing at hand can decrypt.
var errNoIdentity = errors.New("no key at hand decrypts it")

// decrypt returns a reader of what r holds encrypted. Without a fitting key
// its error is errNoIdentity.
func (e Encryption) decrypt(r io.Reader) (io.Reader, error) {
	ids, err := e.identities()
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, errNoIdentity
	}
	out, err := age.Decrypt(r, ids...)
	if nim := new(age.NoIdentityMatchError); errors.As(err, &nim) {
		return nil, errNoIdentity
	}
	if err != nil {
		return nil, exit.Errorf(exit.Corrupt, "decrypt: %w", err)
	}
	return out, nil
}

func (e Encryption) identities() (ids []age.Identity, err error) {
	if !e.Passphrase.IsZero() {
		id, err := age.NewScryptIdentity(e.Passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("decryption: %w", err)
		}
		ids = append(ids, id)
	}
	for _, path := range e.IdentityFiles {
		more, err := readIdentities(path)
		if err != nil {
			return nil, fmt.Errorf("identity file %s: %w", path, err)
		}
		ids = append(ids, more...)
	}
	return ids, nil
}

func readIdentities(path string) ([]age.Identity, error) {
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
	if bytes.HasPrefix(data, []byte("-----BEGIN")) {
		id, err := agessh.ParseIdentity(data)
		if err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		return []age.Identity{id}, nil
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	return ids, nil
}

// isEncrypted reports whether the stream begins as an encrypted one.
func isEncrypted(br *bufio.Reader) bool {
	head, err := br.Peek(len(ageMagic))
	return err == nil && string(head) == ageMagic
}
