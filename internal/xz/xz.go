// Package xz writes and reads .xz files (The .xz File Format, version 1.2.1),
// .lzma files (LZMA_Alone) and bare LZMA2, the form that .7z archives hold.
//
// The encoder is this package's own. Input is cut into blocks of a fixed
// size, which workers compress side by side and independently of each other,
// so that the same input gives the same bytes for any number of workers. The
// fast presets and short inputs use a hash chain or a binary tree to find
// matches, the others a radix match finder, which looks at a whole block at
// once; see radix.go.
//
// Memory is taken when a writer first needs it, kept for as long as the
// writer lives, and given back by Close: a Writer must be closed, also after
// an error.
package xz

import (
	"errors"
	"fmt"
	"io"
	"runtime"
)

// DefaultBlockSize is how much input goes into one independent block, save
// for the presets whose dictionary is larger.
const DefaultBlockSize = 16 << 20

// PresetZero asks for the fastest preset, since 0 is the default.
const PresetZero = -1

// The bounds of Options.
const (
	MinDictSize  = 4 << 10
	MaxDictSize  = 64 << 20
	MaxBlockSize = 1 << 30
)

// ErrInterrupted is what a Writer returns once its Interrupt channel is closed.
var ErrInterrupted = errors.New("compression was interrupted")

// Check is the integrity check of a block's uncompressed data.
type Check int

// The checks of the .xz format. The zero value is the usual one.
const (
	CheckDefault Check = iota // CRC64
	CheckNone
	CheckCRC32
	CheckCRC64
	CheckSHA256
)

// Options choose how a Writer compresses. The zero value means preset 6,
// blocks of DefaultBlockSize, one worker a processor and CRC64.
type Options struct {
	Preset    int   // 1 to 9; 0 means 6, PresetZero means preset 0
	BlockSize int64 // bytes of input in a block; 0 means the preset's
	Workers   int   // blocks compressed at a time; 0 means GOMAXPROCS
	Check     Check // of .xz blocks
	DictSize  int   // farthest match in bytes; 0 means the preset's

	// Interrupt, once closed, ends the work: what is under way stops within a
	// fraction of a second, and Write and Close return ErrInterrupted. A
	// context's Done channel serves.
	Interrupt <-chan struct{}
}

