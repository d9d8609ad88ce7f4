// client URL REQUESTS: Go's http.Client over one pool, GET, HEAD, POST, conditional, with calls that are given up.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	base := os.Args[1]
	requests, _ := strconv.Atoi(os.Args[2])
	transport := &http.Transport{MaxIdleConnsPerHost: 8, ExpectContinueTimeout: time.Second}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	work := make(chan int)
	var all sync.WaitGroup
	for worker := 0; worker < 8; worker++ {
		all.Add(1)
		go func(random *rand.Rand) {
			defer all.Done()
			for range work {
				ask(client, base, random)
			}
		}(rand.New(rand.NewSource(int64(worker))))
	}
	for request := 0; request < requests; request++ {
		work <- request
	}
	close(work)
	all.Wait()
}

func ask(client *http.Client, base string, random *rand.Rand) {
	paths := []string{"account/1", "account/2", "transactions/1", "session", "list", "twin/a/1", "twin/b/2", "missing"}
	path := paths[random.Intn(len(paths))]
	method, patience := "GET", 5*time.Second
	var body io.Reader
	header := http.Header{}
	switch random.Intn(16) {
	case 0:
		method = "HEAD"
	case 1:
		method, path, body = "POST", "json", bytes.NewReader(make([]byte, 300))
	case 2:
		path = "cached"
		header.Set("If-None-Match", `"v1"`)
	case 3:
		// A body in chunks, which the server first has to ask for.
		method, path, body = "POST", "json", io.LimitReader(random, 700)
		header.Set("Expect", "100-continue")
	case 4:
		path, patience = "slow/200", time.Duration(random.Intn(40))*time.Millisecond
	case 5:
		path, patience = "large", time.Duration(random.Intn(6))*time.Millisecond
	}
	context, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(context, method, base+path, body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		return
	}
	// One in ten leaves the body unread: the connection is not used again.
	if random.Intn(10) != 0 {
		io.Copy(io.Discard, response.Body)
	}
	response.Body.Close()
}
