package certs

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/certmagic"
)

// settleTime is how old a file must be to be believed unchanged because it looks
// so: within less, a second write may leave size and time as they were.
const settleTime = 2 * time.Second

// pemFile is what one file of the directory holds, in as few bytes as there may be
// 100,000 of them.
type pemFile struct {
	stamp fileStamp
	fresh bool // read so soon after it was written that it must be read again

	cert *pemCert // the first certificate with its chain; nil for none that a server may use
	keys []pemKey
	err  error // why the file is of no use
}

// pemCert is a certificate whose key may be anywhere.
type pemCert struct {
	*certificate
	names []string
	pub   publicKey
}

// pemKey is a key whose certificate may be anywhere.
type pemKey struct {
	privateKey
	pub publicKey
}

// fileStamp tells whether a file is the one that was read.
type fileStamp struct{ dev, inode, size, modified int64 }

func stampOf(info os.FileInfo) fileStamp {
	s := fileStamp{size: info.Size(), modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.inode = int64(sys.Dev), int64(sys.Ino)
	}
	return s
}

// unchanged reports whether the file still is the one that was read.
func (f *pemFile) unchanged(info os.FileInfo) bool { return !f.fresh && f.stamp == stampOf(info) }

// pemBlocks is what stands in a file.
type pemBlocks struct {
	leaf  *x509.Certificate // the first certificate, nil for none
	chain [][]byte          // all certificates, in their order
	keys  []crypto.Signer
}

// readPEM reads the file at path.
func readPEM(path string, info os.FileInfo, now time.Time, shared *interner) *pemFile {
	f := &pemFile{stamp: stampOf(info), fresh: now.Sub(info.ModTime()).Abs() < settleTime}
	data, err := readFile(path, maxBundle)
	if err != nil {
		f.err = err
		return f
	}
	var in pemBlocks
	block, rest := pem.Decode(data)
	for ; block != nil && f.err == nil; block, rest = pem.Decode(rest) {
		f.err = in.add(block, shared)
	}
	switch {
	case f.err != nil:
	case bytes.Contains(rest, []byte("-----BEGIN ")):
		// Somebody is writing it, and it would be handed out with half a chain.
		f.err = errors.New("a PEM block is cut off")
	case in.leaf == nil && len(in.keys) == 0:
		f.err = errors.New("neither a certificate nor a private key is in it")
	}
	for _, key := range in.keys {
		f.keys = append(f.keys, pemKey{slimKey(key), publicKeyOf(key.Public())})
	}
	if leaf := in.leaf; f.err == nil && leaf != nil && !leaf.IsCA && forServers(leaf) {
		c := newCertificate(tls.Certificate{Certificate: in.chain, Leaf: leaf}, shared.text(issuerName(leaf)), shared)
		f.cert = &pemCert{c, slices.Clone(leaf.DNSNames), publicKeyOf(leaf.PublicKey)}
		for i, name := range f.cert.names {
			f.cert.names[i] = strings.Clone(normalHost(name))
		}
	}
	return f
}

// add takes in one PEM block. Blocks that are neither certificate nor key, as the
// parameters of Diffie-Hellman, mean nothing here.
func (in *pemBlocks) add(block *pem.Block, shared *interner) error {
	switch block.Type {
	case "CERTIFICATE":
		if in.leaf == nil || !shared.isCertificate(block.Bytes) {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			if in.leaf == nil {
				in.leaf = cert
			} else {
				shared.noteCertificate(block.Bytes)
			}
		}
		in.chain = append(in.chain, block.Bytes)
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return errors.New("the private key is encrypted: store it without a passphrase, readable for this program only")
		}
		key, err := decodeKey(block)
		if err != nil {
			return fmt.Errorf("private key: %w", err)
		}
		in.keys = append(in.keys, key)
	case "ENCRYPTED PRIVATE KEY":
		return errors.New("the private key is encrypted: store it without a passphrase, readable for this program only")
	}
	return nil
}

// decodeKey reads a private key, also one that is not what its block is called.
func decodeKey(block *pem.Block) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil { // the form of nearly all
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return certmagic.PEMDecodePrivateKey(pem.EncodeToMemory(block))
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

// publicKey is the hash of the public half of a key: what pairs certificate and key.
type publicKey [sha256.Size]byte

func publicKeyOf(pub crypto.PublicKey) publicKey {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return publicKey{} // of a kind that TLS does not know
	}
	return sha256.Sum256(der)
}
