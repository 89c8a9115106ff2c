package network

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"sort"
	"strings"
	"time"
)

// tableSpec is what this program wants to own in one table of iptables. Chains of the table whose
// name starts with Prefix and which are not listed are deleted.
type tableSpec struct {
	Table  string
	Prefix string
	Chains []chain
	Jumps  []jump
}

type chain struct {
	Name  string
	Rules []string
}

func (c *chain) add(format string, args ...any) {
	c.Rules = append(c.Rules, fmt.Sprintf(format, args...))
}

// jump leads from a built-in chain into a chain of ours: as the first rule, or appended.
type jump struct {
	Chain, Target, Comment string
	First                  bool
}

func (j jump) rule() string {
	return fmt.Sprintf("-m comment --comment %q -j %s", j.Comment, j.Target)
}

// text is the wanted state of the chains as input of iptables-restore, without jumps and without
// the removal of old chains, which depend on the present state.
func (t tableSpec) text() string {
	var b strings.Builder
	for _, c := range t.Chains {
		fmt.Fprintf(&b, ":%s - [0:0]\n", c.Name)
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "-A %s %s\n", c.Name, r)
		}
	}
	return b.String()
}

// savedTable is one table as iptables-save prints it.
type savedTable struct {
	chains []string            // in the order printed
	rules  map[string][]string // full lines, "-A CHAIN ..."
}

func parseSave(save string) savedTable {
	s := savedTable{rules: map[string][]string{}}
	for _, line := range strings.Split(save, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			s.chains = append(s.chains, name)
		case strings.HasPrefix(line, "-A "):
			name, _, _ := strings.Cut(line[3:], " ")
			s.rules[name] = append(s.rules[name], line)
		}
	}
	return s
}

// own is the part of a table that belongs to a prefix, without counters.
func (s savedTable) own(prefix string) string {
	var b strings.Builder
	names := append([]string(nil), s.chains...)
	sort.Strings(names)
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		fmt.Fprintf(&b, ":%s\n", name)
		for _, r := range s.rules[name] {
			b.WriteString(r + "\n")
		}
	}
	return b.String()
}

// jumpsInto lists the positions (from 0) of the rules of a chain that jump into a target.
func (s savedTable) jumpsInto(from, target string) []int {
	var at []int
	for i, r := range s.rules[from] {
		if f := strings.Fields(r); len(f) >= 4 && f[len(f)-2] == "-j" && f[len(f)-1] == target {
			at = append(at, i)
		}
	}
	return at
}

// jumpEdits brings one jump in place. A jump that should be first but is not is moved only if
// mayMove says so: another program may want to be first as well.
func (s savedTable) jumpEdits(j jump, mayMove bool) []string {
	at := s.jumpsInto(j.Chain, j.Target)
	inPlace := len(at) == 1 && (!j.First || at[0] == 0 || !mayMove)
	if inPlace {
		return nil
	}
	var edits []string
	for _, i := range at {
		edits = append(edits, "-D"+strings.TrimPrefix(s.rules[j.Chain][i], "-A"))
	}
	if j.First {
		return append(edits, fmt.Sprintf("-I %s 1 %s", j.Chain, j.rule()))
	}
	return append(edits, fmt.Sprintf("-A %s %s", j.Chain, j.rule()))
}

// removal is the input of iptables-restore that deletes every chain of a prefix and every jump
// from elsewhere into one of them. Empty if there is none.
func (s savedTable) removal(table, prefix string) string {
	var flush, jumps, drop strings.Builder
	for _, name := range s.chains {
		if strings.HasPrefix(name, prefix) {
			fmt.Fprintf(&flush, ":%s - [0:0]\n", name)
			fmt.Fprintf(&drop, "-X %s\n", name)
		}
	}
	if flush.Len() == 0 {
		return ""
	}
	for _, from := range s.chains {
		if strings.HasPrefix(from, prefix) {
			continue
		}
		for _, r := range s.rules[from] {
			if f := strings.Fields(r); len(f) >= 4 && f[len(f)-2] == "-j" && strings.HasPrefix(f[len(f)-1], prefix) {
				jumps.WriteString("-D" + strings.TrimPrefix(r, "-A") + "\n")
			}
		}
	}
	return "*" + table + "\n" + flush.String() + jumps.String() + drop.String() + "COMMIT\n"
}

