package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/certmagic"
)

// settleTime is how old a file must be to be believed unchanged because it looks
// so: within less, a second write may leave size and time as they were.
const settleTime = 2 * time.Second

// pemFile is what one file of the directory holds.
type pemFile struct {
	info  os.FileInfo
	fresh bool // read so soon after it was written that it must be read again

	leaf  *x509.Certificate // the first certificate, nil for none
	chain [][]byte          // all certificates, in their order
	keys  []crypto.Signer
	err   error // why the file is of no use
}

// unchanged reports whether the file still is the one that was read.
func (f *pemFile) unchanged(info os.FileInfo) bool {
	return !f.fresh && os.SameFile(f.info, info) && f.info.Size() == info.Size() && f.info.ModTime().Equal(info.ModTime())
}

// readPEM reads the file at path.
func readPEM(path string, info os.FileInfo, now time.Time) *pemFile {
	f := &pemFile{info: info, fresh: now.Sub(info.ModTime()).Abs() < settleTime}
	data, err := readFile(path, maxBundle)
	if err != nil {
		f.err = err
		return f
	}
	block, rest := pem.Decode(data)
	for ; block != nil && f.err == nil; block, rest = pem.Decode(rest) {
		f.err = f.add(block)
	}
	switch {
	case f.err != nil:
	case bytes.Contains(rest, []byte("-----BEGIN ")):
		// Somebody is writing it, and it would be handed out with half a chain.
		f.err = errors.New("a PEM block is cut off")
	case f.leaf == nil && len(f.keys) == 0:
		f.err = errors.New("neither a certificate nor a private key is in it")
	}
	return f
}

// add takes in one PEM block. Blocks that are neither certificate nor key, as the
// parameters of Diffie-Hellman, mean nothing here.
func (f *pemFile) add(block *pem.Block) error {
	switch block.Type {
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		if f.leaf == nil {
			f.leaf = cert
		}
		f.chain = append(f.chain, block.Bytes)
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return errors.New("the private key is encrypted: store it without a passphrase, readable for this program only")
		}
		key, err := certmagic.PEMDecodePrivateKey(pem.EncodeToMemory(block))
		if err != nil {
			return fmt.Errorf("private key: %w", err)
		}
		f.keys = append(f.keys, key)
	case "ENCRYPTED PRIVATE KEY":
		return errors.New("the private key is encrypted: store it without a passphrase, readable for this program only")
	}
	return nil
}

// forServers reports whether a TLS server may use cert.
func forServers(cert *x509.Certificate) bool {
	for _, use := range cert.ExtKeyUsage {
		if use == x509.ExtKeyUsageServerAuth || use == x509.ExtKeyUsageAny {
			return true
		}
	}
	return len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0
}

// publicKey is the encoded public half of a key: what pairs certificate and key.
func publicKey(pub crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "" // of a kind that TLS does not know
	}
	return string(der)
}
