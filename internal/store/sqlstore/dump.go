package sqlstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A dump is lines of JSON: a head, a line a table with its columns, a line a row, and an
// end with the SHA-256 of everything before it. It holds no process and no offer of
// work: what was under way is settled, and what waited is offered again, by the first
// process that serves the store it is loaded into. Keys may be added; existing ones
// never change.

// dumpFormat is the version of the format.
const dumpFormat = 1

// tables are those of a dump, in an order in which rows may refer to earlier ones.
func tables() []string {
	return []string{"sessions", "decisions", "tokens", "operations", "tasks", "events", "audit_chains", "audit_lines", "audit_statements"}
}

// keyOf are the columns that order the rows of a table, so that two stores with the same
// content have the same dump.
func keyOf(table string) string {
	switch table {
	case "events":
		return "operation, seq"
	case "audit_lines":
		return "chain, seq"
	case "audit_statements":
		return "signer, n"
	}
	return "id"
}

// Dumped says what a dump holds.
type Dumped struct {
	Rows   int64  // of all tables
	Digest string // "sha256:" and hex digits, as the end of the dump states it
}

type dumpLine struct {
	Format  int      `json:"bowline_store,omitempty"` // head
	Table   string   `json:"table,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Row     []value  `json:"row,omitempty"`
	Rows    *int64   `json:"rows,omitempty"` // end
	SHA256  string   `json:"sha256,omitempty"`
}

// value is one column of one row; the zero value is NULL.
type value struct {
	Text  *string `json:"t,omitempty"`
	Int   *int64  `json:"i,omitempty"`
	Bytes []byte  `json:"b,omitempty"`
	Empty bool    `json:"e,omitempty"` // bytes that are there, and none
	Raw   bool    `json:"r,omitempty"` // bytes are a text that is no UTF-8
}

func valueOf(x any) (value, error) {
	switch x := x.(type) {
	case nil:
		return value{}, nil
	case int64:
		return value{Int: &x}, nil
	case []byte:
		return value{Bytes: x, Empty: len(x) == 0}, nil
	case string:
		if !utf8.ValidString(x) {
			return value{Bytes: []byte(x), Raw: true}, nil
		}
		return value{Text: &x}, nil
	}
	return value{}, fmt.Errorf("a column of type %T", x)
}

func (v value) any() any {
	switch {
	case v.Text != nil:
		return *v.Text
	case v.Int != nil:
		return *v.Int
	case v.Raw:
		return string(v.Bytes)
	case v.Bytes != nil:
		return v.Bytes
	case v.Empty:
		return []byte{}
	}
	return nil
}

// Dump writes everything that the store keeps, as it is at one moment.
func (s *Store) Dump(ctx context.Context, w io.Writer) (Dumped, error) {
	tx, err := s.db.BeginTx(ctx, s.d.Snapshot)
	if err != nil {
		return Dumped{}, fmt.Errorf("read store: %w", err)
	}
	out := bufio.NewWriter(w)
	d := dumper{hash: sha256.New()}
	d.enc = json.NewEncoder(io.MultiWriter(out, d.hash))
	err = d.enc.Encode(dumpLine{Format: dumpFormat})
	for _, name := range tables() {
		if err == nil {
			err = d.table(ctx, tx, name)
		}
	}
	done := Dumped{Rows: d.rows, Digest: "sha256:" + hex.EncodeToString(d.hash.Sum(nil))}
	if err == nil {
		err = json.NewEncoder(out).Encode(dumpLine{Rows: &done.Rows, SHA256: done.Digest})
	}
	if err = errors.Join(err, out.Flush(), tx.Rollback()); err != nil {
		return Dumped{}, fmt.Errorf("read store: %w", err)
	}
	return done, nil
}

type dumper struct {
	enc  *json.Encoder
	hash hash.Hash
	rows int64
}

func (d *dumper) table(ctx context.Context, tx *sql.Tx, name string) error {
	columns, err := columnsOf(ctx, tx, name)
	if err != nil {
		return err
	}
	slices.Sort(columns)
	list, err := tx.QueryContext(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+name+` ORDER BY `+keyOf(name))
	if err != nil {
		return err
	}
	defer list.Close()
	if err := d.enc.Encode(dumpLine{Table: name, Columns: columns}); err != nil {
		return err
	}
	cells, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	for list.Next() {
		if err := list.Scan(into...); err != nil {
			return err
		}
		row := make([]value, len(cells))
		for i, c := range cells {
			if row[i], err = valueOf(c); err != nil {
				return fmt.Errorf("table %s, column %s: %w", name, columns[i], err)
			}
		}
		if err := d.enc.Encode(dumpLine{Row: row}); err != nil {
			return err
		}
		d.rows++
	}
	return list.Err()
}

func columnsOf(ctx context.Context, tx *sql.Tx, table string) ([]string, error) {
	list, err := tx.QueryContext(ctx, `SELECT * FROM `+table+` WHERE 1 = 0`)
	if err != nil {
		return nil, err
	}
	columns, err := list.Columns()
	return columns, errors.Join(err, list.Close())
}

// ErrNotEmpty means that a store holds something already.
var ErrNotEmpty = errors.New("the store is not empty")

// ErrDump means that a file is no dump, or not as it was written.
var ErrDump = errors.New("the backup is not as it was written")

// maxDumpLine bounds a line: the largest rows hold a plan of some 100 MiB.
const maxDumpLine = 1 << 30

// eachLine calls f with every line but the end, and checks the end.
func eachLine(r io.Reader, f func(dumpLine) error) (Dumped, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxDumpLine)
	sum := sha256.New()
	var rows int64
	for first := true; in.Scan(); first = false {
		var l dumpLine
		d := json.NewDecoder(bytes.NewReader(in.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil || first && l.Format == 0 {
			return Dumped{}, fmt.Errorf("%w: line after row %d", ErrDump, rows)
		}
		if first && l.Format != dumpFormat {
			return Dumped{}, fmt.Errorf("the backup has format %d, and this program knows %d", l.Format, dumpFormat)
		}
		if l.Rows != nil {
			got := "sha256:" + hex.EncodeToString(sum.Sum(nil))
			if l.SHA256 != got || *l.Rows != rows {
				return Dumped{}, fmt.Errorf("%w: it has %d rows and %s, and says %d and %s", ErrDump, rows, got, *l.Rows, l.SHA256)
			}
			if in.Scan() {
				return Dumped{}, fmt.Errorf("%w: something follows its end", ErrDump)
			}
			return Dumped{Rows: rows, Digest: got}, in.Err()
		}
		sum.Write(in.Bytes())
		sum.Write([]byte{'\n'})
		if l.Row != nil {
			rows++
		}
		if err := f(l); err != nil {
			return Dumped{}, err
		}
	}
	if err := in.Err(); err != nil {
		return Dumped{}, fmt.Errorf("read backup: %w", err)
	}
	return Dumped{}, fmt.Errorf("%w: it has no end", ErrDump)
}

// Load puts a dump into an empty store: all of it or, with an error, nothing. The digest
// is checked before anything is written. ErrNotEmpty and ErrDump are wrapped.
func (s *Store) Load(ctx context.Context, r io.ReadSeeker) (Dumped, error) {
	if _, err := eachLine(r, func(dumpLine) error { return nil }); err != nil {
		return Dumped{}, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return Dumped{}, fmt.Errorf("read backup: %w", err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return Dumped{}, fmt.Errorf("write store: %w", err)
	}
	done, err := s.load(ctx, tx, r)
	if err != nil {
		return Dumped{}, errors.Join(fmt.Errorf("write store: %w", err), ignoreDone(tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return Dumped{}, fmt.Errorf("write store: %w", err)
	}
	return done, nil
}

func (s *Store) load(ctx context.Context, tx *sql.Tx, r io.Reader) (Dumped, error) {
	for _, name := range tables() {
		var n int64
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM `+name).Scan(&n); err != nil {
			return Dumped{}, err
		}
		if n > 0 {
			return Dumped{}, fmt.Errorf("%w: table %s has %d rows", ErrNotEmpty, name, n)
		}
	}
	var insert *sql.Stmt
	defer func() {
		if insert != nil {
			insert.Close()
		}
	}()
	return eachLine(r, func(l dumpLine) error {
		if l.Table != "" {
			if insert != nil {
				insert.Close()
			}
			var err error
			insert, err = prepareInsert(ctx, tx, l)
			return err
		}
		if l.Row == nil {
			return nil
		}
		if insert == nil {
			return ErrDump
		}
		row := make([]any, len(l.Row))
		for i, v := range l.Row {
			row[i] = v.any()
		}
		_, err := insert.ExecContext(ctx, s.args(row)...)
		return err
	})
}

// prepareInsert trusts no name of a file: a digest is not a signature.
func prepareInsert(ctx context.Context, tx *sql.Tx, l dumpLine) (*sql.Stmt, error) {
	if !slices.Contains(tables(), l.Table) {
		return nil, fmt.Errorf("the backup has a table %q, which this program does not know", l.Table)
	}
	have, err := columnsOf(ctx, tx, l.Table)
	if err != nil {
		return nil, err
	}
	places := make([]string, len(l.Columns))
	for i, c := range l.Columns {
		if !slices.Contains(have, c) {
			return nil, fmt.Errorf("the backup has a column %q in table %s, which this program does not know", c, l.Table)
		}
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	return tx.PrepareContext(ctx, `INSERT INTO `+l.Table+` (`+strings.Join(l.Columns, ", ")+`) VALUES (`+strings.Join(places, ", ")+`)`)
}
