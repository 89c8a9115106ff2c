package crictl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// toJSON is a message as crictl prints it: names in lowerCamelCase, numbers of 64 bits as text,
// and fields that hold their default as well.
func toJSON(m proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
}

// checkFormat refuses an unknown format before anything is asked of the runtime.
func checkFormat(format string, known ...string) error {
	for _, k := range known {
		if format == k {
			return nil
		}
	}
	return fmt.Errorf("output format %q is none of %s", format, strings.Join(known, ", "))
}

// printObject prints one object as JSON or YAML.
func printObject(out io.Writer, format string, object json.RawMessage) error {
	if format == "yaml" {
		text, err := yaml.JSONToYAML(object)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	var b bytes.Buffer
	// The library varies its white space on purpose, so it is set here.
	if err := json.Indent(&b, object, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(out)
	return err
}

// withInfo puts status and the additional information of a verbose answer side by side. Its values
// are JSON in text; they become part of the object, as in the original.
func withInfo(status proto.Message, info map[string]string) (json.RawMessage, error) {
	s, err := toJSON(status)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(info))
	for k := range info {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b bytes.Buffer
	b.WriteString(`{"status":`)
	b.Write(s)
	for _, k := range keys {
		name, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		value := []byte(info[k])
		if !json.Valid(value) {
			if value, err = json.Marshal(info[k]); err != nil {
				return nil, err
			}
		}
		b.WriteByte(',')
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// table prints rows in columns.
func table(out io.Writer, rows [][]string) error {
	w := tabwriter.NewWriter(out, 20, 1, 3, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// short cuts an ID to the length that is shown in tables.
func short(id string, whole bool) string {
	id = strings.TrimPrefix(id, "sha256:")
	if whole || len(id) <= 13 {
		return id
	}
	return id[:13]
}

// ago is the age of something made at a time in nanoseconds.
func ago(nanoseconds int64) string {
	return units.HumanDuration(time.Since(time.Unix(0, nanoseconds))) + " ago"
}
