package console

import (
	"strings"
	"sync"

	"github.com/tenantry/tenantry/docs"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Help is what the runbook says of a code: the first words of its page.
type Help struct {
	Meaning, Fix string
	// Page is where the rest is.
	Page string
}

var helps = sync.OnceValue(readHelps)

func readHelps() map[tenancy.Code]Help {
	read := make(map[tenancy.Code]Help)
	for _, code := range tenancy.Codes() {
		page, err := docs.Errors.ReadFile("errors/" + string(code) + ".md")
		if err != nil {
			panic(err)
		}
		read[code] = Help{
			Meaning: firstParagraph(string(page), "## Meaning"), Fix: firstParagraph(string(page), "## Fix"),
			Page: "/docs/errors/" + string(code),
		}
	}
	return read
}

// firstParagraph returns the text under a heading up to an empty line or code.
func firstParagraph(page, heading string) string {
	_, rest, found := strings.Cut(page, heading+"\n")
	if !found {
		return ""
	}
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(rest)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "```") || strings.HasPrefix(line, "#") {
			break
		}
		lines = append(lines, line)
	}
	text := strings.ReplaceAll(strings.Join(lines, " "), "`", "")
	if before, ok := strings.CutSuffix(text, ":"); ok { // the code that follows is on the page
		text = before + "."
	}
	return text
}

// HelpFor returns the help of a code, empty if there is none.
func HelpFor(code tenancy.Code) Help { return helps()[code] }
