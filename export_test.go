package appcache

// Bounded is for tests.
var Bounded = bounded
