package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"opsbelt/convert"
	"opsbelt/internal/exit"
	"opsbelt/internal/secret"
	"opsbelt/internal/units"
)

// pdfTool are the options that the commands below `convert` share.
type pdfTool struct {
	output    string
	overwrite bool
	pages     string
	password  secret.Source
}

func (t *pdfTool) addPassword(cmd *cobra.Command) {
	addSecretFlags(cmd.Flags(), "password", "the password of an encrypted file", &t.password)
}

func (t *pdfTool) addOutput(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVarP(&t.output, "output", "o", "", usage)
	cmd.Flags().BoolVar(&t.overwrite, "overwrite", false, "replace existing files")
}

func (t *pdfTool) addPages(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.pages, "pages", "", "only these pages: a `selection` like 1-3,7,odd,last")
}

func (t *pdfTool) pdf(cmd *cobra.Command, file string) (convert.PDF, error) {
	v, err := t.password.Resolve(cmd.Context())
	return convert.PDF{Path: file, Password: v}, err
}

// target is the file named by --output, or one beside the source.
func (t *pdfTool) target(file, suffix string) convert.Target {
	out := t.output
	if out == "" {
		out = strings.TrimSuffix(file, filepath.Ext(file)) + suffix + ".pdf"
	}
	return convert.Target{Path: out, Overwrite: t.overwrite}
}

// written is the result of a command that writes one file or several.
type written struct {
	Files []string `json:"files"`
}

