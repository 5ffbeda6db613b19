// Package events holds what is counted about what happens: the Prometheus
// metrics of all packages, so that their names and labels stay one family.
package events
