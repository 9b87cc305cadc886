// Package tools holds generators that are run by hand or by releases.
package tools

//go:generate go run ./docs -reference ../../docs