func (a *app) printWritten(files ...string) error {
	return a.print(written{files}, func(w io.Writer) error {
		for _, f := range files {
			if _, err := fmt.Fprintln(w, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// newConvertTools are the commands that read or change the structure of PDF
// files.
func newConvertTools(a *app) []*cobra.Command {
	list := []*cobra.Command{
		newPDFInfoCmd(a), newPDFValidateCmd(a), newPDFMergeCmd(a), newPDFSplitCmd(a), newPDFOptimizeCmd(a),
		newPDFDecryptCmd(a), newPDFExtractCmd(a), newPDFFromImagesCmd(a), newPDFRotateCmd(a), newPDFWatermarkCmd(a),
	}
	for _, c := range list {
		ignoreConfig(c)
		a.addJSON(c)
	}
	return list
}

func newPDFInfoCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	cmd := &cobra.Command{
		Use: "info FILE...", Short: "Describe PDF files",
		Example: "  opsbelt convert info report.pdf\n  opsbelt convert info --json *.pdf",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			infos := []convert.Info{}
			for _, file := range args {
				p, err := t.pdf(cmd, file)
				if err != nil {
					return err
				}
				info, err := convert.ReadInfo(p)
				if err != nil {
					return err
				}
				infos = append(infos, info)
			}
			return a.print(infos, func(w io.Writer) error { return printInfos(w, infos) })
		},
	}
	t.addPassword(cmd)
	return cmd
}

func printInfos(w io.Writer, infos []convert.Info) error {
	for i, info := range infos {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		row := func(name string, value any) {
			if s := fmt.Sprint(value); s != "" && s != "[]" {
				fmt.Fprintf(tw, "%s:\t%s\n", name, s)
			}
		}
		row("file", info.File)
		row("size", units.Bytes(info.Bytes))
		row("PDF version", info.Version)
		row("pages", info.Pages)
		for _, s := range info.Sizes {
			row("page size", fmt.Sprintf("%g x %g points (%.0f x %.0f mm)", s.Width, s.Height, s.Width/72*25.4, s.Height/72*25.4))
		}
		row("title", info.Title)
		row("author", info.Author)
		row("subject", info.Subject)
		row("keywords", strings.Join(info.Keywords, ", "))
		row("creator", info.Creator)
		row("producer", info.Producer)
		row("created", info.Created)
		row("modified", info.Modified)
		var is []string
		for _, p := range []struct {
			name string
			is   bool
		}{{"encrypted", info.Encrypted}, {"form", info.Form}, {"signed", info.Signed}, {"tagged", info.Tagged}, {"linearized", info.Linearized}} {
			if p.is {
				is = append(is, p.name)
			}
		}
		row("properties", strings.Join(is, ", "))
		row("attachments", strings.Join(info.Attached, ", "))
		row("fonts", strings.Join(info.Fonts, ", "))
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func newPDFValidateCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	var strict bool
	cmd := &cobra.Command{
		Use: "validate FILE...", Short: "Check PDF files against the specification",
		Long: `Checks PDF files against the PDF specification. Many files that depart from it
are shown and converted well all the same.`,
		Example: "  opsbelt convert validate report.pdf",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			type row struct {
				File  string `json:"file"`
				Valid bool   `json:"valid"`
				Error string `json:"error,omitempty"`
			}
			rows := []row{}
			var first error
			for _, file := range args {
				p, err := t.pdf(cmd, file)
				if err != nil {
					return err
				}
				r := row{File: file, Valid: true}
				if err := convert.Check(p, strict); err != nil {
					r.Valid, r.Error = false, err.Error()
					if first == nil {
						first = err
					}
				}
				rows = append(rows, r)
			}
			err := a.print(rows, func(w io.Writer) error {
				for _, r := range rows {
					text := "valid"
					if !r.Valid {
						text = "not valid: " + r.Error
					}
					if _, err := fmt.Fprintf(w, "%s: %s\n", r.File, text); err != nil {
						return err
					}
				}
				return nil
			})
			if first != nil {
				return first
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "also report what every reader tolerates")
	t.addPassword(cmd)
	return cmd
}

func newPDFMergeCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	cmd := &cobra.Command{
		Use: "merge FILE FILE... -o FILE", Short: "Join PDF files into one",
		Example: "  opsbelt convert merge cover.pdf report.pdf -o all.pdf",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.output == "" {
				return exit.Hintf(exit.Errorf(exit.Usage, "no output file is named"), "add: -o all.pdf")
			}
			var files []convert.PDF
			for _, file := range args {
				p, err := t.pdf(cmd, file)
				if err != nil {
					return err
				}
				files = append(files, p)
			}
			if err := convert.Merge(files, convert.Target{Path: t.output, Overwrite: t.overwrite}); err != nil {
				return err
			}
			return a.printWritten(t.output)
		},
	}
	t.addOutput(cmd, "write this `file`")
	t.addPassword(cmd)
	return cmd
}

func newPDFSplitCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	var span int
	cmd := &cobra.Command{
		Use: "split FILE", Short: "Divide a PDF file into parts",
		Example: "  opsbelt convert split report.pdf -o parts/\n  opsbelt convert split report.pdf --span 10",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := t.pdf(cmd, args[0])
			if err != nil {
				return err
			}
			dir := t.output
			if dir == "" {
				dir = filepath.Dir(args[0])
			}
			names, err := convert.Split(p, dir, span, t.overwrite)
			if err != nil {
				return err
			}
			return a.printWritten(names...)
		},
	}
	t.addOutput(cmd, "put the parts into `directory` (default that of the file)")
	cmd.Flags().IntVar(&span, "span", 1, "put this `number` of pages into each part")
	t.addPassword(cmd)
	return cmd
}

func newPDFOptimizeCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	cmd := &cobra.Command{
		Use: "optimize FILE", Short: "Make a PDF file smaller without changing its pages",
		Long: `Removes what is in a PDF file twice or for nothing. The file is replaced only if
it gets smaller.`,
		Example: "  opsbelt convert optimize report.pdf\n  opsbelt convert optimize report.pdf -o small.pdf",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := t.pdf(cmd, args[0])
			if err != nil {
				return err
			}
			to := convert.Target{Path: t.output, Overwrite: t.overwrite}
			if to.Path == "" {
				to.Path = args[0]
			}
			r, err := convert.Optimize(p, to)
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) error {
				if !r.Written {
					_, err := fmt.Fprintf(w, "%s: %s, cannot be made smaller\n", r.File, units.Bytes(r.Before))
					return err
				}
				_, err := fmt.Fprintf(w, "%s: %s -> %s\n", to.Path, units.Bytes(r.Before), units.Bytes(r.After))
				return err
			})
		},
	}
	t.addOutput(cmd, "write this `file` instead of replacing the original")
	t.addPassword(cmd)
	return cmd
}

func newPDFDecryptCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	cmd := &cobra.Command{
		Use: "decrypt FILE", Short: "Write a PDF file without its encryption",
		Example: "  opsbelt convert decrypt secret.pdf --password-file pw -o plain.pdf",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := t.pdf(cmd, args[0])
			if err != nil {
				return err
			}
			to := t.target(args[0], "-decrypted")
			if err := convert.Decrypt(p, to); err != nil {
				return err
			}
			return a.printWritten(to.Path)
		},
	}
	t.addOutput(cmd, "write this `file` (default NAME-decrypted.pdf)")
	t.addPassword(cmd)
	return cmd
}

func newPDFExtractCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	cmd := &cobra.Command{
		Use: "extract-images FILE", Short: "Save the pictures that a PDF file contains",
		Example: "  opsbelt convert extract-images report.pdf -o pictures/",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := t.pdf(cmd, args[0])
			if err != nil {
				return err
			}
			dir := t.output
			if dir == "" {
				dir = filepath.Dir(args[0])
			}
			names, err := convert.ExtractImages(p, dir, t.pages, t.overwrite)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				return exit.Errorf(exit.NoMatch, "%s contains no pictures", args[0])
			}
			return a.printWritten(names...)
		},
	}
	t.addOutput(cmd, "put the pictures into `directory` (default that of the file)")
	t.addPages(cmd)
	t.addPassword(cmd)
	return cmd
}

func newPDFFromImagesCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	var dpi int
	var paper string
	cmd := &cobra.Command{
		Use: "from-images PICTURE... -o FILE", Short: "Make a PDF file of pictures",
		Example: "  opsbelt convert from-images scan-*.png -o scan.pdf\n  opsbelt convert from-images photo.jpg --paper A4 -o photo.pdf",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if t.output == "" {
				return exit.Hintf(exit.Errorf(exit.Usage, "no output file is named"), "add: -o pictures.pdf")
			}
			if err := convert.FromImages(args, convert.Target{Path: t.output, Overwrite: t.overwrite}, dpi, paper); err != nil {
				return err
			}
			return a.printWritten(t.output)
		},
	}
	t.addOutput(cmd, "write this `file`")
	cmd.Flags().IntVar(&dpi, "dpi", 72, "take the pictures to have this `resolution`")
	cmd.Flags().StringVar(&paper, "paper", "", "fit the pictures into pages of this `size`, like A4 or Letter (default that of the picture)")
	return cmd
}

func newPDFRotateCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	var degrees int
	cmd := &cobra.Command{
		Use: "rotate FILE", Short: "Turn pages of a PDF file",
		Example: "  opsbelt convert rotate scan.pdf --degrees 90 --pages odd -o turned.pdf",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := t.pdf(cmd, args[0])
			if err != nil {
				return err
			}
			to := t.target(args[0], "-rotated")
			if err := convert.Rotate(p, to, degrees, t.pages); err != nil {
				return err
			}
			return a.printWritten(to.Path)
		},
	}
	t.addOutput(cmd, "write this `file` (default NAME-rotated.pdf)")
	t.addPages(cmd)
	t.addPassword(cmd)
	cmd.Flags().IntVar(&degrees, "degrees", 90, "turn clockwise by 90, 180 or 270 `degrees`")
	return cmd
}

func newPDFWatermarkCmd(a *app) *cobra.Command {
	t := &pdfTool{}
	var m convert.Mark
	cmd := &cobra.Command{
		Use: "watermark FILE", Short: "Put a text or a picture on the pages of a PDF file",
		Example: "  opsbelt convert watermark report.pdf --text DRAFT --angle 45 -o draft.pdf",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := t.pdf(cmd, args[0])
			if err != nil {
				return err
			}
			to := t.target(args[0], "-watermarked")
			if err := convert.Watermark(p, to, m, t.pages); err != nil {
				return err
			}
			return a.printWritten(to.Path)
		},
	}
	t.addOutput(cmd, "write this `file` (default NAME-watermarked.pdf)")
	t.addPages(cmd)
	t.addPassword(cmd)
	fs := cmd.Flags()
	fs.StringVar(&m.Text, "text", "", "the `text`")
	fs.StringVar(&m.Image, "image", "", "the picture, a `file`")
	fs.Float64Var(&m.Opacity, "opacity", 0.3, "how opaque it is: a `number` from 0 to 1")
	fs.Float64Var(&m.Angle, "angle", 0, "turn it counter-clockwise by `degrees`")
	fs.StringVar(&m.Color, "color", "", "paint the text in this `color`, as #rrggbb (default gray)")
	fs.Float64Var(&m.Scale, "scale", 0.7, "make it as wide as this `share` of the page, from 0 to 1")
	fs.BoolVar(&m.OnTop, "on-top", false, "put it above what is on the page, not below")
	return cmd
}
