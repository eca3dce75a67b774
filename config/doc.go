// Package config reads the TOML that operators write: one main file and a
// directory of policy files. It turns them into one validated value, says what
// is wrong and where, and says when to look again.
//
// One mistake costs as little as possible: a bad domain only itself, a file that
// is not TOML only its own domains, a bad main file nothing that runs already.
// What becomes of a domain whose configuration is refused is not decided here
// but by the caller, who knows what was published before.
//
// Other rooms never see the types of this package; internal/app translates.
package config
