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
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2:])
	case "get":
		get(os.Args[2:])
	case "raw":
		rawserve(os.Args[2:])
	}
}
func rawserve(a []string) {
	l, _ := net.Listen("tcp", a[0])
	mode := a[1]
	for {
		c, e := l.Accept()
		if e != nil {
			return
		}
		go func() {
			t := c.(*net.TCPConn)
			b := make([]byte, 4096)
			switch mode {
			case "fresh":
				time.Sleep(40 * time.Millisecond)
				t.SetLinger(0)
				t.Close()
			case "line":
				for {
					n, e := t.Read(b)
					if e != nil {
						t.Close()
						return
					}
					s := string(b[:n])
					if strings.HasPrefix(s, "boom") {
						time.Sleep(20 * time.Millisecond)
						t.SetLinger(0)
						t.Close()
						return
					}
					t.Write([]byte("+OK " + s))
				}
			case "idle":
				d, _ := time.ParseDuration(a[2])
				for {
					t.SetReadDeadline(time.Now().Add(d))
					n, e := t.Read(b)
					if e != nil {
						t.SetLinger(0)
						t.Close()
						return
					}
					t.Write([]byte("+OK " + string(b[:n])))
				}
			case "echo":
				io.Copy(t, t)
				t.CloseWrite()
				t.Close()
			}
		}()
	}
}
func serve(a []string) {
	f := flag.NewFlagSet("s", 0)
	idle := f.Duration("idle", 0, "")
	rt := f.Duration("rt", 0, "")
	wt := f.Duration("wt", 0, "")
	maxb := f.Int64("maxb", 0, "")
	cert := f.String("cert", "", "")
	f.Parse(a[1:])
	m := http.NewServeMux()
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		at := func(i int) int {
			if i < len(p) {
				n, _ := strconv.Atoi(p[i])
				return n
			}
			return 0
		}
		switch p[0] {
		case "ignore":
			w.Header().Set("Content-Length", p[1])
			io.WriteString(w, strings.Repeat("i", at(1)))
			return
		case "413":
			if *maxb > 0 {
				r.Body = http.MaxBytesReader(w, r.Body, *maxb)
				if _, e := io.Copy(io.Discard, r.Body); e != nil {
					http.Error(w, "too large", 413)
					return
				}
				fmt.Fprintln(w, "ok")
				return
			}
			http.Error(w, "too large", 413)
			return
		case "linger":
			c, _, _ := w.(http.Hijacker).Hijack()
			if at(1) > 0 {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(at(2))+"\r\n\r\n"+strings.Repeat("b", at(1)))
			}
			time.Sleep(60 * time.Millisecond)
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			return
		case "abort":
			time.Sleep(30 * time.Millisecond)
			panic(http.ErrAbortHandler)
		case "hclose":
			c, _, _ := w.(http.Hijacker).Hijack()
			if at(1) > 0 {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"+strings.Repeat("b", at(1)))
			}
			c.Close()
			return
		case "drip":
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", strconv.Itoa(at(1)*at(3)))
			for i := 0; i < at(1); i++ {
				if _, e := io.WriteString(w, strings.Repeat("d", at(3))); e != nil {
					return
				}
				w.(http.Flusher).Flush()
				time.Sleep(time.Duration(at(2)) * time.Millisecond)
			}
			return
		case "slow":
			io.Copy(io.Discard, r.Body)
			s, _ := strconv.ParseFloat(p[1], 64)
			time.Sleep(time.Duration(s * 1e9))
			io.WriteString(w, "slow\n")
			return
		case "trail":
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, strings.Repeat("t", 3000))
			w.(http.Flusher).Flush()
			w.Header().Set("X-Sum", "9")
			return
		case "204":
			w.WriteHeader(204)
			return
		case "n":
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", p[1])
			io.WriteString(w, strings.Repeat("n", at(1)))
			return
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello from go\n")
	})
	s := &http.Server{Addr: a[0], Handler: m, IdleTimeout: *idle, ReadTimeout: *rt, WriteTimeout: *wt}
	if *cert != "" {
		fmt.Fprintln(os.Stderr, s.ListenAndServeTLS(*cert+".crt", *cert+".key"))
	} else {
		fmt.Fprintln(os.Stderr, s.ListenAndServe())
	}
}

