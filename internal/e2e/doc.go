// Package e2e tests the program as a whole against the real things: an ACME server,
// other people's MTA-STS implementations, a container, kill -9. It is a module of its
// own, so that users of the program do not carry what only these tests need.
package e2e
