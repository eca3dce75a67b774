package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
)

// progressLimit is how long the server is waited for, which need not run on this machine.
const progressLimit = 2 * time.Second

// addProgress adds to what is wanted how far the server has come with announcing it, if
// there is one to ask.
func addProgress(cmd *cobra.Command, v *app.View, wants map[string]app.Wanted) {
	if !v.Publishes() {
		return
	}
	var there app.DNSView
	err := askAdmin(cmd.Context(), "http://"+adminAddress(cmd)+"/dns?all=1", progressLimit, func(resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&there)
	})
	if err != nil {
		return // what the ledger says is told all the same
	}
	for _, p := range there.Domains {
		if w, ok := wants[p.Domain]; ok {
			w.Published += "; next: " + p.String()
		}
	}
}
