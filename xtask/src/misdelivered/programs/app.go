// app HOST:PORT: the site on net/http as it is.
package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

type object = map[string]any

var count atomic.Int64

func write(w http.ResponseWriter, status int, value any) {
	text, _ := json.Marshal(value)
	w.Header().Set("Content-Type", "application/json")
	if count.Add(1)%3 != 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(status)
		w.Write(text)
		return
	}
	w.WriteHeader(status)
	w.Write(text[:5])
	w.(http.Flusher).Flush()
	time.Sleep(2 * time.Millisecond)
	w.Write(text[5:])
}

func answer(w http.ResponseWriter, r *http.Request) {
	parts := append(strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/"), "", "")
	if parts[0] == "reject" {
		w.Header().Set("Connection", "close")
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		return
	}
	body, _ := io.Copy(io.Discard, r.Body)
	now := count.Load()
	switch parts[0] {
	case "account":
		write(w, 200, object{"kind": "account", "balance": now, "currency": "KES"})
	case "transactions":
		items := []object{}
		for id := int64(0); id < now%7; id++ {
			items = append(items, object{"id": id, "amount": id * 3})
		}
		write(w, 200, object{"kind": "transactions", "items": items})
	case "session":
		write(w, 200, object{"status": "ok", "session": "s" + strconv.FormatInt(now, 10)})
	case "list":
		write(w, 200, []int64{now, 2, 3})
	case "twin":
		write(w, 200, object{"id": parts[2], "value": now})
	case "echo":
		write(w, 200, object{"kind": "echo", "token": parts[1]})
	case "changing":
		if now%5 == 0 {
			write(w, 200, object{"error": "busy"})
		} else {
			write(w, 200, object{"rows": []int{1, 2}, "next": nil})
		}
	case "deprecated":
		write(w, 200, object{"error": "gone"})
	case "private":
		write(w, 401, object{"error": "who are you"})
	case "large":
		w.Header().Set("Content-Length", "600000")
		w.Write(make([]byte, 600000))
	case "nothing":
		w.WriteHeader(204)
	case "cached":
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(304)
			return
		}
		write(w, 200, object{"kind": "cached"})
	case "hints":
		w.Header().Set("Link", "</style.css>; rel=preload; as=style")
		w.WriteHeader(103)
		time.Sleep(3 * time.Millisecond)
		write(w, 200, object{"kind": "hints"})
	case "slow":
		wait, _ := strconv.Atoi(parts[1])
		time.Sleep(time.Duration(wait) * time.Millisecond)
		write(w, 200, object{"slept": wait})
	case "never":
		<-r.Context().Done()
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			io.WriteString(w, "data: {}\n\n")
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	case "json":
		write(w, 200, object{"received": body})
	default:
		write(w, 404, object{"error": "no such page"})
	}
}

func main() {
	server := &http.Server{Addr: os.Args[1], Handler: http.HandlerFunc(answer), IdleTimeout: 700 * time.Millisecond}
	panic(server.ListenAndServe())
}
