package flight

// Protection is one of the things that keep what is old from being stored and served. They can be
// switched off, one by one, so that a test can show that the checkers of histories miss each of them.
type Protection int

// The protections.
const (
	OneTable         Protection = iota + 1 // caches over one backend meet in the table
	Marking                                // loads that a writer finds, or that began meanwhile, aren't stored
	Waiting                                // a writer waits for write-backs that are under way
	SecondMarking                          // a writer marks what began to load while it was at work
	StoringNoneWith                        // no load stores while a writer is at work
	LookingAgain                           // a load looks again into a store that may have changed
	OverlapDetection                       // SetVia doesn't store when another writer was at work
	JoiningNoMarked                        // nobody joins a load that is marked
	TokenFirst                             // a namespace's token is read before the load
)

// Off is the protection that is switched off: none, but in a test that has a process for itself.
var Off Protection

// on reports whether the protection is on.
func on(p Protection) bool { return Off != p }
