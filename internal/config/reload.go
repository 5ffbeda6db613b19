package config

import (
	"reflect"
	"slices"
	"strings"
)

// live are the keys that a running server takes over when it reads its file
// again. The rest is
// built into what stands: sockets, the database, sessions.
var live = []string{"log.level", "certificate", "limits.connections", "limits.connections_per_address", "limits.connections_per_account", "limits.drain_seconds"}

// Changes names the keys in which next differs from c, as the file writes them:
// those that a running server can take over, and those that need a restart.
func (c *Config) Changes(next *Config) (now, restart []string) {
	for _, key := range differences("", reflect.ValueOf(*c), reflect.ValueOf(*next)) {
		if slices.Contains(live, key) {
			now = append(now, key)
		} else {
			restart = append(restart, key)
		}
	}
	return now, restart
}

// differences walks two structs of one type by their keys.
func differences(path string, a, b reflect.Value) (keys []string) {
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("toml"), ",")
		if name == "" || name == "-" {
			continue
		}
		key := strings.TrimPrefix(path+"."+name, ".")
		switch x, y := a.Field(i), b.Field(i); {
		case x.Kind() == reflect.Struct:
			keys = append(keys, differences(key, x, y)...)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			keys = append(keys, key)
		}
	}
	return keys
}
