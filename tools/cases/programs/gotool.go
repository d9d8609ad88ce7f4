// gotool is the Go side of the cases: a net/http server and a pooling net/http client.
//
//	gotool serve ADDR [idle timeout]
//	gotool get [flags] URL
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "gotool serve ADDR | gotool get [flags] URL")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2:])
	case "get":
		get(os.Args[2:])
	}
}

func serve(arguments []string) {
	idle := time.Duration(0)
	if len(arguments) > 1 {
		idle, _ = time.ParseDuration(arguments[1])
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		w.Header().Set("Content-Length", strconv.Itoa(n))
		io.WriteString(w, strings.Repeat("a", n))
	})
	// Answers at once and leaves the body to net/http, which reads at most 256 KiB of it.
	mux.HandleFunc("/ignore", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "no\n")
	})
	// Begins a response, waits, and aborts with SO_LINGER zero.
	mux.HandleFunc("/linger", func(w http.ResponseWriter, r *http.Request) {
		connection, _, _ := w.(http.Hijacker).Hijack()
		part, _ := strconv.Atoi(r.URL.Query().Get("part"))
		if part > 0 {
			io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"+strings.Repeat("b", part))
		}
		time.Sleep(50 * time.Millisecond)
		connection.(*net.TCPConn).SetLinger(0)
		connection.Close()
	})
	// Reads the request and closes without an answer.
	mux.HandleFunc("/panic", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(30 * time.Millisecond)
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		wait, _ := time.ParseDuration(r.URL.Query().Get("for"))
		select {
		case <-time.After(wait):
			io.WriteString(w, "late\n")
		case <-r.Context().Done():
		}
	})
	// Ten pieces, one each 100 ms.
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < 10; i++ {
			if _, err := io.WriteString(w, strings.Repeat("c", 1000)); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	server := &http.Server{Addr: arguments[0], Handler: mux, IdleTimeout: idle}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}

type account struct {
	Port     int    `json:"port"`
	OK       bool   `json:"ok"`
	Error    string `json:"error"`
	Status   int    `json:"status"`
	Received int64  `json:"received"`
	Reused   bool   `json:"reused"`
}

var printing sync.Mutex

func (a account) tell() {
	printing.Lock()
	defer printing.Unlock()
	line, _ := json.Marshal(a)
	fmt.Println(string(line))
}

func get(arguments []string) {
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	count := flags.Int("n", 1, "requests, one after the other, of each worker")
	workers := flags.Int("workers", 1, "workers")
	gap := flags.Duration("gap", 0, "pause between requests")
	timeout := flags.Duration("timeout", 10*time.Second, "context deadline of a request")
	post := flags.Int("post", -1, "POST this many bytes")
	read := flags.Int64("read", -1, "read only so many bytes of the body before closing it")
	pause := flags.Duration("pause", 0, "pause before the body is closed")
	idle := flags.Duration("idle", 90*time.Second, "IdleConnTimeout")
	single := flags.Bool("close", false, "no keep-alive")
	flags.Parse(arguments)
	transport := &http.Transport{
		IdleConnTimeout:     *idle,
		DisableKeepAlives:   *single,
		MaxIdleConnsPerHost: *workers,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
	}
	client := &http.Client{Transport: transport}
	var wait sync.WaitGroup
	for w := 0; w < *workers; w++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := 0; i < *count; i++ {
				if i > 0 {
					time.Sleep(*gap)
				}
				one(client, flags.Arg(0), *timeout, *post, *read, *pause)
			}
		}()
	}
	wait.Wait()
	transport.CloseIdleConnections()
	time.Sleep(50 * time.Millisecond)
}

func one(client *http.Client, url string, timeout time.Duration, post int, read int64, pause time.Duration) {
	seen := account{}
	deadline, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	traced := httptrace.WithClientTrace(deadline, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			seen.Port = info.Conn.LocalAddr().(*net.TCPAddr).Port
			seen.Reused = info.Reused
		},
	})
	method, body := "GET", io.Reader(nil)
	if post >= 0 {
		method, body = "POST", strings.NewReader(strings.Repeat("p", post))
	}
	request, err := http.NewRequestWithContext(traced, method, url, body)
	if err != nil {
		panic(err)
	}
	response, err := client.Do(request)
	if err == nil {
		seen.Status = response.StatusCode
		if read >= 0 {
			seen.Received, err = io.CopyN(io.Discard, response.Body, read)
			time.Sleep(pause)
		} else {
			seen.Received, err = io.Copy(io.Discard, response.Body)
		}
		response.Body.Close()
	}
	seen.OK = err == nil
	if err != nil {
		seen.Error = err.Error()
	}
	seen.tell()
}
