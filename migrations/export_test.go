package migrations

// The tests bring migrations of their own.
var (
	UpFS     = up
	StatusFS = status
	CheckFS  = check
)
