package e2e_test

// allWorlds are the worlds, but for those of domains that the program serves.
func allWorlds() []*world {
	return []*world{
		{name: "healthy"},
		{name: "no-tlsrpt", dns: []string{"- _smtp._tls"}, want: []string{"tlsrpt-missing"}},
		{name: "mx-expired", mx: []string{"expired"}, want: []string{"mx-cert-expired"}},
		{name: "mx-plain", mx: []string{"plain"}, want: []string{"mx-no-starttls"}},
		{name: "mx-oldtls", mx: []string{"oldtls"}, want: []string{"mx-tls-old"}},
	}
}
