package relay

import (
	"errors"
	"io"
)

var errConvert = errors.New("cannot be converted")

func convert(w io.Writer, c Content, binary bool) error { return errConvert }
