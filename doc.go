// Package appcache puts Go values into Redis, memcached or SQLite through one typed interface.
package appcache