// Validate reports every problem with o.
func (o Options) Validate() error {
	var errs []error
	if o.Preset < PresetZero || o.Preset > 9 {
		errs = append(errs, fmt.Errorf("xz preset %d: there are 0 to 9", o.Preset))
	}
	if o.BlockSize < 0 || o.BlockSize > MaxBlockSize {
		errs = append(errs, fmt.Errorf("xz block size %d: at most %d", o.BlockSize, MaxBlockSize))
	}
	if o.DictSize != 0 && (o.DictSize < MinDictSize || o.DictSize > MaxDictSize) {
		errs = append(errs, fmt.Errorf("xz dictionary size %d: from %d to %d", o.DictSize, MinDictSize, MaxDictSize))
	}
	if o.Workers < 0 {
		errs = append(errs, fmt.Errorf("%d xz workers: must not be negative", o.Workers))
	}
	if o.Check < CheckDefault || o.Check > CheckSHA256 {
		errs = append(errs, fmt.Errorf("xz check %d does not exist", o.Check))
	}
	return errors.Join(errs...)
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// MemoryUsage returns the most memory, in bytes, that a Writer or RawWriter
// with o takes, for data that cannot be compressed. What can be takes less:
// about its compressed size in place of one input for each worker and one
// more. Options that are not valid use none.
func MemoryUsage(o Options) int64 {
	if o.Validate() != nil {
		return 0
	}
	p := o.params()
	workers := int64(o.workers())
	output := (p.block+p.block>>12)&^(spoolPage-1) + spoolPage
	return (workers+1)*int64(p.block+padding+output) + workers*int64(p.memory())
}

// memory is what an encoder takes.
func (p params) memory() int {
	n := 4*maxOps + optNodes*40 + 200<<10 // parser, model, prices
	n += trialPiece*10 + 1<<20            // choice of contexts
	n += treeMemory(p.dict, p.treeSize())
	if p.finder == hashChains {
		return n + hashChainMemory(p)
	}
	return n + radixMemory(p.block) + shortMemory
}

// finder names a way to search for matches.
type finder uint8

const (
	hashChains finder = iota
	binaryTree
	radixTable
)

// params are what a preset stands for.
type params struct {
	block    int // bytes of input in a block
	dict     int // farthest match
	finder   finder
	optimal  bool // parse by price rather than by rule
	depth    int  // hash chain, tree: candidates to try; radix: bytes to compare
	nice     int  // a match this long is taken at once
	hashBits int  // of the table for four bytes
	quick    bool // the same for the shortest input
	long     bool // the same finder for any input
}

// params returns what o asks for. o must be valid.
func (o Options) params() params {
	level := o.Preset
	switch level {
	case 0:
		level = 6
	case PresetZero:
		level = 0
	}
	p := preset(level)
	if o.DictSize > 0 {
		p.dict = o.DictSize
	}
	if o.BlockSize > 0 {
		p.block = int(o.BlockSize)
	}
	if p.dict > p.block {
		p.dict = max(p.block, MinDictSize)
	}
	return p
}

func preset(level int) params {
	switch level {
	case 0:
		return params{block: DefaultBlockSize, dict: 1 << 20, finder: hashChains, depth: 3, nice: 32, hashBits: 15}
	case 1:
		return params{block: DefaultBlockSize, dict: 2 << 20, finder: hashChains, depth: 8, nice: 128, hashBits: 16}
	case 2:
		return params{block: DefaultBlockSize, dict: 4 << 20, finder: hashChains, depth: 28, nice: 273, hashBits: 17}
	case 3:
		return params{block: DefaultBlockSize, dict: 16 << 20, finder: radixTable, optimal: true, depth: 12, nice: 24}
	case 4:
		return params{block: DefaultBlockSize, dict: 16 << 20, finder: radixTable, optimal: true, depth: 24, nice: 40}
	case 5:
		return params{block: DefaultBlockSize, dict: 16 << 20, finder: radixTable, optimal: true, depth: 32, nice: 48}
	case 6:
		return params{block: DefaultBlockSize, dict: 16 << 20, finder: radixTable, optimal: true, depth: 63, nice: 128}
	case 7:
		return params{block: DefaultBlockSize, dict: 16 << 20, finder: radixTable, optimal: true, depth: 63, nice: 96}
	case 8:
		return params{block: 32 << 20, dict: 32 << 20, finder: radixTable, optimal: true, depth: 63, nice: 128}
	default:
		return params{block: 64 << 20, dict: 64 << 20, finder: radixTable, optimal: true, depth: 63, nice: 273}
	}
}

// Writer compresses what is written to it.
type Writer struct {
	pipeline
}

// NewWriter returns a writer that compresses to one .xz stream. Close ends
// the stream and does not close w.
func NewWriter(w io.Writer, o Options) (*Writer, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	x := new(Writer)
	x.init(w, o, &xzFraming{check: o.Check})
	return x, nil
}

// RawWriter compresses to bare LZMA2, without container or check, as .7z
// archives hold it.
type RawWriter struct {
	pipeline
}

// NewRawLZMA2Writer returns a writer of bare LZMA2. Close writes the end
// marker and does not close w.
func NewRawLZMA2Writer(w io.Writer, o Options) (*RawWriter, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	x := new(RawWriter)
	x.init(w, o, rawFraming{})
	return x, nil
}

// DictProperty is the byte by which a container tells the decoder how large
// a dictionary it needs (the .xz format, section 5.3.1; 7z uses the same).
func (x *RawWriter) DictProperty() byte { return dictProperty(x.par.dict) }

// dictProperty returns the smallest code for a dictionary of n bytes or more:
// code c stands for (2 | c&1) << (c/2 + 11).
func dictProperty(n int) byte {
	for c := range byte(40) {
		if uint64(2|c&1)<<(c/2+11) >= uint64(n) {
			return c
		}
	}
	return 40
}

// dictSizeOf is the reverse of dictProperty.
func dictSizeOf(c byte) (uint64, error) {
	switch {
	case c > 40:
		return 0, fmt.Errorf("dictionary property %d is not in the format", c)
	case c == 40:
		return 1<<32 - 1, nil
	}
	return uint64(2|c&1) << (c/2 + 11), nil
}
