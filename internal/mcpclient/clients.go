// Package mcpclient knows the programs that start MCP servers: where each keeps its list
// on each operating system, in which form, and how an entry of it is added, changed or
// removed while every other byte of the file stays. It does no I/O.
//
// # Invariants
//
//   - What [Edit] returns reads back with the entry as wanted and everything else as it
//     was; a file for which that cannot be had is an error.
//   - What is removed after it was added leaves the file as before, byte for byte, but
//     for a file that was empty: it ends as "{}".
//
// # Sources
//
// The documentation of the clients, as of November 2026. Of Claude Desktop there is no
// build for Linux by its maker; the path there is the one that the community's builds use.
package mcpclient

import "strings"

// Format is how a client writes its list.
type Format string

const (
	JSON Format = "json" // comments and trailing commas are kept where there are some
	TOML Format = "toml"
)

// Client is a program that starts MCP servers.
type Client struct {
	Name    string // as in --client
	Title   string
	File    string // its list
	Section string // name of the object that holds the servers
	Format  Format
	Stdio   bool     // entries say "type": "stdio"
	Signs   []string // any of these paths says that the client is used here
}

// Place is a machine and its user.
type Place struct {
	OS     string // as runtime.GOOS
	Home   string
	Getenv func(string) string
}

// Clients lists all, in the order in which people are told of them.
func Clients(p Place) []Client {
	claude := p.support("Claude")
	code := p.support("Code")
	claudeDir := p.first("CLAUDE_CONFIG_DIR", p.join(p.Home, ".claude"))
	claudeFile := p.join(p.Home, ".claude.json")
	if p.Getenv("CLAUDE_CONFIG_DIR") != "" {
		claudeFile = p.join(claudeDir, ".claude.json")
	}
	codex := p.first("CODEX_HOME", p.join(p.Home, ".codex"))
	gemini := p.join(p.Home, ".gemini")
	windsurf := p.join(p.Home, ".codeium", "windsurf")
	zed := p.zed()
	studio := p.join(p.Home, ".lmstudio")
	cursor := p.join(p.Home, ".cursor")
	return []Client{
		{"claude-desktop", "Claude Desktop", p.join(claude, "claude_desktop_config.json"), "mcpServers", JSON, false, []string{claude}},
		{"claude-code", "Claude Code", claudeFile, "mcpServers", JSON, true, []string{claudeFile, claudeDir}},
		{"cursor", "Cursor", p.join(cursor, "mcp.json"), "mcpServers", JSON, false, []string{cursor}},
		{"vscode", "Visual Studio Code", p.join(code, "User", "mcp.json"), "servers", JSON, true, []string{code}},
		{"codex", "Codex", p.join(codex, "config.toml"), "mcp_servers", TOML, false, []string{codex}},
		{"gemini", "Gemini CLI", p.join(gemini, "settings.json"), "mcpServers", JSON, false, []string{gemini}},
		{"windsurf", "Windsurf", p.join(windsurf, "mcp_config.json"), "mcpServers", JSON, false, []string{windsurf}},
		{"zed", "Zed", p.join(zed, "settings.json"), "context_servers", JSON, false, []string{zed}},
		{"lmstudio", "LM Studio", p.join(studio, "mcp.json"), "mcpServers", JSON, false, []string{studio}},
	}
}

// Other is a client of the form that most have, whose file nobody knows.
func Other() Client { return Client{Title: "any other client", Section: "mcpServers", Format: JSON} }

// Find returns the client of a name.
func Find(list []Client, name string) (Client, bool) {
	for _, c := range list {
		if c.Name == name {
			return c, true
		}
	}
	return Client{}, false
}

// support is where programs with windows keep their settings.
func (p Place) support(name string) string {
	switch p.OS {
	case "darwin":
		return p.join(p.Home, "Library", "Application Support", name)
	case "windows":
		return p.join(p.first("APPDATA", p.join(p.Home, "AppData", "Roaming")), name)
	}
	return p.join(p.first("XDG_CONFIG_HOME", p.join(p.Home, ".config")), name)
}

func (p Place) zed() string {
	switch p.OS {
	case "darwin":
		return p.join(p.Home, ".config", "zed")
	case "windows":
		return p.support("Zed")
	}
	return p.support("zed")
}

// first is the value of a variable, else def.
func (p Place) first(variable, def string) string {
	if v := p.Getenv(variable); v != "" {
		return v
	}
	return def
}

// join builds paths for an operating system that may not be this one.
func (p Place) join(parts ...string) string {
	separator := "/"
	if p.OS == "windows" {
		separator = `\`
	}
	return strings.TrimRight(parts[0], separator) + separator + strings.Join(parts[1:], separator)
}
