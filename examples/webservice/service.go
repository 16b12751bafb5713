package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/goappcache/appcache"
)

// ttl, with staleFor, bounds how long a change goes unseen that somebody made behind our back, or that
// couldn't be told to the cache.
const (
	ttl      = 10 * time.Minute
	staleFor = time.Minute
)

// userKey and likesKey are in the namespace of their user, so that what we keep of a user, of whatever
// type, is dropped at once.
type userKey struct {
	appcache.BaseKey[user]
	id int64
}

func (k userKey) CacheKeySegments() []string { return []string{"profile"} }

func (k userKey) NamespaceKey() appcache.NamespaceKey { return allAbout(k.id) }

type likesKey struct {
	appcache.BaseKey[userLikes]
	id int64
}

func (k likesKey) CacheKeySegments() []string { return []string{"likes"} }

func (k likesKey) NamespaceKey() appcache.NamespaceKey { return allAbout(k.id) }

// allAbout is the namespace of a user. Its token never expires, also of a user whom somebody asked for
// in vain, so the store has to be one that evicts: memcached and SQLite do, and Redis with a maxmemory
// and the policy allkeys-lru.
func allAbout(user int64) appcache.Generation {
	return appcache.Generation("users/" + strconv.FormatInt(user, 10))
}

// service answers requests. The database is asked only where the cache has no answer.
type service struct {
	db       *database
	users    *appcache.Cache[user]
	likes    *appcache.Cache[userLikes]
	registry *prometheus.Registry
}

func newService(db *database, backend appcache.RawBackend) *service {
	registry := prometheus.NewRegistry()
	opts := &appcache.Options{
		Prefix:      "webservice",
		Observe:     newMetrics(registry).observe,
		Timeout:     200 * time.Millisecond, // a store that hangs must not cost more than it ever saves
		StaleFor:    staleFor,               // nobody waits for the database when an entry in use is over
		NotFoundTTL: 10 * time.Second,       // nor is it asked each time for a user who isn't there
		Jitter:      0.1,                    // what was loaded together isn't loaded again together
	}
	return &service{
		db:       db,
		users:    appcache.New[user](backend, opts),
		likes:    appcache.New[userLikes](backend, opts),
		registry: registry,
	}
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", s.getUser)
	mux.HandleFunc("PUT /users/{id}", s.putUser)
	mux.HandleFunc("GET /users/{id}/likes", s.getLikes)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

func (s *service) getUser(w http.ResponseWriter, r *http.Request) {
	id, ok := userID(w, r)
	if !ok {
		return
	}
	u, err := s.users.GetVia(r.Context(), userKey{id: id}, ttl, func(ctx context.Context) (user, error) {
		return s.db.user(ctx, id)
	})
	answer(w, r, u, err)
}

func (s *service) getLikes(w http.ResponseWriter, r *http.Request) {
	id, ok := userID(w, r)
	if !ok {
		return
	}
	l, err := s.likes.GetVia(r.Context(), likesKey{id: id}, ttl, func(ctx context.Context) (userLikes, error) {
		return s.db.likes(ctx, id)
	})
	answer(w, r, l, err)
}

// putUser changes the user in the database and then drops the user's namespace. In this order, no request
// that begins after the answer sees anything older, in any process.
func (s *service) putUser(w http.ResponseWriter, r *http.Request) {
	id, ok := userID(w, r)
	if !ok {
		return
	}
	u := user{}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&u); err != nil || u.Name == "" {
		http.Error(w, `send a user, like {"name": "Ada"}`, http.StatusBadRequest)
		return
	}
	u.ID = id
	if err := s.db.change(r.Context(), u); err != nil {
		answer(w, r, u, err)
		return
	}
	// The user has changed, so this has to be done also when the client has gone away.
	if err := s.users.InvalidateNamespace(context.WithoutCancel(r.Context()), allAbout(id)); err != nil {
		// There is nothing to undo: the change is made. Until their time is over, old entries may be
		// served if the cache comes back with them.
		slog.Error("the cache wasn't told of a change", "user", id, "error", err)
	}
	answer(w, r, u, nil)
}

// userID returns the user that the request is about, or answers that there is no such.
func userID(w http.ResponseWriter, r *http.Request) (id int64, ok bool) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		http.Error(w, "a user's id is a number", http.StatusBadRequest)
	}
	return id, err == nil
}

// answer writes v, or what err stands for.
func answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	var body []byte
	if err == nil {
		body, err = json.Marshal(v)
	}
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n')) // it fails only when the client has gone away
	case errors.Is(err, appcache.ErrNotFound):
		http.Error(w, "there is no such user", http.StatusNotFound)
	case r.Context().Err() != nil:
		// The client has gone away: nobody reads an answer, and nothing is wrong.
	default:
		slog.Error("a request failed", "path", r.URL.Path, "error", err)
		http.Error(w, "something went wrong", http.StatusInternalServerError)
	}
}
