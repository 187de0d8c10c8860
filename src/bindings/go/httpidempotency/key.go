package httpidempotency

import (
	"errors"
	"strings"
)

const maxKeyBytes = 255

var errMalformed = errors.New("the key must be one string of 1 to 255 printable ASCII characters")

// parseKey reads the field's value: a string as in RFC 8941, whose parameters mean nothing here, or, as many clients send
// it, the key itself.
func parseKey(values []string) (string, error) {
	if len(values) != 1 {
		return "", errMalformed // Twice the same field would be a list.
	}
	value := strings.Trim(values[0], " ")
	key, rest := value, ""
	if strings.HasPrefix(value, `"`) {
		var err error
		if key, rest, err = unquote(value[1:]); err != nil {
			return "", err
		}
	} else if strings.ContainsAny(value, "\",; \\") {
		return "", errMalformed
	}
	if rest != "" && !strings.HasPrefix(rest, ";") || !printable(key) || key == "" || len(key) > maxKeyBytes {
		return "", errMalformed
	}
	return key, nil
}

// unquote splits what follows the opening quote into the string and what follows the closing one.
func unquote(text string) (key, rest string, err error) {
	var unescaped strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return unescaped.String(), text[i+1:], nil
		case '\\':
			i++
			if i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", "", errMalformed
			}
		}
		unescaped.WriteByte(text[i])
	}
	return "", "", errMalformed
}

func printable(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
