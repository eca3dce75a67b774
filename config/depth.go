package config

// maxDepth is how deep tables, arrays and dotted keys may be nested: the configuration
// needs four. The decoder recurses, and a file of brackets would end the program.
const maxDepth = 32

// tooDeep returns the first line in which text is nested too deep, 0 for none. It need
// not understand TOML, only what brackets and dots cannot mean: nothing in strings and
// comments.
func tooDeep(text []byte) int {
	line, depth, dots := 1, 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\n':
			line++
			dots = 0
		case '#':
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case '"', '\'':
			end := skipString(text, i)
			for _, b := range text[i:end] {
				if b == '\n' {
					line++
				}
			}
			i = end - 1
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		case '.':
			dots++
		case '=', ',':
			dots = 0
		}
		if depth > maxDepth || dots > maxDepth {
			return line
		}
	}
	return 0
}

// skipString returns where the string that begins at i is over. One that does not end
// is over at the end of its line, or of the text if it may have several.
func skipString(text []byte, i int) int {
	quote := text[i]
	three := func(i int) bool { return i+2 < len(text) && text[i+1] == quote && text[i+2] == quote }
	many := three(i)
	if many {
		i += 2
	}
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quote == '"':
			i++
		case c == '\n' && !many:
			return i
		case c == quote && !many:
			return i + 1
		case c == quote && three(i):
			return i + 3
		}
	}
	return min(i, len(text))
}
