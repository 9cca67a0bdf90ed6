package console

import "html/template"

// icons are drawn on 24 by 24, after Tabler's (MIT).
var icons = map[string]string{
	"check":    `<path d="M5 12l5 5l10 -10"/>`,
	"x":        `<path d="M18 6l-12 12M6 6l12 12"/>`,
	"clock":    `<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3 3"/>`,
	"lock":     `<rect x="5" y="11" width="14" height="10" rx="2"/><path d="M8 11v-4a4 4 0 0 1 8 0v4"/>`,
	"pause":    `<circle cx="12" cy="12" r="9"/><path d="M10 9v6M14 9v6"/>`,
	"player":   `<path d="M7 4v16l13 -8z"/>`,
	"undo":     `<path d="M9 14l-4 -4l4 -4M5 10h11a4 4 0 1 1 0 8h-1"/>`,
	"alert":    `<path d="M12 9v4M12 16v.01M10.4 3.9l-8.1 13.5a1.9 1.9 0 0 0 1.6 2.9h16.2a1.9 1.9 0 0 0 1.6 -2.9l-8.1 -13.5a1.9 1.9 0 0 0 -3.2 0z"/>`,
	"circle":   `<circle cx="12" cy="12" r="9"/>`,
	"minus":    `<path d="M5 12h14"/>`,
	"logout":   `<path d="M14 8v-2a2 2 0 0 0 -2 -2h-7a2 2 0 0 0 -2 2v12a2 2 0 0 0 2 2h7a2 2 0 0 0 2 -2v-2M9 12h12l-3 -3M18 15l3 -3"/>`,
	"plus":     `<path d="M12 5v14M5 12h14"/>`,
	"mail":     `<rect x="3" y="5" width="18" height="14" rx="2"/><path d="M3 7l9 6l9 -6"/>`,
	"search":   `<circle cx="10" cy="10" r="7"/><path d="M21 21l-6 -6"/>`,
	"server":   `<rect x="3" y="4" width="18" height="8" rx="3"/><rect x="3" y="12" width="18" height="8" rx="3"/><path d="M7 8v.01M7 16v.01"/>`,
	"users":    `<circle cx="9" cy="7" r="4"/><path d="M3 21v-2a4 4 0 0 1 4 -4h4a4 4 0 0 1 4 4v2M16 3.1a4 4 0 0 1 0 7.8M21 21v-2a4 4 0 0 0 -3 -3.9"/>`,
	"list":     `<path d="M9 6h11M9 12h11M9 18h11M5 6v.01M5 12v.01M5 18v.01"/>`,
	"history":  `<path d="M12 8v4l2 2M3.1 11a9 9 0 1 1 .5 4M3 20v-5h5"/>`,
	"upload":   `<path d="M4 17v2a2 2 0 0 0 2 2h12a2 2 0 0 0 2 -2v-2M7 9l5 -5l5 5M12 4v12"/>`,
	"download": `<path d="M4 17v2a2 2 0 0 0 2 2h12a2 2 0 0 0 2 -2v-2M7 11l5 5l5 -5M12 4v12"/>`,
	"key":      `<circle cx="8" cy="15" r="4"/><path d="M10.9 12.1l8.1 -8.1M17 6l2 2M14 9l2 2"/>`,
	"user":     `<circle cx="12" cy="7" r="4"/><path d="M6 21v-2a4 4 0 0 1 4 -4h4a4 4 0 0 1 4 4v2"/>`,
	"queue":    `<path d="M4 6h16M4 12h16M4 18h10"/>`,
	"info":     `<circle cx="12" cy="12" r="9"/><path d="M12 8v.01M11 12h1v4h1"/>`,
	"copy":     `<rect x="8" y="8" width="12" height="12" rx="2"/><path d="M16 8v-2a2 2 0 0 0 -2 -2h-8a2 2 0 0 0 -2 2v8a2 2 0 0 0 2 2h2"/>`,
	"retry":    `<path d="M20 11a8.1 8.1 0 0 0 -15.5 -2M4 5v4h4M4 13a8.1 8.1 0 0 0 15.5 2M20 19v-4h-4"/>`,
	"theme":    `<circle cx="12" cy="12" r="9"/><path d="M12 3v18M12 14l7 -7M12 19l8.5 -8.5M12 9l4.5 -4.5"/>`,
	"arrow":    `<path d="M5 12h14M13 18l6 -6M13 6l6 6"/>`,
	"stack":    `<path d="M12 4l-8 4l8 4l8 -4l-8 -4M4 12l8 4l8 -4M4 16l8 4l8 -4"/>`,
}

// icon draws an icon, which says nothing to a screen reader.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" width="20" height="20" viewBox="0 0 24 24" fill="none" stroke="currentColor" ` + //nolint:gosec // from the table
		`stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">` + icons[name] + `</svg>`)
}