type acc struct {
	Port   int     `json:"port"`
	T      float64 `json:"t"`
	Client string  `json:"client"`
	Status int     `json:"status"`
	Bytes  int64   `json:"bytes"`
	Error  *string `json:"error"`
	OK     bool    `json:"ok"`
	Wait   float64 `json:"wait"`
	GaveUp bool    `json:"gave_up"`
}

var mu sync.Mutex

func get(a []string) {
	f := flag.NewFlagSet("g", flag.ExitOnError)
	n := f.Int("n", 1, "")
	waits := f.String("waits", "", "")
	workers := f.Int("w", 1, "")
	gap := f.Duration("gap", 0, "")
	to := f.Duration("timeout", 10*time.Second, "")
	post := f.Int("post", -1, "")
	read := f.Int64("read", -1, "")
	pause := f.Duration("pause", 0, "")
	single := f.Bool("close", false, "")
	reset := f.Bool("reset", false, "")
	f.Parse(a)
	var W []float64
	if *waits != "" {
		for _, x := range strings.Split(*waits, ",") {
			v, _ := strconv.ParseFloat(x, 64)
			W = append(W, v)
		}
	} else {
		for i := 0; i < *workers; i++ {
			W = append(W, -1)
		}
	}
	var wg sync.WaitGroup
	for _, w := range W {
		wg.Add(1)
		go func(w float64) {
			defer wg.Done()
			var last *net.TCPConn
			d := &net.Dialer{}
			tr := &http.Transport{IdleConnTimeout: 90 * time.Second, DisableKeepAlives: *single, MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DialContext: func(c context.Context, nw, ad string) (net.Conn, error) {
				x, e := d.DialContext(c, nw, ad)
				if e == nil {
					last = x.(*net.TCPConn)
				}
				return x, e
			}}
			c := &http.Client{Transport: tr}
			k := *n
			if w >= 0 {
				k = 2
			}
			for i := 0; i < k; i++ {
				if i > 0 {
					if w >= 0 {
						time.Sleep(time.Duration(w * 1e9))
					} else {
						time.Sleep(*gap)
					}
				}
				s := acc{T: float64(time.Now().UnixNano()) / 1e9, Client: "go", Wait: w}
				cx, cancel := context.WithTimeout(context.Background(), *to)
				tc := httptrace.WithClientTrace(cx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { s.Port = i.Conn.LocalAddr().(*net.TCPAddr).Port }})
				me := "GET"
				var b io.Reader
				if *post >= 0 && (w < 0 || i == 1) {
					me = "POST"
					b = strings.NewReader(strings.Repeat("p", *post))
				}
				rq, _ := http.NewRequestWithContext(tc, me, f.Arg(i%f.NArg()), b)
				rs, e := c.Do(rq)
				if e == nil {
					s.Status = rs.StatusCode
					if *read >= 0 {
						s.Bytes, e = io.CopyN(io.Discard, rs.Body, *read)
						time.Sleep(*pause)
						s.GaveUp = true
						if *reset {
							last.SetLinger(0)
						}
					} else {
						s.Bytes, e = io.Copy(io.Discard, rs.Body)
					}
					rs.Body.Close()
				}
				s.OK = e == nil && !s.GaveUp
				if e != nil {
					x := e.Error()
					s.Error = &x
					if strings.Contains(x, "deadline") || strings.Contains(x, "Timeout") {
						s.GaveUp = true
					}
				}
				cancel()
				mu.Lock()
				j, _ := json.Marshal(s)
				fmt.Println(string(j))
				mu.Unlock()
			}
			tr.CloseIdleConnections()
		}(w)
		time.Sleep(5 * time.Millisecond)
	}
	wg.Wait()
	time.Sleep(60 * time.Millisecond)
}