// restoreInput is the whole input of iptables-restore: chains, rules, jumps, and the removal of
// chains that are no longer wanted. All of it takes effect at once.
func (t tableSpec) restoreInput(s savedTable, edits []string) string {
	wanted := map[string]bool{}
	for _, c := range t.Chains {
		wanted[c.Name] = true
	}
	var flush, drop strings.Builder
	for _, name := range s.chains {
		if strings.HasPrefix(name, t.Prefix) && !wanted[name] {
			fmt.Fprintf(&flush, ":%s - [0:0]\n", name)
			fmt.Fprintf(&drop, "-X %s\n", name)
		}
	}
	var b strings.Builder
	b.WriteString("*" + t.Table + "\n" + flush.String() + t.text())
	for _, e := range edits {
		b.WriteString(e + "\n")
	}
	b.WriteString(drop.String() + "COMMIT\n")
	return b.String()
}

// iptables runs the two programs; tests put something else in their place.
type iptables interface {
	save(ctx context.Context, table string) (string, error)
	restore(ctx context.Context, input string) error
}

type hostIptables struct{}

func (hostIptables) save(ctx context.Context, table string) (string, error) {
	return runTool(ctx, "", "iptables-save", "-t", table)
}

func (hostIptables) restore(ctx context.Context, input string) error {
	if _, err := runTool(ctx, input, "iptables-restore", "--noflush", "-w", "5"); err != nil {
		return fmt.Errorf("%w; the input was:\n%s", err, input)
	}
	return nil
}

func runTool(ctx context.Context, input, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// moveInterval limits how often a jump is moved back to the front. Against a program that wants
// the same place it costs one move in that time, not an endless fight.
const moveInterval = 10 * time.Second

// keeper keeps one tableSpec in the kernel.
type keeper struct {
	tool  iptables
	now   func() time.Time
	moved time.Time // when a jump was last moved
	// applied is the text that was last put in place, observed is what the kernel made of it.
	// Together they tell whether anything has changed since, without writing.
	applied, observed string
}

func newKeeper(tool iptables) *keeper { return &keeper{tool: tool, now: time.Now} }

// ensure puts the specification in place. It reports whether it wrote anything.
func (k *keeper) ensure(ctx context.Context, t tableSpec) (bool, error) {
	save, err := k.tool.save(ctx, t.Table)
	if err != nil {
		return false, err
	}
	s := parseSave(save)
	mayMove := k.moved.IsZero() || k.now().Sub(k.moved) >= moveInterval
	var edits []string
	moves := false
	for _, j := range t.Jumps {
		e := s.jumpEdits(j, mayMove)
		moves = moves || (len(e) > 1 && j.First)
		edits = append(edits, e...)
	}
	text := t.text()
	if len(edits) == 0 && text == k.applied && s.own(t.Prefix) == k.observed {
		return false, nil
	}
	if err := k.tool.restore(ctx, t.restoreInput(s, edits)); err != nil {
		k.applied = ""
		return false, err
	}
	if moves {
		k.moved = k.now()
	}
	if save, err = k.tool.save(ctx, t.Table); err != nil {
		k.applied = ""
		return true, err
	}
	k.applied, k.observed = text, parseSave(save).own(t.Prefix)
	return true, nil
}

// removeChains deletes everything of a prefix from a table.
func removeChains(ctx context.Context, tool iptables, table, prefix string) error {
	save, err := tool.save(ctx, table)
	if err != nil {
		return err
	}
	input := parseSave(save).removal(table, prefix)
	if input == "" {
		return nil
	}
	return tool.restore(ctx, input)
}
