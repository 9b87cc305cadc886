package dump

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/testenv"
)

// authority makes a certificate authority and a certificate of it for
// 127.0.0.1, as files that every user can read.
func authority(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "obtls") //nolint:usetesting // the server runs as another user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	makeKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	caKey, serverKey := makeKey(), makeKey()
	caCert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, caCert, caCert, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, caCert, serverKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	return write("ca.pem", "CERTIFICATE", caDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
}

func TestTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers of its own")
	}
	ca, cert, key := authority(t)
	otherCA, _, _ := authority(t)
	m := testenv.StartMariaDB(t, "--ssl-ca="+ca, "--ssl-cert="+cert, "--ssl-key="+key)
	plainM, plainP := mariadb(t), postgres(t)
	p := testenv.StartPostgres(t, "-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+testenv.OwnedByPostgres(t, key))
	for _, s := range []*testenv.MariaDB{m, plainM} {
		s.Exec(t, "CREATE DATABASE tlsdb; CREATE TABLE tlsdb.t(i INT); CREATE USER tls@'127.0.0.1' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO tls@'127.0.0.1'")
	}
	for _, s := range []*testenv.Postgres{p, plainP} {
		s.Exec(t, "postgres", "CREATE DATABASE tlsdb")
	}
	my := Options{Engine: MySQL, Host: "127.0.0.1", User: "tls", Password: secret.New("pw"), Databases: []string{"tlsdb"}}
	pg := Options{Engine: Postgres, Host: "127.0.0.1", User: "postgres", Password: secret.New(testenv.PostgresPassword), Databases: []string{"tlsdb"}}
	for _, tt := range []struct {
		name  string
		tls   TLS
		plain bool // the server offers none
		code  exit.Code
	}{
		{"require", TLS{Mode: "require"}, false, exit.OK},
		{"disable", TLS{Mode: "disable"}, false, exit.OK},
		{"verify", TLS{Mode: "verify-full", CA: ca}, false, exit.OK},
		{"verify the authority", TLS{Mode: "verify-ca", CA: ca}, false, exit.OK},
		{"verify with another authority", TLS{Mode: "verify-full", CA: otherCA}, false, exit.Failed},
		{"require where there is none", TLS{Mode: "require"}, true, exit.Failed},
		{"verify where there is none", TLS{Mode: "verify-full", CA: ca}, true, exit.Failed},
		{"default where there is none", TLS{}, true, exit.OK},
	} {
		for _, o := range []Options{my, pg} {
			t.Run(string(o.Engine)+" "+tt.name, func(t *testing.T) {
				o.TLS = tt.tls
				switch {
				case o.Engine == MySQL && tt.plain:
					o.Port = plainM.Port
				case o.Engine == MySQL:
					o.Port = m.Port
				case tt.plain:
					o.Port = plainP.Port
				default:
					o.Port = p.Port
				}
				if _, err := Preflight(t.Context(), o); exit.CodeOf(err) != tt.code {
					t.Fatalf("got %v", err)
				}
				if tt.code == exit.OK {
					dumpOf(t, o)
				}
			})
		}
	}
}
