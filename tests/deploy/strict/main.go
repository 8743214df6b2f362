// SPDX-License-Identifier: Apache-2.0

// strict reads Kubernetes manifests as the API server's strictest client would: every document is decoded into
// the published Go type of its kind, where a field that does not exist, exists twice or has the wrong type is
// an error. What it has read it prints as one JSON list, so that tests need no YAML parser of their own.
//
//	strict FILE…           [{"file", "object"}], or complaints on stderr and exit code 1
//	strict -plain FILE…    the same for YAML that is no manifest
//	strict -promql <JSON   a list of expressions: [{"error", "selectors": [{"metric", "labels"}], "by": […]}]
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/util/yaml"
	strictyaml "sigs.k8s.io/yaml"
)

type document struct {
	File   string          `json:"file"`
	Object json.RawMessage `json:"object"`
}

// decode returns the document as JSON, nil if there is nothing in it but comments.
func decode(data []byte, plain bool) (json.RawMessage, error) {
	raw, err := strictyaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	if string(raw) == "null" {
		return nil, nil
	}
	if plain {
		return raw, nil
	}
	var kind struct{ APIVersion, Kind string }
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	object := newObject(kind.APIVersion, kind.Kind)
	if object == nil {
		return nil, fmt.Errorf("no type is known for %s %s", kind.APIVersion, kind.Kind)
	}
	if err := strictyaml.UnmarshalStrict(data, object); err != nil {
		return nil, fmt.Errorf("%s: %w", kind.Kind, err)
	}
	return raw, nil
}

func readFile(name string, plain bool) ([]document, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var documents []document
	reader := yaml.NewYAMLReader(bufio.NewReader(file))
	for n := 1; ; n++ {
		data, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		object, err := decode(data, plain)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if object != nil {
			documents = append(documents, document{name, object})
		}
	}
}

func main() {
	arguments, plain := os.Args[1:], false
	if len(arguments) == 1 && arguments[0] == "-promql" {
		if err := analysePromQL(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(arguments) > 0 && arguments[0] == "-plain" {
		arguments, plain = arguments[1:], true
	}
	documents, failed := []document{}, false
	for _, name := range arguments {
		more, err := readFile(name, plain)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			failed = true
		}
		documents = append(documents, more...)
	}
	if failed {
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(documents); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
