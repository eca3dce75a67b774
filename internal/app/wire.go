package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mtasts-server/certs"
	"mtasts-server/config"
	"mtasts-server/policyserve"
)

// This file turns configuration into the options of the rooms, which know nothing
// of configuration.

func newLogger(out io.Writer, s config.Log, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if s.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, o))
	}
	return slog.New(slog.NewTextHandler(out, o))
}

// CheckCertificates says what is wrong with the settings of certificates that only
// the files which they name, or the room itself, can tell.
func CheckCertificates(s config.Settings) error {
	o, err := certsOptions(s)
	if err != nil {
		return err
	}
	return o.Validate()
}

// certsOptions reads the files that the settings name. With an error the options are
// good for serving what is stored, and not for getting more.
func certsOptions(s config.Settings) (certs.Options, error) {
	c := s.Certificates
	o := certs.Options{
		Source:           certs.Source(c.Source),
		Dir:              filepath.Join(s.State, "certs"),
		FilesDir:         c.Files,
		ARI:              c.ARI,
		Preflight:        certs.Preflight(c.Preflight),
		DisableHTTP01:    !slices.Contains(c.Challenges, "http-01"),
		DisableTLSALPN01: !slices.Contains(c.Challenges, "tls-alpn-01"),
		HTTPPort:         portOf(s.Listen.HTTP),
		TLSPort:          portOf(s.Listen.HTTPS),
	}
	var errs []error
	if c.Source == config.SourceFiles {
		if fi, err := os.Stat(c.Files); err != nil {
			errs = append(errs, fmt.Errorf("certificates.files: %w", err))
		} else if !fi.IsDir() {
			errs = append(errs, fmt.Errorf("certificates.files: %q is no directory", c.Files))
		}
	}
	for _, ca := range c.CAs {
		x := certs.CA{Directory: ca.Directory, Email: ca.Email, EABKeyID: ca.EABKeyID, EABMACKey: ca.EABMACKey, Profile: ca.Profile, Orders: ca.Orders}
		var err error
		if x.EABMACKey, err = secretOf(ca.EABMACKey, ca.EABMACKeyFile); err != nil {
			errs = append(errs, fmt.Errorf("certificates.eab.mac_key_file: %w", err))
			x.EABKeyID = "" // the CA will refuse us, and say why
		}
		if ca.Roots != "" {
			pem, err := os.ReadFile(ca.Roots)
			x.Roots = x509.NewCertPool() // empty, it trusts nobody
			if !x.Roots.AppendCertsFromPEM(pem) && err == nil {
				err = fmt.Errorf("%q holds no certificate", ca.Roots)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("certificates.roots: %w", err))
			}
		}
		o.CAs = append(o.CAs, x)
	}
	return o, errors.Join(errs...)
}

// secretOf is the secret that the settings hold, or name a file for.
func secretOf(secret, file string) (string, error) {
	if file == "" {
		return secret, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if s := strings.TrimSpace(string(text)); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("%q is empty", file)
}

// portOf returns the port of the first address, 0 if there is none.
func portOf(addrs []string) int {
	if len(addrs) == 0 {
		return 0
	}
	_, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

func serveOptions(s config.Settings, m *certs.Manager, further map[string]http.Handler, log *slog.Logger) policyserve.Options {
	n, fits := connections(s.Limits.Connections)
	if !fits {
		log.Warn("the system grants fewer file descriptors than limits.connections needs", "connections", n)
	}
	return policyserve.Options{
		GetCertificate: m.GetCertificate,
		NextProtos:     m.NextProtos(),
		Hosts:          further,
		TrustedProxies: s.Listen.TrustedProxies,
		ProxyProtocol:  s.Listen.ProxyProtocol,
		Limits: policyserve.Limits{
			Connections:           n,
			ConnectionsPerAddress: s.Limits.ConnectionsPerAddress,
			Handshakes:            s.Limits.Handshakes,
		},
		Log: log,
	}
}
