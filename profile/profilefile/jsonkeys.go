package profilefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// unknownKey walks JSON and returns the first object key that has no field in
// [file], with its offset. encoding/json finds such keys too, but cannot say
// where. Duplicate keys are reported as errors: the last one would win silently.
func unknownKey(data []byte) (off int64, key string, err error) {
	w := keyWalker{dec: json.NewDecoder(bytes.NewReader(data))}
	err = w.value(reflect.TypeFor[file](), "")
	if err == nil && w.unknown == "" {
		if _, err = w.dec.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("text after the object")
		}
	}
	if w.unknown != "" {
		return w.off, w.unknown, nil
	}
	return w.dec.InputOffset(), "", err
}

type keyWalker struct {
	dec     *json.Decoder
	unknown string
	off     int64
}

// value consumes one JSON value. t is the Go type it will be decoded into, or
// nil where any key is fine.
func (w *keyWalker) value(t reflect.Type, at string) error {
	tok, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('{'):
		return w.object(t, at)
	case json.Delim('['):
		for w.dec.More() && w.unknown == "" {
			if err := w.value(elem(t), at); err != nil {
				return err
			}
		}
		if w.unknown == "" {
			_, err = w.dec.Token()
		}
	}
	return err
}

func (w *keyWalker) object(t reflect.Type, at string) error {
	seen := map[string]bool{}
	for w.dec.More() && w.unknown == "" {
		tok, err := w.dec.Token()
		if err != nil {
			return err
		}
		key, _ := tok.(string) // the decoder allows nothing else here
		name := strings.TrimPrefix(at+"."+key, ".")
		if seen[key] {
			return fmt.Errorf("field %q stands twice", name)
		}
		seen[key] = true
		sub, ok := field(t, key)
		if !ok {
			w.unknown, w.off = name, w.dec.InputOffset()
			return nil
		}
		if err := w.value(sub, name); err != nil {
			return err
		}
	}
	if w.unknown != "" {
		return nil
	}
	_, err := w.dec.Token()
	return err
}

// field returns the type under key; ok is false if a struct has no such field.
func field(t reflect.Type, key string) (sub reflect.Type, ok bool) {
	if t == nil || t.Kind() == reflect.Map {
		return nil, true
	}
	if t.Kind() != reflect.Struct {
		return nil, true // a type error, which the decoder reports
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("json") == key {
			return f.Type, true
		}
	}
	return nil, false
}

func elem(t reflect.Type) reflect.Type {
	if t != nil && t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return nil
}
