// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type selector struct {
	Metric string   `json:"metric"`
	Labels []string `json:"labels"`
}

type analysis struct {
	Error     string     `json:"error,omitempty"`
	Selectors []selector `json:"selectors"`
	By        []string   `json:"by"`
}

func analyse(text string) analysis {
	found := analysis{Selectors: []selector{}, By: []string{}}
	expression, err := parser.ParseExpr(text)
	if err != nil {
		found.Error = err.Error()
		return found
	}
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			s := selector{node.Name, []string{}}
			for _, matcher := range node.LabelMatchers {
				if matcher.Name != labels.MetricName {
					s.Labels = append(s.Labels, matcher.Name)
				}
			}
			found.Selectors = append(found.Selectors, s)
		case *parser.AggregateExpr:
			found.By = append(found.By, node.Grouping...)
		}
		return nil
	})
	return found
}

func analysePromQL(in io.Reader, out io.Writer) error {
	var texts []string
	if err := json.NewDecoder(in).Decode(&texts); err != nil {
		return err
	}
	answers := []analysis{}
	for _, text := range texts {
		answers = append(answers, analyse(text))
	}
	return json.NewEncoder(out).Encode(answers)
}
