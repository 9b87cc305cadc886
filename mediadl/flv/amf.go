package flv

import (
	"encoding/binary"
	"errors"
	"math"
)

// Property is a name and a value of a script object: a float64, bool, string
// or []float64, or an Object.
type Property struct {
	Name  string
	Value any
}

// Object is a script object with its properties in order.
type Object []Property

// Null is the encoding of null, the shortest of all values.
const Null = 5

// Markers of AMF0.
const (
	amfNumber  = 0
	amfBool    = 1
	amfString  = 2
	amfObject  = 3
	amfNull    = Null
	amfUndef   = 6
	amfECMA    = 8
	amfEnd     = 9
	amfStrict  = 10
	amfDate    = 11
	amfLongStr = 12
)

// EncodeScript encodes the call of a handler with an object, the content of a
// script tag.
func EncodeScript(handler string, o Object) []byte {
	b := appendString([]byte{amfString}, handler)
	b = append(b, amfECMA)
	b = binary.BigEndian.AppendUint32(b, uint32(len(o)))
	return appendProperties(b, o)
}

func appendProperties(b []byte, o Object) []byte {
	for _, p := range o {
		b = appendValue(appendString(b, p.Name), p.Value)
	}
	return append(b, 0, 0, amfEnd)
}

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), math.MaxUint16)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendNumber(b []byte, n float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, amfNumber), math.Float64bits(n))
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case float64:
		return appendNumber(b, v)
	case bool:
		if v {
			return append(b, amfBool, 1)
		}
		return append(b, amfBool, 0)
	case string:
		return appendString(append(b, amfString), v)
	case []float64:
		b = binary.BigEndian.AppendUint32(append(b, amfStrict), uint32(len(v)))
		for _, n := range v {
			b = appendNumber(b, n)
		}
		return b
	case Object:
		return appendProperties(append(b, amfObject), v)
	}
	return append(b, amfNull)
}

// errAMF says that a script message cannot be read.
var errAMF = errors.New("the metadata are malformed")

// DecodeScript reads a script message: its handler and the simple properties
// (numbers, booleans, strings) of its first object. Others are left out.
func DecodeScript(b []byte) (handler string, o Object, err error) {
	d := &amfReader{b: b}
	v, ok := d.value(0).(string)
	if !ok {
		return "", nil, errAMF
	}
	o, _ = d.value(0).(Object)
	return v, o, d.err
}

type amfReader struct {
	b   []byte
	err error
}

func (d *amfReader) take(n int) []byte {
	if d.err == nil && n > len(d.b) {
		d.err = errAMF
	}
	if d.err != nil {
		return make([]byte, min(n, 8))
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *amfReader) text(n int) string {
	b := d.take(n)
	if d.err != nil {
		return ""
	}
	return string(b)
}

func (d *amfReader) short() string { return d.text(int(binary.BigEndian.Uint16(d.take(2)))) }

func (d *amfReader) number() float64 {
	return math.Float64frombits(binary.BigEndian.Uint64(d.take(8)))
}

func (d *amfReader) value(depth int) any {
	if depth > 16 {
		d.err = errAMF
	}
	switch marker := d.take(1)[0]; {
	case d.err != nil:
		return nil
	case marker == amfNumber:
		return d.number()
	case marker == amfBool:
		return d.take(1)[0] != 0
	case marker == amfString:
		return d.short()
	case marker == amfLongStr:
		return d.text(int(min(binary.BigEndian.Uint32(d.take(4)), math.MaxInt32)))
	case marker == amfECMA, marker == amfObject:
		if marker == amfECMA {
			d.take(4) // a hint at the count
		}
		return d.properties(depth)
	case marker == amfStrict:
		for n := binary.BigEndian.Uint32(d.take(4)); n > 0 && d.err == nil; n-- {
			d.value(depth + 1)
		}
		return nil
	case marker == amfDate:
		d.take(10)
		return nil
	case marker == amfNull, marker == amfUndef:
		return nil
	}
	d.err = errAMF
	return nil
}

func (d *amfReader) properties(depth int) Object {
	var o Object
	for d.err == nil {
		name := d.short()
		if d.err != nil {
			break
		}
		if name == "" && len(d.b) > 0 && d.b[0] == amfEnd {
			d.take(1)
			break
		}
		switch v := d.value(depth + 1).(type) {
		case float64, bool, string:
			if d.err == nil {
				o = append(o, Property{name, v})
			}
		}
	}
	return o
}
